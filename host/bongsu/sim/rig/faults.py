"""Faults of a board and of its serial line that a test switches on."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from bongsu.errors import BongsuError
from bongsu.sim.rig.rom_chip import SILICON


@dataclass(frozen=True)
class Faults:
    """What goes wrong; counts start when the faults are set.

    `silent`: nothing is answered. `wrong_chip`: the loader speaks as this kind of chip. `drop_every`: every n-th byte
    from the host is lost (0: none). `unplug_after_bytes`: the cable comes off after so many bytes from the host;
    `unplug_after_blocks`: ... after so many blocks of data have been answered. `flash_fails_from`: programming at or
    above this offset of the flash fails. `wrong_md5`: the digest of the flash that is told is not that of the flash.
    """

    silent: bool = False
    wrong_chip: str | None = None
    drop_every: int = 0
    unplug_after_bytes: int | None = None
    unplug_after_blocks: int | None = None
    flash_fails_from: int | None = None
    wrong_md5: bool = False

    def __post_init__(self) -> None:
        if self.wrong_chip is not None and self.wrong_chip not in SILICON:
            raise BongsuError(f"no chip {self.wrong_chip!r}", f"take one of {', '.join(SILICON)}")
        for name in ("drop_every", "unplug_after_bytes", "unplug_after_blocks", "flash_fails_from"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise BongsuError(f"fault {name} is a number, 0 or more, not {value!r}")
        for name in ("silent", "wrong_md5"):
            if not isinstance(getattr(self, name), bool):
                raise BongsuError(f"fault {name} is true or false, not {getattr(self, name)!r}")

    @classmethod
    def named(cls, values: Mapping[str, Any]) -> "Faults":
        """Faults by their names. Raises BongsuError for a name that is none."""
        names = [field.name for field in fields(cls)]
        unknown = values.keys() - set(names)
        if unknown:
            raise BongsuError(f"no fault {', '.join(sorted(unknown))}", f"there are {', '.join(names)}")
        return cls(**values)


class FaultyLine:
    """Bytes from the host on their way to the board: some get lost, and the cable may come off."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._seen = 0
        self._blocks = 0

    @property
    def cut_by_blocks(self) -> bool:
        """True once as many blocks have been written as were to be."""
        limit = self._faults.unplug_after_blocks
        return limit is not None and self._blocks >= limit

    @property
    def unplugged(self) -> bool:
        """True once the cable is off."""
        limit = self._faults.unplug_after_bytes
        return self.cut_by_blocks or (limit is not None and self._seen >= limit)

    def carry(self, data: bytes) -> bytes:
        """What of `data` arrives."""
        if self.unplugged:
            return b""
        if self._faults.unplug_after_bytes is not None:
            data = data[: self._faults.unplug_after_bytes - self._seen]
        start = self._seen
        self._seen += len(data)
        every = self._faults.drop_every
        if not every:
            return data
        kept = bytearray(data)
        del kept[every - 1 - start % every :: every]
        return bytes(kept)

    def block_done(self) -> None:
        """A block of data for the flash has been written."""
        self._blocks += 1
