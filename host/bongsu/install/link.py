"""The line to a board: its raw REPL, by mpremote's transport."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from bongsu.errors import BongsuError
from bongsu.install.on_board import BoardFacts


class LinkError(BongsuError):
    """The board does not answer as it should, or the line to it is gone."""


class BoardLink:
    """An open line to one board; a context manager. `url`: a device file, or any URL that pyserial knows."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> "BoardLink":
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def service(self) -> None:
        """Stop what runs; afterwards the board is in its raw REPL, and no watchdog runs."""
        raise NotImplementedError

    def run(self, code: str, *, secret: bool = False) -> str:
        """Run code on the board and return what it prints. `secret`: no error of it repeats anything of either."""
        raise NotImplementedError

    def value(self, code: str, *, secret: bool = False) -> Any:
        """What the code prints, as JSON."""
        raise NotImplementedError

    def facts(self) -> BoardFacts:
        """What the board says of itself; it must be in its raw REPL."""
        raise NotImplementedError

    def restart(self) -> None:
        """Reset the board, so that what is on it runs."""
        raise NotImplementedError

    def lines(self, timeout_s: float) -> Iterator[str]:
        """Lines of the running board, as they come, for `timeout_s`."""
        raise NotImplementedError
