"""What the writer gives the relay to do, and what comes back. No store in here: the relay's process does without it."""

import secrets
import struct
from dataclasses import dataclass

from bongsu.channels.base import Message, Outcome
from bongsu.receiver.clock import Clock

SEND, CHECK = "send", "check"
# A monotonic time in ms, as the lease stands in shared memory.
LEASE_FORM = struct.Struct("=q")


@dataclass(slots=True)
class Job:
    """Something for the relay to do: hand over a message, or ask about one."""

    delivery_id: int
    channel: str
    action: str
    message: Message
    ref: str | None = None


@dataclass(slots=True)
class Done:
    """A job's end. `took_ms`: how long the other side took."""

    delivery_id: int
    action: str
    outcome: Outcome
    took_ms: int


class Lease:
    """This process's hold on the deliveries that it has under way: renewed by the writer, read by the relay, which
    looks at `shared` (8 bytes of memory, LEASE_FORM) from its own process.
    """

    def __init__(self, clock: Clock, length_ms: int) -> None:
        self.token = secrets.token_hex(16)
        self.length_ms = length_ms
        self._clock = clock
        self.shared: memoryview | bytearray = bytearray(LEASE_FORM.size)

    def share(self, memory: memoryview) -> None:
        """From now on keep its end in this memory."""
        memory[:] = bytes(self.shared)
        self.shared = memory

    def renew(self) -> tuple[str, int]:
        """Token and end (UTC ms) to be written; counts from now."""
        LEASE_FORM.pack_into(self.shared, 0, self._clock.mono_ms() + self.length_ms)
        return self.token, self._clock.now_ms() + self.length_ms

    def holds(self) -> bool:
        """False once so much time went by that another receiver may have taken over."""
        return lease_holds(self.shared, self._clock.mono_ms())


def lease_holds(shared: memoryview | bytearray, mono_ms: int) -> bool:
    """Is the lease that stands in `shared` still good? Aligned 8 bytes are read and written in one go."""
    until_ms: int = LEASE_FORM.unpack_from(shared)[0]
    return mono_ms < until_ms
