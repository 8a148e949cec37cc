"""Where the files are that travel with the package: firmware/ and boards/."""

from dataclasses import dataclass
from pathlib import Path

from bongsu.errors import BongsuError

_PACKAGE = Path(__file__).resolve().parent


class ResourceError(BongsuError):
    """The installation is not whole."""


@dataclass(frozen=True)
class Resources:
    """`firmware`: the folder that goes onto a node (main.py, boot.py, packages); `boards`: one TOML a board."""

    firmware: Path
    boards: Path


def resources() -> Resources:
    """The resource folders, of an installed wheel or of a checkout (editable install, or run in place).

    Raises ResourceError if neither is there.
    """
    for root in (_PACKAGE / "_resources", _PACKAGE.parents[1]):
        found = Resources(root / "firmware", root / "boards")
        if (found.firmware / "bongsu_wire").is_dir() and found.boards.is_dir():
            return found
    raise ResourceError(
        f"firmware/ and boards/ are missing beside {_PACKAGE}",
        "Install Bongsu again: pip install --force-reinstall bongsu",
    )
