"""The registers that a loader's host reads and writes, and the SPI controller among them."""

from bongsu.sim.rig.rom_chip import RomChip

# Words that a host may leave in memory: more are taken and forgotten, the oldest first.
_WORDS_KEPT = 1024
_WORD = 0xFFFFFFFF

_WATCHDOG_ON = 1 << 31
_RUN = 1 << 18  # command register: send what the user registers say
_HAS_COMMAND = 1 << 31  # user register
_HAS_MISO = 1 << 28

# Commands of SPI flash (JEDEC): a host that looks at the flash by itself sends these.
_READ_ID = 0x9F
_READ_STATUS = (0x05, 0x35, 0x15)
# A maker whose parts stand on many modules, and its common series: the third byte of the id is log2 of the bytes.
_MAKER = 0xC8
_SERIES = 0x40


class Registers:
    """Memory of a chip as the loader shows it: 32-bit words, 0 where nothing is known.

    `flash_bytes`: size of the flash, 0 for none. Until `attached` is set the flash does not answer, as its pins are not
    connected to the controller.
    """

    def __init__(self, chip: RomChip, flash_bytes: int) -> None:
        self._chip = chip
        self._fixed = chip.words()
        self._written: dict[int, int] = {}
        self._flash_bytes = flash_bytes
        self.attached = False
        self.baud = 115200
        self.watchdog = False  # the host has started it: the chip will reset

    def read(self, address: int) -> int:
        """The word at an address."""
        if address == self._chip.silicon.uart_divider:
            return self._chip.uart_divider(self.baud)
        if address in self._fixed:
            return self._fixed[address]
        return self._written.get(address, 0)

    def write(self, address: int, value: int, mask: int = _WORD) -> None:
        """Set the bits of `mask` to those of `value`; the SPI controller acts if it is told to."""
        self._store(address, value & mask | self.read(address) & ~mask & _WORD)
        spi = self._chip.silicon.spi
        if address == spi.base and value & mask & _RUN:
            self._transact()
            self._store(spi.base, 0)
        if address == self._chip.silicon.watchdog and value & mask & _WATCHDOG_ON:
            self.watchdog = True

    def _store(self, address: int, value: int) -> None:
        if address not in self._written and len(self._written) >= _WORDS_KEPT:
            del self._written[next(iter(self._written))]
        self._written[address] = value

    def _transact(self) -> None:
        """One command to the flash, as the user registers say; its answer goes to the data registers."""
        spi = self._chip.silicon.spi
        user = self.read(spi.user)
        if not user & _HAS_COMMAND or not user & _HAS_MISO:
            return
        size = min((self.read(spi.miso_bits) & 0x1FF) // 8 + 1, 64)
        answer = self._answer(self.read(spi.user2) & 0xFF)[:size]
        padded = answer.ljust((size + 3) // 4 * 4, b"\x00")
        for at in range(0, len(padded), 4):
            self._store(spi.data + at, int.from_bytes(padded[at : at + 4], "little"))

    def _answer(self, command: int) -> bytes:
        """What the flash puts on the line; nobody drives it low if no flash answers."""
        if self.attached and self._flash_bytes:
            if command == _READ_ID:
                return bytes((_MAKER, _SERIES, self._flash_bytes.bit_length() - 1))
            if command in _READ_STATUS:
                return bytes(4)  # neither busy nor protected
        return b"\xff" * 64
