"""What every channel is: something that hands one message to one recipient and says truly how far it came.

"Sent" is not "delivered" (DESIGN section 2, promise 6), so an outcome has four states, and only two of them end a
delivery's retries:

- accepted: the other side has taken the message over (HTTP 2xx). For an SMS whose gateway reports delivery this comes
  from `check` and means that it reached the phone.
- sent: the gateway took it, and will tell later whether it arrived; ask with `check`, quoting `ref`.
- retry: nothing was taken over (refused connection, time-out, 429, 5xx); try again soon.
- refused: the other side said no (other 4xx, an unusable answer or target). A fire delivery is tried again all the
  same, slowly, and the reason is shown.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

State = Literal["accepted", "sent", "retry", "refused"]

# Longest wait that the other side may ask for (Retry-After); a fire delivery is tried at least this often.
RETRY_AFTER_CAP_MS = 60_000
DETAIL_MAX = 200


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery to one recipient.

    `idempotency_key` is the same for all its tries. `kind`: its purpose (alarm, restore, fault, ...). `target`:
    webhook {"url", "secret"}, SMS {"phone"} (E.164). `body`: webhook a JSON object, SMS the text. `lang`: ko or en.
    """

    delivery_id: int
    idempotency_key: str
    kind: str
    target: dict[str, str] = field(repr=False)  # holds a secret or a phone number
    body: dict[str, Any] | str = field(repr=False)
    lang: str = "ko"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far one try came. `detail`: for people, one line without secrets. `ref`: the other side's name for the
    message. `retry_after_ms`: how long the other side asks us to wait, at most RETRY_AFTER_CAP_MS.
    """

    state: State
    detail: str
    ref: str | None = None
    retry_after_ms: int | None = None


class Channel(Protocol):
    """A way to the outside world. Both calls always return within the channel's time-out and never raise for what the
    other side does.
    """

    async def send(self, m: Message) -> Outcome:
        """Try once to hand over the message."""
        ...

    async def check(self, m: Message, ref: str) -> Outcome:
        """Ask what became of a sent message: accepted (delivered), sent (not known yet), retry (could not be asked) or
        refused (it will never arrive; it must be sent anew).
        """
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...


def one_line(text: str) -> str:
    """`text` as an outcome's detail: printable, one line, short. What a peer wrote must not forge a log or a table."""
    shown = "".join(c if c.isprintable() else " " for c in text[: 2 * DETAIL_MAX])
    return " ".join(shown.split())[:DETAIL_MAX]
