"""The virtual board as what stands behind the port: blank, a process of its own, with a small image for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bongsu.install.boards import load_board
from tests import image_parts, rig_parts
from tests.hil.bench import Bench, Options

SPEED = 4.0


@contextmanager
def virtual_bench(folder: Path, board: str) -> Iterator[Bench]:
    """A bench with a virtual board of this kind; nothing of its kind is known to the bench but its port, and that its
    air can be warmed.
    """
    image = folder / "small.bin"
    image.write_bytes(image_parts.whole(load_board(board).chip.name))
    with rig_parts.rig(folder, board=board, speed=SPEED) as behind:
        options = Options(behind.url, board, image=image)
        made = Bench(options, folder, heat=lambda temp_c: behind.say(air={"temp_c": temp_c}) and None)
        yield made
