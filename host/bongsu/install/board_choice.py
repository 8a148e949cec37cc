"""Which board hangs there, where nobody names it: the chip says what it may be."""

from pathlib import Path

from bongsu.install.boards import Board, BoardError, all_boards, load_board


def choose(
    named: str | None, before: str | None, chip: str, role: str | None = None, data: Path | None = None
) -> Board:
    """The board that is `named`, else the one that it was provisioned as before, else the only one with this chip.

    `chip`: as esptool calls it, "" if the board does not say; `role`: that it is to have; `data`: the data folder.
    Raises BoardError for another chip than it has, and where there are several.
    """
    if named is not None:
        board = load_board(named, data=data)
        if chip and chip != board.chip.esptool:
            raise BoardError(
                f"{board.name} has the chip {board.chip.esptool}, and the board at hand says {chip}",
                f"Name the right one by --board: {_listed(_fitting(chip, None, data))}",
            )
        return board
    fitting = _fitting(chip, role, data)
    for board in fitting:
        if board.name == before or len(fitting) == 1:
            return board
    raise BoardError(
        f"several boards have the chip {chip}" if fitting else f"no board is known with the chip {chip!r}",
        f"Name it by --board: {_listed(fitting)}" if fitting else "Describe it: bongsu board new",
    )


def _fitting(chip: str, role: str | None, data: Path | None) -> list[Board]:
    boards, _ = all_boards(data)  # one that somebody is still writing keeps nobody from the others
    return [board for board in boards if board.chip.esptool == chip and role in (None, board.role)]


def _listed(boards: list[Board]) -> str:
    return ", ".join(board.name for board in boards)
