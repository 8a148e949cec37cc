"""inisetup, frozen in ESP32 images: what happens at the first boot, and with a file system that cannot be mounted."""

import _board
import flashbdev
import vfs

_BOOT = """# This file is executed on every boot (including wake-boot from deepsleep)
#import esp
#esp.osdebug(None)
#import webrepl
#webrepl.start()
"""
_CORRUPT = """\
The filesystem appears to be corrupted. If you had important data there, you
may want to make a flash snapshot to try to recover it. Otherwise, perform
factory reprogramming of MicroPython firmware (completely erase flash, followed
by firmware programming).
"""
_AGAIN_US = 3000000


def check_bootsec():
    """True if the flash is erased; else there is something, and it is said until Ctrl-C."""
    buffer = bytearray(flashbdev.bdev.ioctl(5, 0))
    flashbdev.bdev.readblocks(0, buffer)
    if buffer == b"\xff" * len(buffer):
        return True
    return fs_corrupted()


def fs_corrupted():
    while True:
        print(_CORRUPT)
        _board.sleep_us(_AGAIN_US)


def setup():
    check_bootsec()
    print("Performing initial setup")
    vfs.VfsLfs2.mkfs(flashbdev.bdev)
    fs = vfs.VfsLfs2(flashbdev.bdev)
    vfs.mount(fs, "/")
    with open("/boot.py", "w") as file:
        file.write(_BOOT)
    return fs
