"""os as on an ESP32: the file functions, no system(), no environment."""

from collections import namedtuple as _namedtuple

import _board
import uos
import vfs as _vfs

chdir = uos.chdir
getcwd = uos.getcwd
ilistdir = uos.ilistdir
listdir = uos.listdir
mkdir = uos.mkdir
remove = uos.remove
unlink = uos.unlink
rename = uos.rename
rmdir = uos.rmdir
stat = uos.stat
statvfs = uos.statvfs
urandom = uos.urandom
VfsFat = _vfs.VfsFat
VfsLfs2 = _vfs.VfsLfs2
mount = _vfs.mount
umount = _vfs.umount


def sync():
    pass


_Uname = _namedtuple("uname", ("sysname", "nodename", "release", "version", "machine"))


def uname():
    machine = "Generic ESP32 module with ESP32" if _board.repl is None else _board.repl["machine"]
    return _Uname("esp32", "esp32", "1.29.0", "v1.29.0 on 2026-07-05", machine)
