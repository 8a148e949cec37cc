"""How far a data folder has seen the audit's chain, kept outside of the database: whoever puts the database's chain
back to an older state, or takes its head away, is found out. Each receiver's folder keeps what it has seen itself.

Only the row's number is kept: nobody without the master key can make another head for it, and erasing a person seals
rows anew on purpose.
"""

from pathlib import Path

from bongsu.receiver.broker_files import write_private

SEEN_NAME = "audit.head"


def read(folder: Path | None) -> int | None:
    """The newest sealed row that this folder has seen (0: the chain had begun); None: it has seen none yet. Raises
    ValueError if the file is not as it was written.
    """
    if folder is None:
        return None
    try:
        text = (folder / SEEN_NAME).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{SEEN_NAME} cannot be read") from None
    if not text.isdigit() or len(text) > 19:
        raise ValueError(f"{SEEN_NAME} was changed by another hand")
    return int(text)


def keep(folder: Path | None, row_id: int) -> None:
    """This row was seen; never goes back by itself. After the commit that sealed it."""
    if folder is None:
        return
    try:
        seen = read(folder)
    except ValueError:
        return
    if seen is None or row_id > seen:
        write_private(folder / SEEN_NAME, f"{row_id}\n")
