"""Scripts that run on the board, in its raw REPL: small, of what every stock ESP32 image of MicroPython has, and with
no secret in what they print.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from bongsu.errors import BongsuError
from bongsu.install import identity_blobs

_NONCE_LEN = 16
_MAC = re.compile("[0-9a-f]{12}")

FileSystem = Literal["ok", "corrupt", "none"]

_MORE_S = 60.0  # what erases flash is slow, and prints nothing


class AnswerError(BongsuError):
    """A board's answer is none to what it was asked."""


class Runs(Protocol):
    """What scripts need of a link (link.BoardLink)."""

    def run(self, code: str, *, secret: bool = False, timeout_s: float = ...) -> str:
        """Run code; what it prints."""

    def value(self, code: str, *, secret: bool = False, timeout_s: float = ...) -> Any:
        """Run code; the JSON of its last line."""

    def tools(self, code: str) -> None:
        """Run definitions once."""


@dataclass(frozen=True, slots=True)
class BoardFacts:
    """What a board says of itself. mac: 12 hex digits; platform: "esp32"; machine: "Generic ESP32 module with ESP32";
    version: "1.25.0"; mpy: sys.implementation._mpy, 0: it runs no bytecode; fs: its file system; free_bytes of it;
    key_epoch: of a usable identity in NVS, None: none; unpacks: it has binascii and deflate.
    """

    mac: str
    platform: str
    machine: str
    version: str
    mpy: int
    fs: FileSystem
    free_bytes: int
    key_epoch: int | None
    unpacks: bool

    @property
    def chip(self) -> str:
        """As esptool calls it ("esp32s3"); "" if the board does not say."""
        return self.machine.rpartition(" with ")[2].strip().lower().replace("-", "") if " with " in self.machine else ""


@dataclass(frozen=True, slots=True)
class Identity:
    """The key on a board: its epoch; the uplink counter that the board begins with when it starts next; and a proof of
    which key it is that does not tell it: SHA-256 over `nonce` and the key. proof: b"" if the board cannot compute it.
    """

    epoch: int
    counter: int
    nonce: bytes
    proof: bytes

    def is_of(self, key: bytes) -> bool:
        """Whether the board has this very key."""
        return hmac.compare_digest(self.proof, hashlib.sha256(self.nonce + key).digest())


# `F()`: state of the file system; one that the start could not mount may only have been interrupted, so it is tried
# again (statvfs shows no block size where nothing is mounted). `D()`: the block device. `I()`: the identity, if it is
# usable; one that a rotation is about to replace is none.
_TOOLS = """
import gc,json,os,sys
try:
 import vfs
except ImportError:
 vfs=os
def X(b):
 return ''.join('%02x'%c for c in b)
def D():
 try:
  from flashbdev import bdev
  if bdev:
   return bdev
 except ImportError:
  pass
 try:
  from esp32 import Partition
  f=Partition.find(Partition.TYPE_DATA,label='vfs')
  return f[0] if f else None
 except (ImportError,AttributeError,OSError):
  return None
def F():
 try:
  if os.statvfs('/')[0]:
   os.listdir('/')
   return 'ok'
 except OSError:
  return 'corrupt'
 d=D()
 if d is None:
  return 'none'
 try:
  vfs.mount(d,'/')
  os.listdir('/')
  return 'ok'
 except OSError:
  return 'corrupt'
def N():
 import esp32
 return esp32.NVS('bongsu')
def B(n,k,s):
 b=bytearray(s)
 try:
  return b if n.get_blob(k,b)==s else None
 except Exception:
  return None
def I():
 n=N()
 try:
  n.get_blob('next',bytearray(64))
  return None
 except Exception:
  pass
 a=B(n,'ident',18)
 b=B(n,'ctr',10)
 return a if a and b and a[0]==b[0]==1 and a[1] and a[1]==b[1] else None
"""

_FACTS = """
import machine
f=F()
s=os.statvfs('/') if f=='ok' else (0,0,0,0)
try:
 e=I()
 e=e and e[1]
except Exception:
 e=None
try:
 import binascii,deflate
 u=True
except ImportError:
 u=False
i=sys.implementation
print(json.dumps({'mac':X(machine.unique_id()),'platform':sys.platform,'machine':getattr(i,'_machine',''),
'version':'.'.join([str(v) for v in i.version[:3]]),'mpy':getattr(i,'_mpy',0),'fs':f,'free_bytes':s[0]*s[3],
'key_epoch':e,'unpacks':u}))
"""

_IDENTITY = """
import hashlib,struct
e=I()
print(json.dumps([e[1],struct.unpack('<BBII',B(N(),'ctr',10))[2],
X(hashlib.sha256(%r+e[2:]).digest()) if hasattr(hashlib,'sha256') else ''] if e else None))
"""

_FORMAT = """
d=D()
try:
 vfs.umount('/')
except OSError:
 pass
vfs.VfsLfs2.mkfs(d)
vfs.mount(vfs.VfsLfs2(d),'/')
print(json.dumps(F()))
"""

# An identity without its counters must never be usable, nor new counters under the old key: so the old one goes first,
# and the new one comes last. Senders are learned anew from authentic frames.
_WRITE_KEY = """
n=N()
for k in ('next','ident','down'):
 try:
  n.erase_key(k)
 except OSError:
  pass
n.commit()
n.set_blob('ctr',%r)
n.commit()
n.set_blob('ident',%r)
n.commit()
del n
gc.collect()
"""


@contextmanager
def understood() -> Iterator[None]:
    """Around what takes an answer apart: one that is something else than was asked for is an AnswerError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError):
        raise AnswerError(
            "the board answers what makes no sense",
            "Run this again; if it stays so, flash the board anew: bongsu device flash",
        ) from None


def plain(text: str) -> str:
    """What a board said, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


def read_facts(link: Runs) -> BoardFacts:
    """What the board says of itself. Raises AnswerError."""
    link.tools(_TOOLS)
    said = link.value(_FACTS)
    with understood():
        epoch = said["key_epoch"]
        facts = BoardFacts(
            mac=str(said["mac"]),
            platform=plain(str(said["platform"])),
            machine=plain(str(said["machine"])),
            version=plain(str(said["version"])),
            mpy=int(said["mpy"]),
            fs=said["fs"],
            free_bytes=int(said["free_bytes"]),
            key_epoch=None if epoch is None else int(epoch),
            unpacks=bool(said["unpacks"]),
        )
        if not _MAC.fullmatch(facts.mac) or facts.fs not in ("ok", "corrupt", "none"):
            raise ValueError
        return facts


def make_file_system(link: Runs) -> bool:
    """Put an empty file system onto the board; True if it stands."""
    link.tools(_TOOLS)
    return bool(link.value(_FORMAT, timeout_s=_MORE_S) == "ok")


def identity(link: Runs) -> Identity | None:
    """The identity on the board; None: it has no usable one."""
    link.tools(_TOOLS)
    nonce = os.urandom(_NONCE_LEN)
    found = link.value(_IDENTITY % nonce)
    with understood():
        return Identity(int(found[0]), int(found[1]), nonce, bytes.fromhex(found[2])) if found else None


def write_key(link: Runs, epoch: int, key: bytes) -> None:
    """A new identity into NVS; its counters begin anew. Cut anywhere, the board has the old one, none, or the new."""
    link.tools(_TOOLS)
    link.run(_WRITE_KEY % (identity_blobs.ctr(epoch), identity_blobs.ident(epoch, key)), secret=True)
