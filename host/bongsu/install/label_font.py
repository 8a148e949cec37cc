"""Fonts for labels, looked up on this machine when a label is drawn: one that has every letter of it, Korean too."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import ImageFont

from bongsu.errors import BongsuError

# Files of fonts with Korean letters, the best for small print first: bold, without serifs.
KNOWN = (
    "NanumGothicBold.ttf",
    "NanumBarunGothicBold.ttf",
    "NanumSquareB.ttf",
    "NotoSansCJK-Bold.ttc",
    "NotoSansKR-Bold.otf",
    "NotoSansKR-Bold.ttf",
    "AppleSDGothicNeo.ttc",
    "malgunbd.ttf",
    "NanumGothic.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansKR-Regular.otf",
    "UnDotumBold.ttf",
    "UnDotum.ttf",
    "baekmuk-gulim.ttf",
    "malgun.ttf",
)
_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
_PROBE_SIZE = 24
# A noncharacter (Unicode 16, section 23.7): no font has a glyph for it, so it looks like every missing letter.
_MISSING = "\U0010fffe"
_FC_TIMEOUT_S = 5.0


class FontError(BongsuError):
    """No font has the letters that the label needs."""


@dataclass(frozen=True)
class Typeface:
    """A font file, or Pillow's own font (None), which has Latin letters only."""

    path: Path | None

    def at(self, size_px: int) -> ImageFont.FreeTypeFont:
        """The font at a size in pixels. Raises OSError if the file is no font."""
        return _font(self.path, size_px)

    def lacks(self, text: str) -> str:
        """The first letter of `text` for which it has no glyph, or ""."""
        font = self.at(_PROBE_SIZE)
        missing = _shape(font, _MISSING)
        return next((c for c in text if not c.isspace() and _shape(font, c) == missing), "")


@cache
def _font(path: Path | None, size_px: int) -> ImageFont.FreeTypeFont:
    if path is None:
        font = ImageFont.load_default(size_px)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)


def _shape(font: ImageFont.FreeTypeFont, char: str) -> tuple[tuple[int, ...], bytes]:
    mask = font.getmask(char, mode="L")
    return tuple(mask.size), bytes(mask)


def folders() -> list[Path]:
    """Where fonts lie: the usual folders, and those of XDG_DATA_DIRS."""
    more = [f"{one}/fonts" for one in os.environ.get("XDG_DATA_DIRS", "").split(":") if one]
    return [Path(one).expanduser() for one in dict.fromkeys((*_FOLDERS, *more))]


def find(text: str, named: Path | None = None) -> Typeface:
    """A font that has all letters of `text`: the one that is named, else one of this machine, else Pillow's own. Raises
    FontError.
    """
    if named is not None:
        return _named(text, named)
    for face in _candidates():
        try:
            if not face.lacks(text):
                return face
        except OSError:  # a damaged file: another one may do
            continue
    raise FontError(
        f"no font of this machine has the letter {_unusual(text)!r} of the label",
        f"Install one: {_package()}; or name a font file: --font FILE",
    )


def _named(text: str, path: Path) -> Typeface:
    face = Typeface(path)
    try:
        lacking = face.lacks(text)
    except OSError as err:
        raise FontError(
            f"{path} cannot be used as a font: {err}", "Name a .ttf, .otf or .ttc file: --font FILE"
        ) from None
    if lacking:
        raise FontError(f"the font {path} has no letter {lacking!r}", "Name one with Korean letters: --font FILE")
    return face


def _unusual(text: str) -> str:
    return Typeface(None).lacks(text) or text[:1]


def _package() -> str:
    if sys.platform == "darwin":
        return "brew install --cask font-nanum-gothic"
    if shutil.which("dnf"):
        return "sudo dnf install google-noto-sans-cjk-fonts"
    if shutil.which("pacman"):
        return "sudo pacman -S noto-fonts-cjk"
    return "sudo apt install fonts-nanum"


def _candidates() -> Iterator[Typeface]:
    """Korean fonts of this machine by KNOWN's order, then the one that fontconfig names, then Pillow's own."""
    found = _files(folders())
    yield from (Typeface(found[name]) for name in KNOWN if name in found)
    if (path := _by_fontconfig()) is not None:
        yield Typeface(path)
    yield Typeface(None)


def _files(roots: Iterable[Path]) -> dict[str, Path]:
    """Where the known files are; of several the first."""
    found: dict[str, Path] = {}
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in set(names).intersection(KNOWN):
                found.setdefault(name, Path(folder) / name)
    return found


def _by_fontconfig() -> Path | None:
    program = shutil.which("fc-match")
    if program is None:
        return None
    wanted = [program, "--format=%{file}", ":lang=ko:weight=bold"]
    try:
        said = subprocess.run(wanted, capture_output=True, text=True, timeout=_FC_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return Path(said) if said else None
