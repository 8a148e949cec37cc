"""Text messages through the HTTP gateway of an SMS provider: its address, request and answers are configuration.

A provider's 2xx means that it took the message, not that the phone has it: that only a delivery receipt says, which is
asked for at `status_url`. Without one a message counts as accepted and is never shown as delivered. There is no
idempotency key that providers agree on; ours is sent along where the configuration has a place for it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from bongsu.channels import numbers
from bongsu.channels.address import url_problem
from bongsu.channels.base import Message, Outcome, one_line
from bongsu.channels.http import HttpClient, HttpFailure, Response
from bongsu.channels.sms_length import form_of
from bongsu.channels.webhook import outcome_of
from bongsu.errors import BongsuError

# What a request may be made of. phone: E.164; phone_national: as dialled in Korea (01012345678); form: SMS or LMS.
PLACEHOLDERS = ("phone", "phone_national", "text", "key", "lang", "form")
_FIELD = re.compile(r"\{(\w+)\}")
_NOT_FOUND = 404
_TOKEN_MAX = 4096


class SmsConfigError(BongsuError):
    """The settings of the SMS gateway do not hold."""


@dataclass(frozen=True, slots=True)
class SmsGateway:
    """How to talk to the gateway.

    `body`, `headers` and `status_url` hold placeholders in braces: those of PLACEHOLDERS, in headers also {token}, in
    `status_url` {ref}. `body` is sent as JSON, as a form, or with GET as the query. `ref_field`, `status_field`: where
    the answers (JSON) hold the message id and the status, as a path: "id", "messages.0.id".
    """

    url: str
    status_url: str | None = None
    method: Literal["POST", "GET"] = "POST"
    format: Literal["json", "form"] = "json"
    headers: Mapping[str, str] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)
    body: Mapping[str, str] = field(default_factory=lambda: {"to": "{phone}", "text": "{text}", "key": "{key}"})
    ref_field: str = "id"
    status_field: str = "status"
    delivered_values: tuple[str, ...] = ("delivered",)
    failed_values: tuple[str, ...] = ("failed", "undeliverable")

    def __post_init__(self) -> None:
        for name, url in (("url", self.url), ("status_url", self.status_url)):
            if url is not None and (problem := url_problem(url)):
                raise SmsConfigError(f"[sms] {name}: {problem}", "Correct it in receiver.toml.")
        if self.status_url is not None and "{ref}" not in self.status_url:
            raise SmsConfigError(
                "[sms] status_url: it has no place for the message id",
                'Write {ref} where the id belongs: status_url = "https://sms.example/status/{ref}"',
            )
        self._check_fields("body", self.body.values(), PLACEHOLDERS)
        self._check_fields("headers", self.headers.values(), ("token",))
        if any(not (k + v).isprintable() for k, v in self.headers.items()):
            raise SmsConfigError("[sms] headers: an invisible character", "Type the headers again.")

    @staticmethod
    def _check_fields(name: str, values: Any, allowed: tuple[str, ...]) -> None:
        unknown = sorted({f for v in values for f in _FIELD.findall(v)} - set(allowed))
        if unknown:
            known = ", ".join(f"{{{f}}}" for f in allowed)
            raise SmsConfigError(f"[sms] {name}: {{{unknown[0]}}} is not known", f"Use: {known}")


def read_token(path: Path) -> str:
    """The gateway's token: the first line of a file. Raises SmsConfigError, which does not repeat it."""
    try:
        token = path.read_text(encoding="ascii")[:_TOKEN_MAX].strip()
    except (OSError, UnicodeDecodeError):
        raise SmsConfigError(f"[sms] token_file: cannot read {path}", "Name the file that holds the token.") from None
    if not token or not token.isprintable():
        raise SmsConfigError(f"[sms] token_file: {path} holds no token", "Put the token on its first line.")
    return token


class SmsHttpChannel:
    """Target: {"phone"} (E.164); body: the text."""

    def __init__(self, client: HttpClient, gateway: SmsGateway) -> None:
        self._client = client
        self._gateway = gateway

    async def send(self, m: Message) -> Outcome:
        """Hand the text to the gateway once: sent if delivery can be asked for, else accepted."""
        return self._masked(await self._send(m), m)

    async def check(self, m: Message, ref: str) -> Outcome:
        """Ask the gateway whether the text arrived."""
        return self._masked(await self._check(ref), m)

    def _masked(self, outcome: Outcome, m: Message) -> Outcome:
        """Without the target's number, in whatever form the gateway's own words repeat it. A message id that holds it
        is kept only where delivery is asked for by it.
        """
        number, ref = m.target["phone"], outcome.ref
        if ref is not None and self._gateway.status_url is None:
            ref = numbers.without(ref, number)
        return replace(outcome, detail=numbers.without(outcome.detail, number), ref=ref)

    async def _send(self, m: Message) -> Outcome:
        gateway = self._gateway
        url, headers, body = self._request(m)
        try:
            # Rather a connection each than a text that comes twice: a gateway may know nothing of keys.
            response = await self._client.request(gateway.method, url, headers, body, once=True)
        except HttpFailure as err:
            return Outcome("retry", one_line(str(err)))
        outcome = outcome_of(response)
        if outcome.state != "accepted":
            return outcome
        ref = _at(response, gateway.ref_field)
        if gateway.status_url is None:
            return Outcome("accepted", f"{outcome.detail}; this gateway does not report delivery", ref)
        if ref is None:
            # Whoever answers without an id (a captive portal's "200 OK" page) has not taken a text message.
            return Outcome("refused", f"{outcome.detail}, but no message id at {gateway.ref_field} in the answer")
        return Outcome("sent", f"{outcome.detail}; waiting for the delivery receipt", ref)

    async def _check(self, ref: str) -> Outcome:
        gateway = self._gateway
        if gateway.status_url is None:
            return Outcome("accepted", "this gateway does not report delivery", ref)
        url = gateway.status_url.replace("{ref}", quote(ref, safe=""))
        try:
            response = await self._client.request("GET", url, self._headers())
        except HttpFailure as err:
            return Outcome("retry", one_line(str(err)), ref)
        outcome = outcome_of(response)
        if outcome.state == "accepted":
            return self._receipt(response, ref)
        if response.status == _NOT_FOUND:
            return Outcome("retry", "the gateway does not know this message (HTTP 404)", ref)
        return Outcome("retry", outcome.detail, ref, outcome.retry_after_ms)

    async def aclose(self) -> None:
        """The client belongs to who made it."""

    def _receipt(self, response: Response, ref: str) -> Outcome:
        gateway = self._gateway
        word = _at(response, gateway.status_field)
        if word is None:
            return Outcome("retry", f"no status at {gateway.status_field} in the gateway's answer", ref)
        if word.lower() in gateway.delivered_values:
            return Outcome("accepted", f"delivery receipt: {one_line(word)}", ref)
        if word.lower() in gateway.failed_values:
            return Outcome("refused", f"not delivered: {one_line(word)}", ref)
        return Outcome("sent", f"not delivered yet: {one_line(word)}", ref)

    def _request(self, m: Message) -> tuple[str, dict[str, str], bytes]:
        gateway, phone = self._gateway, m.target["phone"]
        text = str(m.body)
        values = {
            "phone": phone,
            "phone_national": "0" + phone[3:] if phone.startswith("+82") else phone.lstrip("+"),
            "text": text,
            "key": m.idempotency_key,
            "lang": m.lang,
            "form": form_of(text, phone).form,
        }
        fields = {name: _FIELD.sub(lambda f: values[f[1]], value) for name, value in gateway.body.items()}
        headers = self._headers()
        if gateway.method == "GET":
            joint = "&" if "?" in gateway.url else "?"
            return f"{gateway.url}{joint}{urlencode(fields)}", headers, b""
        if gateway.format == "form":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return gateway.url, headers, urlencode(fields).encode()
        headers["Content-Type"] = "application/json"
        return gateway.url, headers, json.dumps(fields, ensure_ascii=False).encode()

    def _headers(self) -> dict[str, str]:
        token = self._gateway.token or ""
        headers = {name: value.replace("{token}", token) for name, value in self._gateway.headers.items()}
        if token and not any("{token}" in value for value in self._gateway.headers.values()):
            headers["Authorization"] = f"Bearer {token}"
        return {"Accept": "application/json", "User-Agent": "bongsu", "Expect": "", **headers}


def _at(response: Response, path: str) -> str | None:
    """The text or number at a path in a JSON answer; None if there is none."""
    try:
        value: Any = json.loads(response.body)
        for step in path.split("."):
            value = value[int(step)] if isinstance(value, list) else value[step]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)[:200] or None
