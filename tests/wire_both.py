"""The wire package behind one small JSON interface, run by either interpreter; what the wire tests compare.

A request is [name, arguments]; bytes travel as hex. CPython calls `handle` directly, MicroPython runs the same text in
`mpy.Server`, so the two differ in nothing but the interpreter.
"""

from collections.abc import Callable
from typing import Any

from tests import mpy

HANDLER = '''
import random
from bongsu_wire import ccm, frame, payload

def _fields(o):
    return [[k, bytes(v).hex() if isinstance(v, (bytes, bytearray)) else v] for k, v in sorted(o.__dict__.items())]

def _make(kind, fields):
    return getattr(payload, kind)(**{k: bytes.fromhex(v) if k == "args" else v for k, v in fields.items()})

def encode(kind, fields):
    try:
        return getattr(payload, "encode_" + kind.lower())(_make(kind, fields)).hex()
    except ValueError:
        return "ValueError"

def decode(kind, data):
    try:
        return _fields(getattr(payload, "decode_" + kind.lower())(bytes.fromhex(data)))
    except payload.PayloadError as e:
        return str(e)

def ccm_seal(key, tag_len, nonce, header, plain):
    x = bytes.fromhex
    return ccm.CcmKey(x(key), tag_len).seal(x(nonce), x(header), x(plain)).hex()

def ccm_open(key, tag_len, nonce, header, sealed):
    x = bytes.fromhex
    try:
        return ccm.CcmKey(x(key), tag_len).open(x(nonce), x(header), x(sealed)).hex()
    except ccm.AuthError:
        return "AuthError"

def seal(key, down, kind, epoch, node, counter, sender, data):
    x = bytes.fromhex
    try:
        if down:
            return frame.seal_down(ccm.CcmKey(x(key)), kind, epoch, x(node), counter, sender, x(data)).hex()
        return frame.seal_up(ccm.CcmKey(x(key)), kind, epoch, x(node), counter, x(data)).hex()
    except ValueError as e:
        return "ValueError: " + str(e)

def open_frame(key, data):
    try:
        head = frame.parse(bytes.fromhex(data))
        plain = frame.open_frame(ccm.CcmKey(bytes.fromhex(key)), head)
    except frame.FrameError as e:
        return e.reason
    return [head.kind, head.down, head.epoch, head.node.hex(), head.counter, head.sender, plain.hex()]

DECODERS = ("event", "heartbeat", "receipt", "command", "answer")

def _mutate(rng, good):
    """One damaged version of `good` (bytearray): cut, longer, bits turned, bytes replaced, or nothing of it left."""
    data = bytearray(good)
    how = rng.randrange(5)
    if how == 0:
        return bytes(data[: rng.randrange(len(data))])
    if how == 1:
        return bytes(data) + bytes([rng.randrange(256) for _ in range(1 + rng.randrange(300))])
    if how == 2:
        for _ in range(1 + rng.randrange(3)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)
    if how == 3:
        at = rng.randrange(len(data))
        data[at] = rng.randrange(256)
        return bytes(data)
    return bytes([rng.randrange(256) for _ in range(rng.randrange(300))])

def _open_all(keys, data):
    """"<FrameError reason>", or "opened"; every other exception goes up."""
    try:
        head = frame.parse(data)
    except frame.FrameError as e:
        return e.reason
    for key in keys:
        try:
            frame.open_frame(key, head)
            return "opened"
        except frame.FrameError as e:
            reason = e.reason
    return reason

def fuzz(seed, count, key, frames, payloads):
    """Damage good frames and payloads `count` times; return how often each outcome came. No damaged frame may open."""
    rng = random
    rng.seed(seed)
    keys = [ccm.CcmKey(bytes.fromhex(key))]
    frames = [bytes.fromhex(f) for f in frames]
    payloads = [bytes.fromhex(p) for p in payloads]
    outcomes = {}
    for _ in range(count):
        good = frames[rng.randrange(len(frames))]
        bad = _mutate(rng, good)
        if bad not in frames:
            outcome = _open_all(keys, bad)
            if outcome == "opened":
                raise RuntimeError("opened: " + bad.hex())
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        bad = _mutate(rng, payloads[rng.randrange(len(payloads))])
        for name in DECODERS:
            try:
                getattr(payload, "decode_" + name)(bad)
                outcome = "understood"
            except payload.PayloadError:
                outcome = "not understood"
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return outcomes

def handle(request):
    return globals()[request[0]](*request[1])
'''

Handle = Callable[[list[Any]], Any]


def on_cpython() -> Handle:
    """The handler, run by this interpreter."""
    names: dict[str, Any] = {}
    exec(compile(HANDLER, "wire_both handler", "exec"), names)  # the same text that MicroPython runs
    handle: Handle = names["handle"]
    return handle


def on_micropython() -> mpy.Server:
    """The handler in a MicroPython process; use as a context manager, `.call` is its Handle."""
    return mpy.Server(HANDLER, deadline_s=60)
