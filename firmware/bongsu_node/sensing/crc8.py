"""Sensirion's check sum: CRC-8, polynomial 0x31, begins with 0xFF (SHT4x data sheet 4.4; 0xBEEF gives 0x92)."""

from bongsu_node.sensing import SensorError


def crc8(data, start: int) -> int:
    """Of the two bytes from `start` on."""
    crc = 0xFF
    for n in range(start, start + 2):
        crc ^= data[n]
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc


def check(data) -> None:
    """Every word of two bytes in `data` must be followed by its check sum. Raises SensorError "crc"."""
    for start in range(0, len(data), 3):
        if crc8(data, start) != data[start + 2]:
            raise SensorError("crc")
