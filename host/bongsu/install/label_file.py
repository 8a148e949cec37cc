"""Labels as files: what a file's name says it shall be."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from bongsu.errors import UsageFault
from bongsu.install import label, label_ql, label_sheet
from bongsu.install.label import Size

# Of raster data there is no usual suffix; .prn is what Windows calls a printer's file.
RASTER_SUFFIXES = (".ql", ".prn", ".bin")


def check(out: Path) -> None:
    """Raise UsageFault if its name is none that a label can have."""
    if not out.is_dir() and out.suffix and out.suffix.lower() not in (".pdf", ".png", *RASTER_SUFFIXES):
        raise UsageFault(f"{out} is none of .png, .pdf, .ql", "Name it so: labels.pdf, or a folder for a PNG each.")


def save(out: Path, pictures: Mapping[str, Image.Image], size: Size, first: int = 1) -> list[Path]:
    """Write the labels by node id: FILE.pdf (A4 pages, begun at place `first`), FILE.png (one label), FILE.ql (what a
    Brother QL prints), or a folder for a PNG each. Returns what was written. Raises UsageFault, OSError; an existing
    file is replaced, whole or not at all.
    """
    check(out)
    kind = out.suffix.lower()
    makers: dict[str, Callable[[Sequence[Image.Image]], bytes]] = {
        ".pdf": lambda all_: label_sheet.pdf(all_, size, first),
        ".png": lambda all_: label.png(all_[0]),
        **dict.fromkeys(RASTER_SUFFIXES, lambda all_: label_ql.raster(all_, size)),
    }
    if out.is_dir() or not kind:
        out.mkdir(parents=True, exist_ok=True)
        return [write_whole(out / f"{node}.png", label.png(picture)) for node, picture in pictures.items()]
    if kind == ".png" and len(pictures) > 1:
        raise UsageFault(f"{out} takes one label, and these are {len(pictures)}", "Name a folder, or a .pdf.")
    return [write_whole(out, makers[kind](list(pictures.values())))]


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file so that it is never there in part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temp.write_bytes(data)
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)
    return path
