"""The one error type that people see: what is wrong, where, and the next step."""

import errno


class BongsuError(Exception):
    """Something that the user can act on.

    `message` says what is wrong and where; `next_step` says what to do about it. Neither may hold a secret or an
    unmasked phone number: both are printed and logged as they are.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class UsageFault(BongsuError):
    """What was typed can never be right, whatever is stored; the command line's exit code is that of wrong usage."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, where it leaves something that must be said: `message` and `next_step` as of BongsuError."""

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


_NEXT = {
    errno.ENOSPC: "Free some space on this machine, and run it again; nothing half-written was kept.",
    errno.EDQUOT: "Free some of your space on this machine, and run it again; nothing half-written was kept.",
    errno.EACCES: "Run it as the user who owns the data folder, or correct its rights.",
    errno.EROFS: "Name a folder that can be written.",
    errno.EADDRINUSE: "Another program listens there: stop it, or name another port.",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)


def of_system(err: OSError) -> BongsuError:
    """What the operating system refused. Where the "device" without space is none that is named, it is this machine's
    disk: somebody with a board in their hand reads it.
    """
    where = err.filename or ("this machine's disk" if err.errno in _FULL else "")
    said = f"{where}: {err.strerror or err}" if where else str(err.strerror or err)
    return BongsuError(said, _NEXT.get(err.errno or 0, "Correct that, and run it again."))
