"""What an ESP32 prints on its serial line before a program runs: the lines of its ROM, as far as tools look at them.

Source: esptool (loader.py reads "boot:0x.. (...)" and "waiting for download"), and the boot messages that Espressif's
guides show for each chip.
"""

from dataclasses import dataclass

from bongsu.sim.supervisor import DEEP_SLEEP, HARD, POWER_ON, WATCHDOG

_MAGIC = 0xE9  # of every image
_ANY = HARD  # esp_restart(), and a panic of the watchdog's: the CPU is reset by software


@dataclass(frozen=True)
class RomLog:
    """`banner`: first lines; `resets`: by cause; `runs`, `downloads`: boot mode with its name; `entry`: last line."""

    banner: str
    resets: dict[int, str]
    runs: str
    downloads: str
    entry: str

    def line(self, cause: int, mode: str) -> str:
        """The banner, and why and how the chip starts."""
        reset = self.resets.get(cause, self.resets[_ANY])
        return f"{self.banner}rst:{reset},boot:{mode}\r\n"

    def run(self, cause: int) -> bytes:
        """The flash is booted."""
        return f"{self.line(cause, self.runs)}mode:DIO, clock div:2\r\n{self.entry}\r\n".encode()

    def download(self, cause: int = POWER_ON) -> bytes:
        """The loader waits."""
        return f"{self.line(cause, self.downloads)}waiting for download\r\n".encode()

    def not_bootable(self, cause: int, word: int) -> bytes:
        """There is no boot loader (`word` is where it should start), or no program that it would start."""
        if word & 0xFF != _MAGIC:
            return (self.line(cause, self.runs) + f"invalid header: 0x{word:08x}\r\n" * 3).encode()
        return self.run(cause) + b"E (71) boot: No bootable app partitions in the partition table\r\n"


_ESP32_RESETS = {
    POWER_ON: "0x1 (POWERON_RESET)",
    HARD: "0xc (SW_CPU_RESET)",
    WATCHDOG: "0xc (SW_CPU_RESET)",
    DEEP_SLEEP: "0x5 (DEEPSLEEP_RESET)",
}
_LATER_RESETS = {
    POWER_ON: "0x1 (POWERON)",
    HARD: "0xc (RTC_SW_CPU_RST)",
    WATCHDOG: "0xc (RTC_SW_CPU_RST)",
    DEEP_SLEEP: "0x5 (DSLEEP)",
}


def _later(name: str, build: str, runs: str, downloads: str, entry: str) -> RomLog:
    return RomLog(f"ESP-ROM:{name}\r\nBuild:{build}\r\n", _LATER_RESETS, runs, downloads, f"entry {entry}")


ROM_LOGS = {
    "esp32": RomLog(
        "ets Jul 29 2019 12:21:46\r\n\r\n",
        _ESP32_RESETS,
        "0x13 (SPI_FAST_FLASH_BOOT)",
        "0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))",
        "entry 0x400805b4",
    ),
    "esp32s3": _later(
        "esp32s3-20210327", "Mar 27 2021", "0x8 (SPI_FAST_FLASH_BOOT)", "0x0 (DOWNLOAD(USB/UART0))", "0x403c8918"
    ),
    "esp32c3": _later(
        "esp32c3-api1-20210207", "Feb  7 2021", "0xd (SPI_FAST_FLASH_BOOT)", "0x5 (DOWNLOAD(USB/UART0/1))", "0x403cc710"
    ),
    "esp32c6": _later(
        "esp32c6-20220919",
        "Sep 19 2022",
        "0xc (SPI_FAST_FLASH_BOOT)",
        "0x4 (DOWNLOAD(USB/UART0/SDIO_REI_FEO))",
        "0x4086c410",
    ),
}
