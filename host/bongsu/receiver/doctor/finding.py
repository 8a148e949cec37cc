"""What a check found."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from bongsu.errors import BongsuError

OK, WARN, FAIL = "ok", "warn", "fail"
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """`level`: OK, WARN (look at it), FAIL (alarms may not get through). `next`: what to do; "" if it is well."""

    level: str
    check: str
    what: str
    next: str = ""


Findings = Iterator[Finding]


def safely(check: str, run: Callable[[], Iterable[Finding]]) -> Findings:
    """The findings of a check; one that cannot be carried out is a failure of what it looks at."""
    try:
        yield from list(run())
    except BongsuError as err:
        yield Finding(FAIL, check, err.message, err.next_step)
    except OSError as err:
        yield Finding(FAIL, check, f"{err.filename or check}: {err.strerror or err}", "Run it as the receiver's user.")


def some(names: Iterable[str]) -> str:
    """The first few names, and how many there are."""
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
