"""Dispatch to stations and centres by webhook, signed as Standard Webhooks lays down (standardwebhooks.com, v1).

Signed content: id "." timestamp "." body; HMAC-SHA256 under the responder's secret ("whsec_" + base64). The id is the
delivery's idempotency key, the same for all its tries, so that the other side counts the report once.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable

import msgspec

from bongsu.channels.base import RETRY_AFTER_CAP_MS, Message, Outcome, one_line
from bongsu.channels.http import HttpClient, HttpFailure, Response

SECRET_PREFIX = "whsec_"
_USER_AGENT = "bongsu"
# Answers that say "not now" rather than "no": request time-out, too early, too many requests.
_TRY_AGAIN = (408, 425, 429)


class WebhookChannel:
    """Target: {"url", "secret"}; body: a JSON object. `now_s`: UTC seconds, for the signature's timestamp."""

    def __init__(self, client: HttpClient, *, now_s: Callable[[], float] = time.time) -> None:
        self._client = client
        self._now_s = now_s

    async def send(self, m: Message) -> Outcome:
        """Post the report once; only 2xx is an acceptance."""
        body = msgspec.json.encode(m.body)
        try:
            headers = signed_headers(m.target["secret"], m.idempotency_key, int(self._now_s()), body)
        except ValueError as err:
            return Outcome("refused", str(err))
        try:
            response = await self._client.request("POST", m.target["url"], headers, body)
        except HttpFailure as err:
            return Outcome("retry", one_line(str(err)))
        return outcome_of(response)

    async def check(self, m: Message, ref: str) -> Outcome:
        """A webhook is accepted at once or not at all: there is nothing to ask later."""
        return Outcome("accepted", "accepted when it was sent", ref)

    async def aclose(self) -> None:
        """The client belongs to who made it."""


def signed_headers(secret: str, key: str, now_s: int, body: bytes) -> dict[str, str]:
    """The headers of one try. Raises ValueError for a secret that is none; its text does not repeat it."""
    try:
        raw = base64.b64decode(secret.strip().removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the responder's signing secret is damaged: add the responder anew") from None
    content = b".".join((key.encode(), str(now_s).encode(), body))
    signature = base64.b64encode(hmac.digest(raw, content, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": _USER_AGENT,
        "Expect": "",
        "Webhook-Id": key,
        "Webhook-Timestamp": str(now_s),
        "Webhook-Signature": f"v1,{signature}",
        "Idempotency-Key": key,
    }


def outcome_of(response: Response) -> Outcome:
    """What an HTTP status says about a delivery; shared by the channels that use HTTP."""
    status = response.status
    if 200 <= status < 300:
        return Outcome("accepted", f"HTTP {status}")
    if 300 <= status < 400:
        to = f" to {one_line(response.location)}" if response.location else ""
        return Outcome("refused", one_line(f"HTTP {status}: it redirects{to}; correct its address"))
    said = one_line(response.body[:200].decode("utf-8", "replace"))
    detail = one_line(f"HTTP {status}{': ' + said if said else ''}")
    if status >= 500 or status in _TRY_AGAIN:
        wait_ms = min(max(response.retry_after_s, 0) * 1000, RETRY_AFTER_CAP_MS)
        return Outcome("retry", detail, retry_after_ms=wait_ms or None)
    return Outcome("refused", detail)
