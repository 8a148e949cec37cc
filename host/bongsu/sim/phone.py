"""A simulated SMS gateway with the phones behind it: takes texts, gives each an id, reports delivery, keeps an inbox a
number.

POST /send {"to", "text", "key"} answers {"id"}; GET /status/<id> answers {"status": pending|delivered|failed}; GET
/received shows the inboxes. Faults: as every peer's, and {"refused": [numbers], "undelivered": [numbers],
"delivery_ms": ms} by POST /phones.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from bongsu.receiver.phone import masked
from bongsu.sim.http_peer import Peer, Reply, Request


class Text(msgspec.Struct):
    """What /send takes."""

    to: str
    text: str
    key: str = ""


class Phones(msgspec.Struct, forbid_unknown_fields=True):
    """How the phones behave. refused: numbers that the gateway does not take; undelivered: numbers that never get
    theirs ("*" for all); delivery_ms: how long a delivery takes."""

    refused: list[str] = []
    undelivered: list[str] = []
    delivery_ms: int = 0


class Gateway:
    """`token`: what the Authorization header must carry, if given; `show`: is told one line per text."""

    def __init__(
        self,
        *,
        token: str | None = None,
        show: Callable[[str], None] = print,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._token = token
        self._show = show
        self._now_s = now_s
        self.phones = Phones()
        self.texts: list[dict[str, Any]] = []
        self.refused = 0
        self.peer = Peer(self._control, self._take)

    def _control(self, request: Request) -> Reply:
        if request.path == "/faults" and request.method == "POST":
            return self.peer.set_faults(request.body)
        if request.path == "/phones" and request.method == "POST":
            return self._set_phones(request.body)
        if request.path == "/received":
            return Reply(200, {"texts": [t | {"status": self._status(t)} for t in self.texts], "refused": self.refused})
        if request.path.startswith("/status/"):
            return self._tell_status(request)
        return Reply(404, {"error": "not here"})

    def _tell_status(self, request: Request) -> Reply:
        if not self._allowed(request):
            return Reply(401, {"error": "wrong token"})
        number = request.path.removeprefix("/status/")
        if not number.isdigit() or not 1 <= int(number) <= len(self.texts):
            return Reply(404, {"error": "no such message"})
        return Reply(200, {"id": number, "status": self._status(self.texts[int(number) - 1])})

    def _status(self, text: dict[str, Any]) -> str:
        if text["to"] in self.phones.undelivered or "*" in self.phones.undelivered:
            return "failed"
        arrived = self._now_s() * 1000 >= text["at_ms"] + self.phones.delivery_ms
        return "delivered" if arrived else "pending"

    def _take(self, request: Request) -> Reply:
        if request.method != "POST" or request.path != "/send":
            return Reply(404, {"error": "post texts to /send"})
        if not self._allowed(request):
            self.refused += 1
            return Reply(401, {"error": "wrong token"})
        try:
            text = msgspec.json.decode(request.body, type=Text)
        except msgspec.DecodeError as err:
            self.refused += 1
            return Reply(400, {"error": str(err)})
        if text.to in self.phones.refused:
            self.refused += 1
            return Reply(403, {"error": "number refused"})
        return self._keep(text)

    def _keep(self, text: Text) -> Reply:
        number = len(self.texts) + 1
        at_ms = int(self._now_s() * 1000)
        self.texts.append({"id": str(number), "to": text.to, "text": text.text, "key": text.key, "at_ms": at_ms})
        self._show(f"{masked(text.to)}: {text.text}")
        return Reply(202, {"id": str(number)})

    def _set_phones(self, raw: bytes) -> Reply:
        try:
            self.phones = msgspec.json.decode(raw, type=Phones)
        except msgspec.DecodeError as err:
            return Reply(400, {"error": str(err)})
        return Reply(200, self.phones)

    def _allowed(self, request: Request) -> bool:
        return self._token is None or request.headers.get("authorization") == f"Bearer {self._token}"
