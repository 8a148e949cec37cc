"""What a chip's ROM loader shows of the chip: identity, fuses and where its registers are.

Addresses and fields are those of Espressif's technical reference manuals (eFuse, UART and SPI1 chapters) and of the
fuse tables of ESP-IDF (components/efuse/*/esp_efuse_table.csv).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from bongsu.errors import BongsuError

_MAC = re.compile(r"[0-9a-f]{12}")
# Crystal of every module of these chips, Hz; the UART counts it while the loader runs.
_CRYSTAL_HZ = 40_000_000


@dataclass(frozen=True)
class SpiLayout:
    """Addresses of the registers of the controller that the flash hangs on."""

    base: int
    user: int
    user2: int
    miso_bits: int
    data: int


@dataclass(frozen=True)
class Silicon:
    """One kind of chip.

    `image_id`: chip id in an image's extended header and in the answer about security; `magic`: what stands at
    0x40001000, by which older chips are told; `words(mac)`: address -> word of what else identifies it, its fuses
    first; `uart_divider`: address of the divider that tells the crystal; `tells_security`: the ROM answers
    GET_SECURITY_INFO; `ram`: address ranges that programs may be loaded into; `watchdog`: address of the register that
    starts the RTC's watchdog, where hosts use it to reset.
    """

    name: str
    image_id: int
    magic: int
    words: Callable[[bytes], dict[int, int]]
    uart_divider: int
    spi: SpiLayout
    tells_security: bool
    ram: tuple[tuple[int, int], ...]
    watchdog: int | None = None


def _mac_words(mac: bytes) -> tuple[int, int]:
    """The two words that every chip keeps its MAC in: its last four bytes, its first two."""
    return int.from_bytes(mac[2:], "big"), int.from_bytes(mac[:2], "big")


def _esp32_words(mac: bytes) -> dict[int, int]:
    """ESP32-D0WD-V3, revision v3.1, 240 MHz, reference voltage of the ADC measured: what a WROOM-32E holds."""
    block0 = 0x3FF5A000
    low, high = _mac_words(mac)
    return {
        block0 + 0x04: low,
        block0 + 0x08: high,
        block0 + 0x0C: 1 << 9 | 1 << 13 | 1 << 15,  # package D0WD, frequency rated, revision bit 1
        block0 + 0x10: 16 << 8 | 100,  # reference voltage, frequency of the slow clock
        block0 + 0x14: 1 << 20 | 1 << 24,  # revision bit 2, minor revision
        0x3FF6607C: 1 << 31,  # APB_CTRL_DATE: revision bit 3
        # RTCCALICFG1: how the ROM counted the crystal by the slow clock, to know its rate. A host that changes the baud
        # rate through the ROM corrects it by this count; with the frequency above it stands for 40 MHz exactly.
        0x3FF5F06C: 1024 << 7,
    }


def _esp32s3_words(mac: bytes) -> dict[int, int]:
    """ESP32-S3 (QFN56), revision v0.2, no flash or PSRAM in the package."""
    block1 = 0x60007044
    low, high = _mac_words(mac)
    return {block1: low, block1 + 4: high, block1 + 12: 2 << 18 | 2 << 24}  # minor revision, version of block 1


def _esp32c3_words(mac: bytes) -> dict[int, int]:
    """ESP32-C3 (QFN32), revision v0.4, no flash in the package."""
    block1 = 0x60008844
    low, high = _mac_words(mac)
    return {block1: low, block1 + 4: high, block1 + 12: 4 << 18 | 1 << 24}


def _esp32c6_words(mac: bytes) -> dict[int, int]:
    """ESP32-C6 (QFN40), revision v0.1; it also holds the two bytes that make its MAC an EUI-64."""
    block1 = 0x600B0844
    low, high = _mac_words(mac)
    return {block1: low, block1 + 4: 0xFFFE << 16 | high, block1 + 12: 1 << 18}


def _new_spi(base: int) -> SpiLayout:
    """The layout of the chips after the ESP32."""
    return SpiLayout(base, base + 0x18, base + 0x20, base + 0x28, base + 0x58)


_SPI_ESP32 = SpiLayout(0x3FF42000, 0x3FF4201C, 0x3FF42024, 0x3FF4202C, 0x3FF42080)

SILICON: dict[str, Silicon] = {
    silicon.name: silicon
    for silicon in (
        Silicon(
            "esp32",
            0,
            0x00F01D83,
            _esp32_words,
            0x3FF40014,
            _SPI_ESP32,
            tells_security=False,
            ram=((0x3FFAE000, 0x40000000), (0x40070000, 0x400C2000)),
        ),
        Silicon(
            "esp32s3",
            9,
            0x00000009,
            _esp32s3_words,
            0x60000014,
            _new_spi(0x60002000),
            tells_security=True,
            ram=((0x3FC88000, 0x3FD00000), (0x40370000, 0x403E0000)),
            watchdog=0x60008098,
        ),
        Silicon(
            "esp32c3",
            5,
            0x1B31506F,
            _esp32c3_words,
            0x60000014,
            _new_spi(0x60002000),
            tells_security=True,
            ram=((0x3FC80000, 0x3FCE0000), (0x4037C000, 0x403E0000)),
            watchdog=0x60008090,
        ),
        Silicon(
            "esp32c6",
            13,
            0x2CE0806F,
            _esp32c6_words,
            0x60000014,
            _new_spi(0x60003000),
            tells_security=True,
            ram=((0x40800000, 0x40880000),),
        ),
    )
}


@dataclass(frozen=True)
class RomChip:
    """One chip: its kind (esptool's name) and its MAC, 12 lower-case hex digits. Raises BongsuError if one is wrong."""

    kind: str
    mac: str

    def __post_init__(self) -> None:
        if self.kind not in SILICON:
            raise BongsuError(f"no chip {self.kind!r}", f"take one of {', '.join(SILICON)}")
        if not _MAC.fullmatch(self.mac):
            raise BongsuError(f"{self.mac!r} is no MAC", "give 12 lower-case hex digits")

    @property
    def silicon(self) -> Silicon:
        """What its kind has in common."""
        return SILICON[self.kind]

    def words(self) -> dict[int, int]:
        """Address -> value of the words that identify the chip."""
        return {**self.silicon.words(bytes.fromhex(self.mac)), 0x40001000: self.silicon.magic}

    def uart_divider(self, baud: int) -> int:
        """The UART's divider at a rate: whole clocks per bit, and sixteenths of one from bit 20."""
        sixteenths = _CRYSTAL_HZ * 16 // max(baud, 1)
        return (sixteenths >> 4) & 0xFFFFF | (sixteenths & 15) << 20
