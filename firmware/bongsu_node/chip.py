"""What differs between the chips that the firmware runs on, as far as it matters here; needed at the start only."""

import sys

# The serial port for sensors. UART 0 is the console. On an ESP32 UART 1 would drive GPIO10, a line of the module's
# flash, where no tx is named; a C3 and a C6 have no other (MicroPython, ports/esp32/machine_uart.c).
_UARTS = {"ESP32C3": 1, "ESP32C6": 1}
_UART = 2
# Microvolt at which the ADC ends at 11 dB, where that is below the supply: beyond it any voltage reads the same
# (ESP-IDF, ADC attenuation: a C3 measures up to 2.5 V).
_ENDS_UV = {"ESP32C3": 2_450_000}


def name() -> str:
    """ESP32, ESP32S3, ESP32C3, ...: MicroPython says "BOARD with CHIP", some with more behind it ("ESP32-PICO-D4",
    "ESP32-S3R8"). ESP32 if it says anything else.
    """
    said = getattr(sys.implementation, "_machine", "").rpartition(" with ")[2].replace("-", "")
    line = said[5:7]
    return "ESP32" + line if said.startswith("ESP32") and line[:1] in "SCHP" and line[1:].isdigit() else "ESP32"


def uart() -> int:
    """Number of the serial port that sensors hang on."""
    return _UARTS.get(name(), _UART)


def adc_ends_uv() -> int:
    """From this voltage on the ADC cannot tell one from another; 0: it can, up to the supply."""
    return _ENDS_UV.get(name(), 0)
