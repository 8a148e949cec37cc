"""GET /healthz: is the receiver fit to take in alarms and to tell them? 200 if it is, 503 with the reasons if not.

For load balancers, monitoring and `bongsu doctor`. It names nobody.
"""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

LatestState = Callable[[], dict[str, Any] | None]

MUTE = {
    "name": "receiver_mute",
    "what": "the receiver has not said how it is for seconds",
    "next": "Look whether it runs: systemctl status bongsu-receiver",
}
_SAID = ("at_ms", "started_ms", "version", "sender", "broker", "canary", "store", "backlog", "nodes", "faults")


def health(state: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
    """(HTTP status, what is said) of a state; None: there is none, or it is old. Pure."""
    if state is None or "ok" not in state:
        return 503, {"ok": False, "reasons": [MUTE]}
    said = {"ok": state["ok"], "reasons": state["reasons"], **{name: state[name] for name in _SAID if name in state}}
    return 200 if state["ok"] else 503, said


def healthz(latest_state: LatestState) -> Callable[[Request], Any]:
    """The handler."""

    async def handler(_request: Request) -> Response:
        status, said = health(latest_state())
        return JSONResponse(said, status, headers={"cache-control": "no-store"})

    return handler
