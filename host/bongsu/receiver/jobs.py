"""What the writer gives the relay to do, and what comes back. No store in here: the relay's process does without it."""

import secrets
from dataclasses import dataclass
from mmap import mmap

from bongsu.channels.base import Message, Outcome
from bongsu.receiver.clock import Clock

SEND, CHECK = "send", "check"
# A monotonic time in ms, as the lease stands in shared memory.
LEASE_BYTES = 8


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
    looks at the same LEASE_BYTES of memory (`share`) from its own process.
    """

    def __init__(self, clock: Clock, length_ms: int) -> None:
        self.token = secrets.token_hex(16)
        self.length_ms = length_ms
        self._clock = clock
        self._until = lease_view(bytearray(LEASE_BYTES))

    def share(self, memory: mmap) -> None:
        """From now on keep its end in this memory."""
        shared = lease_view(memory)
        shared[0] = self._until[0]
        self._until = shared

    def renew(self) -> tuple[str, int]:
        """Token and end (UTC ms) to be written; counts from now."""
        self._until[0] = self._clock.mono_ms() + self.length_ms
        return self.token, self._clock.now_ms() + self.length_ms

    def holds(self) -> bool:
        """False once so much time went by that another receiver may have taken over."""
        return lease_holds(self._until, self._clock.mono_ms())


def lease_view(memory: mmap | bytearray) -> "memoryview[int]":
    """The memory as one aligned number of 8 bytes, which is read and written in one go. (struct.pack_into is not: it
    clears the bytes and sets them one by one, and who looks meanwhile sees a lease that ended long ago.)
    """
    return memoryview(memory).cast("q")


def lease_holds(until_ms: "memoryview[int]", mono_ms: int) -> bool:
    """Is the lease that stands in this memory (lease_view) still good?"""
    return mono_ms < until_ms[0]
