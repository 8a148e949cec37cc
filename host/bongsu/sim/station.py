"""A simulated fire station (and control centre): takes reports, checks their signatures, counts each once by its
webhook-id, and shows them.

It judges independently of the code that it tests: its signature check is its own.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any, TextIO

import msgspec

from bongsu.channels import body as wire
from bongsu.receiver.phone import masked
from bongsu.sim.http_peer import Peer, Reply, Request

# Standard Webhooks: the receiver refuses old signatures, so that a recorded report cannot be played back.
TOLERANCE_S = 300


class Station:
    """`secrets`: whsec_..., any of which may have signed; `show`: is told one line per new report; `log`: JSON lines
    of every report that was taken. Reports are counted per path, so that one process stands for several responders.
    """

    def __init__(
        self,
        secrets: list[str],
        *,
        show: Callable[[str], None] = print,
        log: TextIO | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._keys = [base64.b64decode(s.removeprefix("whsec_")) for s in secrets]
        self._show = show
        self._log = log
        self._now_s = now_s
        self.reports: dict[tuple[str, str], dict[str, Any]] = {}
        self.refused = 0
        self.peer = Peer(self._control, self._take)

    def _control(self, request: Request) -> Reply:
        if request.path == "/faults" and request.method == "POST":
            return self.peer.set_faults(request.body)
        if request.path == "/received":
            return Reply(200, {"reports": list(self.reports.values()), "refused": self.refused})
        return Reply(404, {"error": "not here"})

    def _take(self, request: Request) -> Reply:
        if request.method != "POST":
            return Reply(404, {"error": "post reports"})
        problem = self._unproven(request)
        if problem:
            self.refused += 1
            return Reply(401, {"error": problem})
        try:
            report = wire.decode(request.body)
        except msgspec.DecodeError as err:
            self.refused += 1
            return Reply(400, {"error": str(err)})
        return self._count(request, report)

    def _count(self, request: Request, report: wire.Body) -> Reply:
        key = (request.path, request.headers["webhook-id"])
        known = self.reports.get(key)
        if known is not None:
            known["times"] += 1
            return Reply(200, {"id": key[1], "known": True})
        entry = {
            "path": key[0],
            "id": key[1],
            "at_ms": int(self._now_s() * 1000),
            "times": 1,
            "body": msgspec.json.decode(request.body),
        }
        self.reports[key] = entry
        if self._log is not None:
            self._log.write(msgspec.json.encode(entry).decode() + "\n")
            self._log.flush()
        self._show(f"{request.path} {line_of(report)}")
        return Reply(200, {"id": key[1], "known": False})

    def _unproven(self, request: Request) -> str | None:
        """Why the report is not believed; None if it is."""
        headers = request.headers
        key, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not key or headers.get("idempotency-key") != key:
            return "no webhook-id, or another idempotency-key"
        if not stamp.isdigit() or abs(int(stamp) - self._now_s()) > TOLERANCE_S:
            return "webhook-timestamp missing or too old"
        content = f"{key}.{stamp}.".encode() + request.body
        for given in headers.get("webhook-signature", "").split(" "):
            version, _, signature = given.partition(",")
            if version == "v1" and any(_signs(k, content, signature) for k in self._keys):
                return None
        return "webhook-signature does not fit"


def _signs(key: bytes, content: bytes, signature: str) -> bool:
    wanted = base64.b64encode(hmac.digest(key, content, hashlib.sha256))
    return hmac.compare_digest(wanted, signature.encode("latin-1"))


def line_of(report: wire.Body) -> str:
    """A report for a person: one line, the phone masked."""
    data = report.data
    where = " ".join([data.market.name if data.market else "?", data.shop.name if data.shop else data.node or "?"])
    place = f" ({data.shop.place})" if data.shop and data.shop.place else ""
    values = ", ".join(f"{v.name} {v.value:g} {v.unit}" for v in data.values)
    owner = f"; owner {data.owner.name} {masked(data.owner.phone)}" if data.owner else ""
    return f"{report.type} {where}{place}: {'+'.join(data.phenomena)} by {data.criterion}; {values}{owner}"
