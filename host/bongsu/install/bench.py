"""The bench of commissioning: a serial port and the board behind it, worked on by what flashes, provisions and labels.

Steps of these tools become words on the port's one line.
"""

import datetime as dt
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bongsu.errors import BongsuError
from bongsu.install import board_choice, esptool, flash, label, label_file
from bongsu.install.boards import Board, load_board
from bongsu.install.commission import CommissionError, Flashed, Found, Place, Settled, Tell
from bongsu.install.esptool_output import FlashError
from bongsu.install.image_store import ImageFile, ImageStore
from bongsu.install.label import LabelText, Size
from bongsu.install.link import BoardLink
from bongsu.install.provision import Registry, Request, provision
from bongsu.install.provision_words import NAME_A_NETWORK
from bongsu.receiver.commissioning_desk import CommissioningDesk

WORDS: Mapping[str, str] = {
    "identify": "identify the chip",
    "download": "download the image",
    "compare": "compare the flash with the image",
    "erase": "erase the flash (up to two minutes)",
    "write": "write the image",
    "verify": "compare the flash with the image",
    "compile": "compile the application, if it has changed",
    "service": "stop what runs on the board",
    "format": "make a new file system",
    "application": "copy the application",
    "settings": "write the settings",
    "key": "write the key",
    "restart": "restart the board",
    "heartbeat": "wait for the first heartbeat",
}


@dataclass(frozen=True)
class Labels:
    """How labels are made. out: a file, or a folder for a file each; None: none. together: the file takes those of many
    nodes, once all are done.
    """

    out: Path | None
    size: Size
    font: Path | None = None
    together: bool = False

    def make(self, desk: CommissioningDesk, node_id: str) -> str | None:
        """Write the node's; returns where it is. Raises BongsuError, OSError."""
        if self.out is None:
            return None
        picture = label.draw(desk.label_words(node_id, dt.date.today()), self.size, self.font)
        if self.together:
            return f"goes onto {self.out}"
        (written,) = label_file.save(self.out, {node_id: picture}, self.size)
        return str(written)

    def save_all(self, texts: Sequence[LabelText]) -> None:
        """Write those of many nodes into one file. Raises BongsuError, OSError."""
        if self.out is not None and self.together and texts:
            pictures = {text.node_id: label.draw(text, self.size, self.font) for text in texts}
            label_file.save(self.out, pictures, self.size)


@dataclass(frozen=True)
class Kit:
    """What all ports have in common. board: its name, None: by the chip; image: a file, None: the board's own; leave:
    MicroPython stays as it is; request: what every board is provisioned with; before: as what board a node was
    commissioned last.
    """

    data: Path
    registry: Registry
    request: Request
    labels: Labels
    before: Callable[[str], str | None] = lambda node_id: None
    board: str | None = None
    image: Path | None = None
    baud: int | None = None
    leave: bool = False


# What is said of an image by how it is known to be the right one; nothing of one whose SHA-256 the board's file has.
_KNOWN_BY: Mapping[str, str] = {
    "board": "",
    "remembered": "unpinned: its SHA-256 is that of the file used first",
    "first": "unpinned: its SHA-256 is remembered, and another file refused from now on",
    "own": "your own image",
}
# One download at a time: all ports want the same image.
_images = threading.Lock()


class SerialBench:
    """As commission.Bench. The port is locked by who works at it, for all of it."""

    def __init__(self, url: str, kit: Kit) -> None:
        self._url, self._kit = url, kit

    # ---- who is there

    def find(self, tell: Tell) -> Found:
        """The board behind the port, its chip compared with what is wished."""
        if self._kit.leave:
            return self._by_its_word(tell)
        tell(WORDS["identify"], 0, 0)
        chip = esptool.identify(self._url)
        board = self._choose(chip.mac, chip.chip)
        if chip.flash_mb is not None and chip.flash_mb < board.flash_mb:
            raise FlashError(
                f"{self._url}: the board has {chip.flash_mb} MB of flash, not the {board.flash_mb} MB of {board.name}",
                "Take the right board, or name this one: bongsu board list",
            )
        return Found(chip.mac, board.name, chip.title)

    def _by_its_word(self, tell: Tell) -> Found:
        """MicroPython is on it, and says who it is."""
        tell(WORDS["service"], 0, 0)
        with BoardLink(self._url) as link:
            link.service()
            try:
                facts = link.facts()
            finally:
                with suppress(BongsuError):
                    link.restart()
        return Found(facts.mac, self._choose(facts.mac, facts.chip).name, facts.machine)

    def _choose(self, node_id: str, chip: str) -> Board:
        kit = self._kit
        return board_choice.choose(kit.board, kit.before(node_id), chip, kit.request.role or "node", kit.data)

    def check(self, found: Found, place: Place) -> None:
        """What would hinder provisioning."""
        kit = self._kit
        if why := kit.registry.unheard():
            raise CommissionError(
                f"nobody would hear the board: {why}", "Start the receiver (bongsu receiver run), then run it again."
            )
        kit.registry.check(found.node_id, self._request(found, place), load_board(found.board, data=kit.data))

    # ---- MicroPython

    def flash(self, found: Found, tell: Tell) -> Flashed:
        """Have the image on it: compared first, and written if it differs."""
        kit = self._kit
        if kit.leave:
            return Flashed("MicroPython as it is", "", "", left=True)
        board = load_board(found.board, data=kit.data)
        with _images:
            image = ImageStore().choose(board, kit.image, _told(tell))
        if self._is_there(board, image, tell):
            return Flashed(image.name, image.sha256, _KNOWN_BY[image.pin], already=True)
        if kit.request.wifi is None and board.bearers == ("wifi",):
            raise CommissionError(
                "no Wi-Fi network is named, and flashing takes those that the board knows; nothing was erased",
                NAME_A_NETWORK,
            )
        pieces = ImageStore().pieces(image, keep=False)
        todo = flash.plan(self._url, board, image, pieces, erase=True, baud=kit.baud)
        done = flash.run(todo, _told(tell))
        return Flashed(done.image_name, done.image_sha256, _KNOWN_BY[image.pin])

    def _is_there(self, board: Board, image: ImageFile, tell: Tell) -> bool:
        """Does the flash hold this very image? Asked of the chip; what it has stored for itself does not count."""
        tell(WORDS["compare"], 0, 0)
        pieces = ImageStore().pieces(image, keep=True)
        todo = flash.plan(self._url, board, image, pieces, erase=False, baud=self._kit.baud)
        return flash.holds(todo)

    # ---- what makes it a node

    def _request(self, found: Found, place: Place) -> Request:
        wish = self._kit.request
        return replace(
            wish,
            node_id=found.node_id,
            board=found.board,
            unit=place.unit,
            label=place.label,
            sensors=place.sensors or wish.sensors,
            profile=place.profile or wish.profile,
        )

    def provision(self, found: Found, place: Place, tell: Tell) -> Settled:
        """Application, settings, key, first heartbeat."""
        with BoardLink(self._url) as link:
            made = provision(link, self._kit.registry, self._request(found, place), _told(tell))
        return Settled(made.epoch, made.app_hash, made.bytes_copied, made.new_key, made.taken_over)

    def label(self, found: Found, desk: CommissioningDesk) -> str | None:
        """Its label."""
        return self._kit.labels.make(desk, found.node_id)


def _told(tell: Tell) -> Callable[[str, int, int], None]:
    """The progress of a tool, in words."""

    def told(step: str, done: int, total: int) -> None:
        name, colon, more = step.partition(": ")
        tell(WORDS.get(name, name) + colon + more, done, total)

    return told
