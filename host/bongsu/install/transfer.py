"""Files onto a board over its REPL: several at once, packed by deflate where the board can unpack, each whole or not at
all.

Single files are written under another name, looked at, and renamed. /lib is made beside the old one, looked at, and
takes its place by two renames of a folder, each of which littlefs does at once; a board on which the first of them was
the last thing that happened is mended by `tidy`.
"""

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from bongsu.errors import BongsuError
from bongsu.install.application import LIB, File, Plan
from bongsu.install.link import OnBoardError
from bongsu.install.on_board import Runs, understood

NEW, OLD = "/lib.new", "/lib.old"
_TEMPORARY = ".new"
_LEFT = ("new", "old", "part")  # what nothing but an interrupted run leaves in the root folder
# Bytes of a batch before packing. On the board it is there three times (text, packed, unpacked) for a moment.
_BATCH = 6 * 1024
_WINDOW_BITS = 12  # of deflate: what the board needs to unpack, 4 KB
_ENOSPC = 28
_SLOW_S = 120.0  # what erases flash is slow, and prints nothing
# littlefs takes whole blocks: of a file at least one, of a folder two.
_FOLDER_BLOCKS = 2
_SPARE_BLOCKS = 8


class FlashFull(BongsuError):
    """The board's file system has no room; what was on it is whole."""


# H: hash of a file, or "=" and its content where the board has no SHA-256. W: hashes of a folder. R: remove a folder.
# C: copy. U: bytes from text (V: deflate's window). P: write (path, mode, size) from one block of bytes. M: folders.
_TOOLS = (
    f"V={_WINDOW_BITS}"
    + """
import gc,os
try:
 import hashlib
 S=getattr(hashlib,'sha256',None)
except ImportError:
 S=None
def K(p):
 try:
  return os.stat(p)[0]
 except OSError:
  return 0
def H(p):
 h=S and S()
 b=bytearray(1024)
 m=memoryview(b)
 r='='
 with open(p,'rb') as f:
  while True:
   n=f.readinto(b)
   if not n:
    break
   if h:
    h.update(m[:n])
   else:
    r+=''.join(['%02x'%c for c in m[:n]])
 return ''.join(['%02x'%c for c in h.digest()]) if h else r
def Q(p):
 try:
  print(p,H(p))
 except OSError:
  print(p,'?')
def W(d):
 if not K(d)&0x4000:
  return
 for e in list(os.ilistdir(d)):
  p=d+'/'+e[0]
  if e[1]&0x4000:
   W(p)
  else:
   Q(p)
def R(d):
 m=K(d)
 if m&0x4000:
  for e in list(os.ilistdir(d)):
   R(d+'/'+e[0])
  os.rmdir(d)
 elif m:
  os.remove(d)
def C(a,b):
 s=bytearray(1024)
 m=memoryview(s)
 with open(a,'rb') as f:
  with open(b,'wb') as g:
   while True:
    n=f.readinto(s)
    if not n:
     break
    g.write(m[:n])
def M(l):
 for d in l:
  if not K(d):
   os.mkdir(d)
def U(t):
 import binascii,deflate,io
 return deflate.DeflateIO(io.BytesIO(binascii.a2b_base64(t)),deflate.RAW,V).read()
def P(l,d):
 i=0
 for p,o,n in l:
  with open(p,o) as f:
   f.write(d[i:i+n])
  i+=n
 gc.collect()
"""
)


class Files:
    """The files of one board. `unpacks`: it has binascii and deflate."""

    def __init__(self, link: Runs, *, unpacks: bool) -> None:
        self._link = link
        self._unpacks = unpacks

    def tidy(self) -> None:
        """Finish, or undo, what an earlier run was interrupted in."""
        self._do(
            f"if not K({LIB!r}) and K({NEW!r}):\n os.rename({NEW!r},{LIB!r})\n"
            f"for e in os.listdir('/'):\n if e.split('.')[-1] in {_LEFT!r}:\n  R('/'+e)",
            timeout_s=_SLOW_S,
        )

    def hashes(self, folder: str = "", files: Sequence[str] = ()) -> dict[str, str]:
        """SHA-256 by path, of all files in a folder, and of those of `files` that are there; "?": cannot be read."""
        code = f"W({folder!r})\n" if folder else ""
        text = self._do(f"{code}for p in {list(files)!r}:\n if K(p):\n  Q(p)")
        with understood():
            return dict(_hash_line(line) for line in text.splitlines() if line)

    def need_room(self, plan: Plan) -> None:
        """Raise FlashFull if there is no room for a second /lib beside the old one."""
        room = self._link.value("s=os.statvfs('/')\nprint([s[0],s[0]*s[3]])")
        files = (*plan.copy, *plan.keep)
        with understood():
            block_bytes, free_bytes = map(int, room)
            blocks = sum(-(-len(file.content) // block_bytes) for file in files) + _SPARE_BLOCKS
        blocks += _FOLDER_BLOCKS * len(_folders(_staged(file.path) for file in files))
        if blocks * block_bytes > free_bytes:
            raise _full(free_bytes, blocks * block_bytes)

    def replace_lib(self, plan: Plan, progress: Callable[[int], None]) -> None:
        """Make /lib what `plan` says, or leave it as it is. progress: bytes so far. Raises FlashFull, LinkError."""
        try:
            self._stage(plan, progress)
        except OnBoardError as err:
            raise self._given_up(err) from None
        self._do(
            f"if K({LIB!r}):\n os.rename({LIB!r},{OLD!r})\nos.rename({NEW!r},{LIB!r})\nR({OLD!r})", timeout_s=_SLOW_S
        )

    def put(self, file: File, *, secret: bool = False) -> None:
        """Write one file, whole or not at all. Raises FlashFull, LinkError."""
        new = file.path + _TEMPORARY
        try:
            for code, _ in self._writing([(new, file.content)]):
                self._do(code, secret=secret)
            self._require([new], {new: file.sha256}, self.hashes(files=[new]))
            self._do(f"os.rename({new!r},{file.path!r})")
        except OnBoardError as err:
            raise self._given_up(err, new) from None

    def _stage(self, plan: Plan, progress: Callable[[int], None]) -> None:
        files = {_staged(file.path): file for file in (*plan.copy, *plan.keep)}
        self._do(f"R({NEW!r})\nM({_folders(files)!r})", timeout_s=_SLOW_S)
        done = 0
        for code, size in self._writing((_staged(file.path), file.content) for file in plan.copy):
            self._do(code)
            done += size
            progress(done)
        for kept in _batches((file.path, b"") for file in plan.keep):
            self._do("".join(f"C({path!r},{_staged(path)!r})\n" for path, _, _ in kept), timeout_s=_SLOW_S)
        self._require(files, {path: file.sha256 for path, file in files.items()}, self.hashes(NEW))

    def _require(self, paths: Iterable[str], wanted: Mapping[str, str], arrived: Mapping[str, str]) -> None:
        wrong = [path for path in paths if arrived.get(path) != wanted[path]]
        if wrong:
            raise OnBoardError(f"{wrong[0]} did not arrive whole on the board", "Run this again.")

    def _given_up(self, err: OnBoardError, path: str = NEW) -> BongsuError:
        """What an error in writing means; what was written is taken away."""
        try:
            self._do(f"R({path!r})", timeout_s=_SLOW_S)
        except BongsuError:
            pass  # the first error says more
        return _full() if err.number == _ENOSPC else err

    def _writing(self, files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, int]]:
        """Scripts that write files, each with the bytes that it writes."""
        for batch in _batches(files):
            where = [(path, mode, len(part)) for path, mode, part in batch]
            data = b"".join(part for _, _, part in batch)
            yield f"P({where!r},{self._packed(data)})", len(data)

    def _packed(self, data: bytes) -> str:
        """An expression for these bytes."""
        if not self._unpacks:
            return repr(data)
        packer = zlib.compressobj(9, zlib.DEFLATED, -_WINDOW_BITS)
        return f"U({base64.b64encode(packer.compress(data) + packer.flush())!r})"

    def _do(self, code: str, *, secret: bool = False, timeout_s: float = 30.0) -> str:
        self._link.tools(_TOOLS)
        return self._link.run(code, secret=secret, timeout_s=timeout_s)


def _staged(path: str) -> str:
    return NEW + path.removeprefix(LIB)


def _folders(paths: Iterable[str]) -> list[str]:
    """The folders in which these files are, each after the one that it is in."""
    found = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    return sorted(found - {"/"})


def _batches(files: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, str, bytes]]]:
    """(path, mode, part) of files, so many at once as the board takes; a large file in several parts."""
    batch: list[tuple[str, str, bytes]] = []
    room = _BATCH
    for path, content in files:
        mode = "wb"
        while True:
            part, content = content[:room], content[room:]
            batch.append((path, mode, part))
            room, mode = room - len(part) - len(path), "ab"
            if room <= 0:
                yield batch
                batch, room = [], _BATCH
            if not content:
                break
    if batch:
        yield batch


def _hash_line(line: str) -> tuple[str, str]:
    path, _, found = line.partition(" ")
    if found.startswith("="):
        found = hashlib.sha256(bytes.fromhex(found[1:])).hexdigest()
    return path, found


def _full(free_bytes: int | None = None, need_bytes: int = 0) -> FlashFull:
    known = "" if free_bytes is None else f": {free_bytes // 1024} KB are free, and {need_bytes // 1024} KB are needed"
    return FlashFull(
        f"the board's file system is full{known}; what was on it is as before",
        "Remove what does not belong to the application, or begin anew: bongsu device flash",
    )
