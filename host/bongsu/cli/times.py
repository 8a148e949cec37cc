"""Times as people type them: a day, a moment, or how long ago."""

import datetime as dt
import re
from typing import Any

import click

from bongsu.cli.context import now_ms

_AGO = re.compile(r"(\d{1,5})([dhm])")
_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000}


class TimeType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """UTC ms of "2026-03-01" or "2026-03-01T14:05" (this machine's zone, or with an offset), or of "7d", "12h", "30m"
    ago.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if match := _AGO.fullmatch(value.strip()):
            return now_ms() - int(match[1]) * _MS[match[2]]
        try:
            moment = dt.datetime.fromisoformat(value.strip())
            return round(moment.astimezone().timestamp() * 1000)
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is no time; write 2026-03-01, 2026-03-01T14:05, or 7d for seven days ago", param, ctx)


TIME = TimeType()
