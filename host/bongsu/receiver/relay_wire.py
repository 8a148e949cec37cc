"""What goes between the receiver and its relay process: length (4 bytes, big-endian) and MessagePack, both ways.

The first message down is the configuration; then jobs. Up come results and lines for the log.
"""

from typing import Any

import msgspec

from bongsu.channels.base import Message, Outcome
from bongsu.receiver.jobs import Done, Job

LENGTH_BYTES = 4


class WireJob(msgspec.Struct, array_like=True, frozen=True):
    """A Job. `body`: a text, or (`encoded`) a webhook's JSON object, encoded."""

    delivery_id: int
    channel: str
    action: str
    key: str
    kind: str
    target: dict[str, str]
    body: str
    encoded: bool
    lang: str
    ref: str | None


class WireDone(msgspec.Struct, array_like=True, frozen=True):
    """A Done."""

    delivery_id: int
    action: str
    state: str
    detail: str
    ref: str | None
    retry_after_ms: int | None
    took_ms: int


class Up(msgspec.Struct, array_like=True, frozen=True):
    """What the relay says: results, and lines for the log (event, fields)."""

    done: list[WireDone] = []
    lines: list[tuple[str, dict[str, str]]] = []


_encode = msgspec.msgpack.Encoder().encode
_decode_jobs = msgspec.msgpack.Decoder(list[WireJob]).decode
_decode_up = msgspec.msgpack.Decoder(Up).decode
_json = msgspec.json.Encoder().encode


def packed(value: Any) -> bytes:
    """One message with its length."""
    data = _encode(value)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def jobs_message(jobs: list[Job]) -> bytes:
    """Jobs for the relay."""
    return packed([_wire_job(job) for job in jobs])


def _wire_job(job: Job) -> WireJob:
    m = job.message
    encoded = not isinstance(m.body, str)
    body = _json(m.body).decode() if encoded else str(m.body)
    what = (job.delivery_id, job.channel, job.action, m.idempotency_key, m.kind, m.target)
    return WireJob(*what, body, encoded, m.lang, job.ref)


def jobs_of(data: bytes) -> list[Job]:
    """The jobs of a message."""
    return [Job(w.delivery_id, w.channel, w.action, _message(w), w.ref) for w in _decode_jobs(data)]


def _message(w: WireJob) -> Message:
    body: Any = msgspec.Raw(w.body) if w.encoded else w.body
    return Message(w.delivery_id, w.key, w.kind, w.target, body, w.lang)


def wire_done(done: Done) -> WireDone:
    """A result for the way up."""
    o = done.outcome
    return WireDone(done.delivery_id, done.action, o.state, o.detail, o.ref, o.retry_after_ms, done.took_ms)


def up_of(data: bytes) -> tuple[list[Done], list[tuple[str, dict[str, str]]]]:
    """Results and log lines of a message of the relay."""
    up = _decode_up(data)
    return [
        Done(w.delivery_id, w.action, Outcome(w.state, w.detail, w.ref, w.retry_after_ms), w.took_ms)  # type: ignore[arg-type]
        for w in up.done
    ], up.lines


class Splitter:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole by now."""
        whole, at, self._rest = [], 0, self._rest + data
        while len(self._rest) - at >= LENGTH_BYTES:
            end = at + LENGTH_BYTES + int.from_bytes(self._rest[at : at + LENGTH_BYTES], "big")
            if end > len(self._rest):
                break
            whole.append(self._rest[at + LENGTH_BYTES : end])
            at = end
        self._rest = self._rest[at:]
        return whole
