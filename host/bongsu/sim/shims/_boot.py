"""Boots one virtual board, for `_start.py`: mounts the littlefs image as the only file system, puts the shims in place
of the unix port's modules, then runs /boot.py and /main.py as an ESP32 does.
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
    if _board.repl is not None:
        import _sys
        import esp
        import flashbdev
        import inisetup

        modules.update({"sys": _sys, "esp": esp, "flashbdev": flashbdev, "inisetup": inisetup})
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


def _device(config):
    import _flash

    path, start, blocks = config["flash"]
    return _flash.Flash(open(path, "r+b"), blocks, start)  # open as long as the board runs


def _mount(device):
    try:
        vfs.mount(vfs.VfsLfs2(device), "/")
    except OSError:
        # What an ESP32 image's _boot.py does with a file system that it cannot mount is to say so and go on without
        # one.
        print("The filesystem appears to be corrupted.")


def _mount_or_set_up(device):
    """The same where somebody can help: an erased flash gets a file system, and a corrupt one is said until Ctrl-C."""
    import esp32
    import flashbdev
    import inisetup

    esp32.Partition.vfs = flashbdev.bdev = device
    try:
        try:
            vfs.mount(vfs.VfsLfs2(device), "/")
        except OSError:
            inisetup.setup()
    except BaseException as e:
        sys.print_exception(e, sys.stdout)


def _run(name, scope):
    """Run a file of the flash as the interpreter runs boot.py and main.py."""
    import _board

    try:
        with open("/" + name) as file:
            source = file.read()
    except OSError:
        return
    try:
        exec(compile(source, name, "exec"), scope)
    except SystemExit:
        _board.die("x soft" if _board.repl is None else "x repl")
    except BaseException as e:
        sys.print_exception(e, sys.stdout)
        _board.flush_counts()
        if not isinstance(e, KeyboardInterrupt):
            _board.tell("e " + name)


def main(scope):
    """`scope`: the namespace of the REPL, if there is to be one; boot.py and main.py share it."""
    folder = sys.argv[1]
    with open(folder + "/boot.json") as file:
        config = json.load(file)
    shims = _modules(folder, config)
    import _board

    _remember_tls()
    device = _device(config)
    vfs.umount("/")
    if _board.repl is None:
        scope = {"__name__": "__main__"}
        _mount(device)
    for name in ("_air", "_boot", "_flash", "_poll", "_sensors", "_sys"):
        sys.modules.pop(name, None)
    sys.modules.update(shims)
    sys.path[:] = ["", ".frozen", "/lib"]
    sys.argv[:] = []
    _board.boot()
    if _board.repl is None:
        _without_repl(scope)
    else:
        _before_repl(device, scope)


def _without_repl(scope):
    import _board

    # As on the chip, main.py runs even if boot.py failed.
    _run("boot.py", scope)
    _run("main.py", scope)
    print("MicroPython virtual board; the program has ended")
    print(">>> ", end="")
    while True:
        _board.idle(-1, _board._ctl_poll)


def _before_repl(device, scope):
    """The REPL follows when this returns. From a raw one, a soft reset leads to boot.py only, and back to it."""
    import _board

    try:
        _mount_or_set_up(device)
        _run("boot.py", scope)
        if _board.repl["mode"] != "raw":
            _run("main.py", scope)
        _board.flush_counts()
    except KeyboardInterrupt:  # between the files
        pass
