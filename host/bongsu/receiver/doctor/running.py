"""Is the receiver running, and what does it say of itself?"""

import os
from pathlib import Path
from typing import Any

from bongsu.receiver import reasons
from bongsu.receiver.doctor.finding import FAIL, OK, WARN, Finding, Findings
from bongsu.receiver.wake import NoAnswer, ask_state
from bongsu.release import this_version

_UNIT = Path("/etc/systemd/system/bongsu-receiver.service")


def ask(folder: Path) -> tuple[dict[str, Any] | None, list[Finding]]:
    """(its state or None, findings)."""
    try:
        state = ask_state(folder)
    except NoAnswer:
        step = "See where it stands: its log; then start it again: systemctl restart bongsu-receiver"
        return None, [Finding(FAIL, "receiver", "it runs and does not answer", step)]
    if state is None:
        start = "systemctl start bongsu-receiver" if _UNIT.exists() else "bongsu receiver run"
        return None, [Finding(FAIL, "receiver", "it does not run: no alarm is taken in", f"Start it: {start}")]
    return state, list(_told(state))


def _told(state: dict[str, Any]) -> Findings:
    if "ok" not in state:
        yield Finding(WARN, "receiver", "it is just starting", "Ask again in a moment.")
        return
    for reason in state["reasons"]:
        yield Finding(FAIL, "receiver", reason["what"], reason["next"])
    told = {reason["name"] for reason in state["reasons"]}
    for name in state["faults"]:
        if name not in told:
            what, step = reasons.WORDS.get(name, (f"the fault {name} stands", "See: bongsu incident list"))
            yield Finding(WARN, "receiver", what, step)
    if state["ok"]:
        hours = (state["at_ms"] - state["started_ms"]) / 3_600_000
        trip = state["canary"]["round_trip_ms"]
        canary = f", canary {trip:.0f} ms" if trip is not None else ""
        yield Finding(OK, "receiver", f"version {state['version']} is up for {hours:.1f} h{canary}")
    if state["version"] != (mine := this_version()):
        what = f"it runs version {state['version']}, and this command is of version {mine}"
        yield Finding(WARN, "receiver", what, "Restart it, or use the command that belongs to it.")
    if state["counters"]["log_dropped"]:
        yield Finding(WARN, "receiver", "log lines were dropped: nobody reads its stderr", "Let systemd run it.")


def other_user(folder: Path) -> Findings:
    """The control socket answers its own user only."""
    owner = folder.stat().st_uid
    if os.geteuid() not in (0, owner):
        yield Finding(WARN, "receiver", "only its own user may ask it", "Run this as the receiver's user.")
