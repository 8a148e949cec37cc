"""Boots one virtual board: `_start.py <folder> <control fd> <trace fd>`; the configuration is <folder>/boot.json.

Mounts the littlefs image as the only file system, puts the shims in place of the unix port's modules, then runs
/boot.py and /main.py as an ESP32 does.
"""

import sys

_path = sys.path[:]
sys.path[:] = [".frozen"]
import asyncio.core  # noqa: E402  # with the real clock; _poll.install() changes it over

sys.path[:] = _path[:1] + [".frozen"]

import json  # noqa: E402
import random  # noqa: E402

import vfs  # noqa: E402


def _modules(folder, config):
    """Load the shims; nothing of the host's file system is needed afterwards."""
    import _air
    import _board
    import _flash
    import _poll
    import _sensors

    # Without a root folder of its own: with one, rename() of this port looks for both names at the new place.
    host = vfs.VfsPosix()
    random.seed(config["seed"])
    _board.start(config, int(sys.argv[2]), int(sys.argv[3]))
    _flash.open_nvs(host, folder)

    def read_scenario(_):
        try:
            file = host.open(folder + "/scenario.csv", "r")
        except OSError:
            return
        _air.load(file)
        file.close()

    read_scenario(None)
    _sensors.start()
    _board.hooks["scenario"] = read_scenario
    _poll.install(asyncio.core)
    import os
    import socket
    import time

    import esp32
    import machine
    import network
    import onewire

    modules = {"esp32": esp32, "machine": machine, "network": network, "onewire": onewire}
    modules.update({"os": os, "socket": socket, "time": time})
    return modules


def _remember_tls():
    """Let the poller know which TCP socket is below a TLS one."""
    import ssl

    import _poll

    wrap = ssl.SSLContext.wrap_socket

    def wrap_socket(self, sock, **kwargs):
        tls_sock = wrap(self, sock, **kwargs)
        _poll.remember(tls_sock, sock)
        return tls_sock

    ssl.SSLContext.wrap_socket = wrap_socket


def _mount(folder, config):
    import _flash

    image = open(folder + "/flash.img", "r+b")  # noqa: SIM115  # open as long as the board runs
    device = _flash.Flash(image, config["flash_blocks"])
    vfs.umount("/")
    try:
        vfs.mount(vfs.VfsLfs2(device), "/")
    except OSError:
        # What an ESP32 image's _boot.py does with a file system that it cannot mount is to say so and go on without
        # one.
        print("The filesystem appears to be corrupted.")


def _run(name, scope):
    """Run a file of the flash as the interpreter runs boot.py and main.py; False if it ended with an exception."""
    import _board

    try:
        with open("/" + name) as file:
            source = file.read()
    except OSError:
        return True
    try:
        exec(compile(source, name, "exec"), scope)
    except SystemExit:
        _board.die("x soft")
    except BaseException as e:
        sys.print_exception(e, sys.stdout)
        _board.flush_counts()
        _board.tell("e " + name)
        return False
    return True


def _main():
    folder = sys.argv[1]
    with open(folder + "/boot.json") as file:
        config = json.load(file)
    shims = _modules(folder, config)
    import _board

    _remember_tls()
    _mount(folder, config)
    for name in ("_air", "_flash", "_poll", "_sensors"):
        sys.modules.pop(name, None)
    sys.modules.update(shims)
    sys.path[:] = ["", ".frozen", "/lib"]
    sys.argv[:] = []
    scope = {"__name__": "__main__"}
    _board.boot()
    # As on the chip, main.py runs even if boot.py failed.
    _run("boot.py", scope)
    _run("main.py", scope)
    print("MicroPython virtual board; the program has ended")
    print(">>> ", end="")
    while True:
        _board.idle(-1, _board._ctl_poll)


_main()
