"""Log lines on the serial port: `<ticks_ms> <LEVEL> <tag> key=value ...`; LEVEL is I, W or E. No secrets."""

_FIRST = ("name", "event", "phen", "state")


def _order(key: str) -> str:
    """What a line is about comes first, then the other fields by name: MicroPython forgets the order of keywords."""
    return "%d%s" % (_FIRST.index(key) if key in _FIRST else len(_FIRST), key)


def make(ticks_ms, write=print):
    """Return log(level, tag, text="", **fields): `text` is the caller's own "key=value ..." in the caller's order."""

    def log(level: str, tag: str, text: str = "", **fields) -> None:
        parts = [str(ticks_ms()), level, tag]
        if text:
            parts.append(text)
        for key in sorted(fields, key=_order):
            parts.append("%s=%s" % (key, str(fields[key]).replace(" ", "_")))
        write(" ".join(parts))

    return log
