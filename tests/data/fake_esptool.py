"""A program in esptool's place: fake_esptool.py WHAT [FILE ...] [esptool's own words ...]"""

import os
import signal
import sys
from pathlib import Path

what, words = sys.argv[1], sys.argv[2:]


def interrupted(*_: object) -> None:
    Path(words[0]).write_text("interrupted")
    sys.exit(2)


if what == "print":
    os.write(1, b"first\r\nsec")
    os.write(2, b"ond\r\x1b[Kthird\n\nno end")
elif what == "fail":
    print("ERROR: A fatal error occurred: Failed to connect to ESP32: No serial data received.", file=sys.stderr)
    sys.exit(2)
elif what == "busy_once":
    print("esptool v5.6.0")
    if not Path(words[0]).exists():
        Path(words[0]).touch()
        print("A fatal error occurred: Could not open x, the port is busy or doesn't exist.\n([Errno 16] Busy)")
        sys.exit(2)
    print("free")
elif what == "environment":
    print("\n".join(f"{name}={value}" for name, value in os.environ.items()))
elif what in ("patient", "deaf"):
    signal.signal(signal.SIGINT, interrupted if what == "patient" else signal.SIG_IGN)
    print(os.getpid(), flush=True)
    while True:
        signal.pause()
elif what == "play":  # a recording, and who was called how
    Path(words[1]).write_text("\n".join(words[2:]))
    print(Path(words[0]).read_text())
