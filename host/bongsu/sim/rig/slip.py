"""SLIP, the framing of the ROM loader's serial line (RFC 1055, with an END before a frame as well as after it)."""

_END = b"\xc0"
_ESCAPE = b"\xdb"
_ESCAPED_END = b"\xdb\xdc"
_ESCAPED_ESCAPE = b"\xdb\xdd"


def encode(payload: bytes) -> bytes:
    """`payload` as one frame, with an END on both sides."""
    return _END + payload.replace(_ESCAPE, _ESCAPED_ESCAPE).replace(_END, _ESCAPED_END) + _END


class Decoder:
    """Frames out of a stream that may be cut anywhere and may hold noise; it never raises.

    `longest`: bytes of the longest frame as it stands on the line; a longer one is dropped, and no more than that is
    ever kept. Noise between two frames comes out as a frame of its own, since nothing in SLIP tells it from one; what
    stands before the first END, and a frame with a broken escape, do not come out.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._kept: bytearray | None = None  # the frame begun; None: none begun, or it has grown too long

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the frames that `data` completes, none of them empty."""
        first, *rest = data.split(_END)
        self._keep(first)
        frames = []
        for piece in rest:
            frame = None if self._kept is None else _payload(bytes(self._kept))
            if frame:
                frames.append(frame)
            self._kept = bytearray()
            self._keep(piece)
        return frames

    def _keep(self, piece: bytes) -> None:
        if self._kept is None:
            return
        if len(self._kept) + len(piece) > self._longest:
            self._kept = None
        else:
            self._kept += piece


def _payload(raw: bytes) -> bytes | None:
    """What a frame says, None if one of its escapes is none."""
    escapes = raw.count(_ESCAPE)
    if not escapes:
        return raw
    if escapes != raw.count(_ESCAPED_END) + raw.count(_ESCAPED_ESCAPE):
        return None
    return raw.replace(_ESCAPED_END, _END).replace(_ESCAPED_ESCAPE, _ESCAPE)
