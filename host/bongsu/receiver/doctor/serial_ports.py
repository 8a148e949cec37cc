"""The serial ports of this machine, for who puts boards on them: are they there, may they be opened, who has them open,
and is there a board whose driver is missing?
"""

import os
from collections.abc import Collection
from pathlib import Path

from bongsu.install import ports
from bongsu.receiver.doctor.finding import OK, WARN, Finding, Findings

_CHECK = "serial ports"
_USB_DEVICES = Path("/sys/bus/usb/devices")
# Who makes a serial port of a USB device, by vendor, or by vendor and product: Linux's module, and what it serves.
_DRIVERS = {
    "10c4": ("cp210x", "Silicon Labs CP210x"),
    "1a86": ("ch341", "WCH CH340"),
    "1a86:55d3": ("cdc_acm", "WCH CH343"),
    "1a86:55d4": ("cdc_acm", "WCH CH9102"),
    "0403": ("ftdi_sio", "FTDI"),
    "303a": ("cdc_acm", "Espressif's own USB"),
}
_UNKNOWN_DRIVER = ("usbserial", "unknown")
# CH340, on many copies of devkits. Braille terminals use the same chip: brltty takes every port with it.
_TAKEN_BY_BRLTTY = "1a86:7523"


def look(devices: Path = _USB_DEVICES) -> Findings:
    """All that is to be said; `devices`: where Linux lists USB devices."""
    there = ports.found()
    for port in there:
        yield _port(port)
    bare = _without_port(devices, ports.usb_ids() | {_TAKEN_BY_BRLTTY})
    for usb in bare:
        yield _no_driver(usb)
    if not there and not bare:
        yield Finding(OK, _CHECK, "no board is plugged in")


def _port(port: ports.Port) -> Finding:
    if not os.access(port.url, os.R_OK | os.W_OK):
        return Finding(WARN, _CHECK, f"{port} may not be opened by this user", ports.how_to_open(port.url))
    if who := ports.holders(port.url):
        step = "Close it before you work on the board with bongsu."
        return Finding(WARN, _CHECK, f"{port} is in use{who}", step)
    return Finding(OK, _CHECK, f"{port} can be opened")


def _without_port(devices: Path, wanted: Collection[str]) -> list[str]:
    """USB ids of boards that are plugged in and have no serial port."""
    found = []
    for device in sorted(devices.glob("*")):
        try:
            usb = ":".join((device / name).read_text().strip() for name in ("idVendor", "idProduct"))
        except OSError:  # an interface, or gone
            continue
        if usb in wanted and not any(device.glob("*/tty*")):
            found.append(usb)
    return found


def _no_driver(usb: str) -> Finding:
    module, chip = _DRIVERS.get(usb) or _DRIVERS.get(usb.partition(":")[0]) or _UNKNOWN_DRIVER
    step = f"Load its driver: sudo modprobe {module}; if there is none, install the kernel's extra modules."
    if usb == _TAKEN_BY_BRLTTY:
        step += " If it was there and went away, brltty took it: sudo apt remove brltty"
    return Finding(WARN, _CHECK, f"a board is plugged in (USB {usb}, {chip}) and has no port", step)
