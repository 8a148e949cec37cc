"""The one error type that people see: what is wrong, where, and the next step."""


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
