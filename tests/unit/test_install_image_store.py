"""Images at hand: named, kept, downloaded, pinned; and never a byte of another one."""

import datetime as dt
import errno
import hashlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bongsu.install import download
from bongsu.install.boards import Board, Image, load_board
from bongsu.install.image import ImageError
from bongsu.install.image_store import ImageStore, cache_folder, pins_file
from bongsu.receiver import certificates
from tests.image_parts import real_image, whole

GOOD = whole()
OTHER = whole(body=b"another MicroPython " * 800)
SHA256 = hashlib.sha256(GOOD).hexdigest()
NAME = "ESP32_GENERIC-20250415-v1.25.0.bin"


class Site:
    """A web server on loopback. `body`: what it has; `cut`: it ends after so many bytes; `status`, `location`: of its
    answer; `asked`: the paths; `tls`, `host`: with what it listens, and where.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.body = GOOD
        self.cut: int | None = None
        self.status = 200
        self.location = ""
        self.tells_length = True
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                self.send_response(site.status)
                if site.location:
                    self.send_header("Location", site.location)
                if site.tells_length:
                    self.send_header("Content-Length", str(len(site.body)))
                self.end_headers()
                self.wfile.write(site.body[: site.cut])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://{host}:{self._server.server_address[1]}/firmware/{NAME}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    yield server
    server.close()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "cache", tmp_path / "state" / "images.json")


def board(site: Site, sha256: str | None = None) -> Board:
    return replace(load_board("esp32-devkitc"), image=Image(url=site.url, sha256=sha256))


def quiet(step: str, done: int, total: int) -> None:
    pass


def leftovers(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "cache").glob("*")]


# -- download and cache


def test_an_image_is_downloaded_once(site: Site, store: ImageStore, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    file = store.choose(board(site, SHA256), None, lambda *step: steps.append(step))
    assert (file.path, file.sha256, file.pin) == (tmp_path / "cache" / NAME, SHA256, "board")
    assert file.path.read_bytes() == GOOD
    assert file.image.size == len(GOOD)
    assert steps[0] == ("download", 0, len(GOOD)) and steps[-1] == ("download", len(GOOD), len(GOOD))
    assert store.choose(board(site, SHA256), None, quiet) == file
    assert site.asked == [f"/firmware/{NAME}"]
    assert leftovers(tmp_path) == [NAME]


def test_a_damaged_one_in_the_cache_is_fetched_anew(site: Site, store: ImageStore) -> None:
    for sha256 in (SHA256, None):
        path = store.choose(board(site, sha256), None, quiet).path
        path.write_bytes(GOOD[:-5])
        assert store.choose(board(site, sha256), None, quiet).path.read_bytes() == GOOD
    assert len(site.asked) == 3


def test_another_image_than_the_boards_is_refused(site: Site, store: ImageStore, tmp_path: Path) -> None:
    site.body = OTHER
    with pytest.raises(ImageError, match="is not the image of esp32-devkitc: its SHA-256 is ") as e:
        store.choose(board(site, SHA256), None, quiet)
    assert site.url in e.value.message
    assert leftovers(tmp_path) == []


def test_a_download_is_looked_into(site: Site, store: ImageStore, tmp_path: Path) -> None:
    site.body = b"<html>Not what you think</html>"
    with pytest.raises(ImageError, match="no image for an ESP32"):
        store.choose(board(site), None, quiet)
    assert leftovers(tmp_path) == []
    site.body = GOOD  # and nothing was pinned
    assert store.choose(board(site), None, quiet).pin == "first"


def test_a_download_that_is_cut_short(site: Site, store: ImageStore, tmp_path: Path) -> None:
    site.cut = 1000
    with pytest.raises(ImageError, match=f"it ended after 1,000 of {len(GOOD):,} bytes") as e:
        store.choose(board(site), None, quiet)
    assert "--image" in e.value.next_step
    assert leftovers(tmp_path) == []


def test_a_server_that_does_not_tell_the_length(site: Site, store: ImageStore) -> None:
    site.tells_length = False
    assert store.choose(board(site, SHA256), None, quiet).sha256 == SHA256
    site.cut = len(GOOD) - 1
    (store.choose(board(site, SHA256), None, quiet)).path.unlink()
    with pytest.raises(ImageError, match="is not the image"):
        store.choose(board(site, SHA256), None, quiet)


def test_what_is_too_large_is_not_taken(
    site: Site, store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bongsu.install.image_store.BIGGEST", 10_000)
    with pytest.raises(ImageError, match="larger than 10,000 bytes"):
        store.choose(board(site), None, quiet)
    (tmp_path / "big.bin").write_bytes(bytes(10_001))
    with pytest.raises(ImageError, match="too large for an image"):
        store.choose(board(site), tmp_path / "big.bin", quiet)


def test_the_server_says_no(site: Site, store: ImageStore) -> None:
    site.status = 404
    with pytest.raises(ImageError, match="the server says 404 Not Found"):
        store.choose(board(site), None, quiet)


def test_nobody_is_there(site: Site, store: ImageStore) -> None:
    site.close()
    with pytest.raises(ImageError, match="Connection refused") as e:
        store.choose(board(site), None, quiet)
    assert "by a browser" in e.value.next_step
    site.close = lambda: None  # type: ignore[method-assign]


@pytest.mark.parametrize("location", ["http://192.0.2.1/evil.bin", "file:///etc/passwd", "ftp://192.0.2.1/x"])
def test_redirects_never_leave_tls(site: Site, store: ImageStore, location: str) -> None:
    site.status, site.location, site.body = 302, location, b""
    with pytest.raises(ImageError, match="it points to|not allowed"):
        store.choose(board(site), None, quiet)


@pytest.mark.parametrize("url", ["http://192.0.2.1/a.bin", "file:///etc/passwd", "not a url"])
def test_only_tls_leaves_this_machine(url: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot download"):
        download.fetch(url, tmp_path / "a", limit=10, progress=quiet)


@pytest.fixture
def ca() -> certificates.Pair:
    return certificates.make_ca(dt.datetime.now(dt.UTC))


@pytest.fixture
def tls(ca: certificates.Pair, tmp_path: Path) -> ssl.SSLContext:
    """Of a server whose certificate is for 127.0.0.1."""
    made = certificates.make_server(ca, ())
    (tmp_path / "server.pem").write_bytes(made.key_pem() + made.cert_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return context


@pytest.mark.parametrize(
    ("host", "is_known"), [("127.0.0.1", True), ("127.0.0.1", False), ("127.0.0.2", True)], ids=str
)
def test_a_server_is_asked_for_an_image_only_if_this_machine_trusts_it(
    ca: certificates.Pair,
    tls: ssl.SSLContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    is_known: bool,
) -> None:
    """Neither if its CA is unknown, nor if its certificate is for another name."""
    trusted = ca if is_known else certificates.make_ca(dt.datetime.now(dt.UTC))
    (tmp_path / "ca.pem").write_bytes(trusted.cert_pem())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with closing(Site(tls, host)) as site:
        if (host, is_known) == ("127.0.0.1", True):
            assert download.fetch(site.url, tmp_path / "a", limit=len(GOOD), progress=quiet) == SHA256
            assert (tmp_path / "a").read_bytes() == GOOD
            return
        with pytest.raises(ImageError, match="certificate verify failed") as e:
            download.fetch(site.url, tmp_path / "a", limit=len(GOOD), progress=quiet)
    assert "by a browser" in e.value.next_step
    assert site.asked == [] and not (tmp_path / "a").exists()


def test_a_full_disk_leaves_nothing_half_written(
    site: Site, store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_copy", full)
    with pytest.raises(OSError, match="No space left"):  # the command line has the next step
        store.choose(board(site), None, quiet)
    assert leftovers(tmp_path) == []


# -- pins


def test_an_unpinned_image_is_pinned_at_its_first_use(site: Site, store: ImageStore, tmp_path: Path) -> None:
    assert store.choose(board(site), None, quiet).pin == "first"
    assert store.choose(board(site), None, quiet).pin == "remembered"
    (tmp_path / "cache" / NAME).unlink()
    site.body = OTHER
    with pytest.raises(ImageError, match="not the file that was used first under this name") as e:
        store.choose(board(site), None, quiet)
    assert str(tmp_path / "state" / "images.json") in e.value.next_step
    assert leftovers(tmp_path) == []
    (tmp_path / "state" / "images.json").unlink()  # as it says
    assert store.choose(board(site), None, quiet).pin == "first"


def test_a_file_by_that_name_pins_too_and_is_held_to_it(site: Site, store: ImageStore, tmp_path: Path) -> None:
    named = tmp_path / NAME
    named.write_bytes(GOOD)
    assert store.choose(board(site), named, quiet).pin == "first"
    named.write_bytes(OTHER)
    with pytest.raises(ImageError, match="not the file that was used first"):
        store.choose(board(site), named, quiet)
    with pytest.raises(ImageError, match="is not the image of esp32-devkitc") as e:
        store.choose(board(site, SHA256), named, quiet)
    assert "a name of its own" in e.value.next_step
    assert site.asked == []


def test_a_file_that_is_the_boards_image_need_be_named_once_only(site: Site, store: ImageStore, tmp_path: Path) -> None:
    """A board that was begun with --image is gone on with without it, also where nothing can be downloaded."""
    file = tmp_path / "elsewhere" / NAME
    file.parent.mkdir()
    file.write_bytes(GOOD)
    store.choose(board(site, SHA256), file, quiet)
    file.unlink()
    assert store.choose(board(site, SHA256), None, quiet).sha256 == SHA256
    assert site.asked == []


def test_a_file_of_ones_own_is_not_kept(site: Site, store: ImageStore, tmp_path: Path) -> None:
    own = tmp_path / "own.bin"
    own.write_bytes(OTHER)
    store.choose(board(site, SHA256), own, quiet)
    assert store.choose(board(site, SHA256), None, quiet).sha256 == SHA256


def test_a_damaged_record_is_said_so(site: Site, store: ImageStore, tmp_path: Path) -> None:
    store.choose(board(site), None, quiet)
    (tmp_path / "state" / "images.json").write_text('{"a": 1}')
    with pytest.raises(ImageError, match=r"images\.json is damaged"):
        store.choose(board(site), None, quiet)


# -- a file of one's own


def test_a_file_of_ones_own(site: Site, store: ImageStore, tmp_path: Path) -> None:
    own = tmp_path / "mine.bin"
    for data in (GOOD, OTHER):  # one that was built anew
        own.write_bytes(data)
        file = store.choose(board(site, SHA256), own, quiet)
        assert (file.path, file.pin, file.sha256) == (own, "own", hashlib.sha256(data).hexdigest())
    own.write_bytes(whole("esp32s3"))
    with pytest.raises(ImageError, match="the image is for ESP32-S3"):
        store.choose(board(site), own, quiet)
    with pytest.raises(ImageError, match="cannot read the image"):
        store.choose(board(site), tmp_path / "none.bin", quiet)
    assert site.asked == []


def test_a_real_image_is_the_boards_own(store: ImageStore) -> None:
    file = store.choose(load_board("esp32-devkitc"), real_image(), quiet)
    assert (file.pin, file.name) == ("board", NAME)


# -- pieces


def test_the_whole_image_is_one_piece(site: Site, store: ImageStore) -> None:
    file = store.choose(board(site), None, quiet)
    (piece,) = store.pieces(file, keep=False)
    assert (piece.offset, piece.path, piece.size) == (0x1000, file.path, len(GOOD))


def test_keys_and_files_are_left_out(site: Site, store: ImageStore) -> None:
    file = store.choose(board(site), None, quiet)
    before, after = store.pieces(file, keep=True)
    assert (before.offset, before.offset + before.size) == (0x1000, 0x9000)  # up to the keys
    assert (after.offset, after.offset + after.size) == (0xF000, 0x1000 + len(GOOD))
    assert before.path.read_bytes() == GOOD[:0x8000]
    assert after.path.read_bytes() == GOOD[0xE000:]
    assert store.pieces(file, keep=True) == (before, after)


def test_files_within_the_image_are_left_out_too(site: Site, store: ImageStore) -> None:
    site.body = GOOD.ljust(0x1FF000, b"\xff") + b"littlefs" * 1000
    pieces = store.pieces(store.choose(board(site), None, quiet), keep=True)
    assert [(p.offset, p.offset + p.size) for p in pieces] == [(0x1000, 0x9000), (0xF000, 0x200000)]


def test_where_things_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    assert (cache_folder(), pins_file()) == (Path("/c/bongsu/images"), Path("/s/bongsu/images.json"))
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/home/ann")
    assert cache_folder() == Path("/home/ann/.cache/bongsu/images")
    assert pins_file() == Path("/home/ann/.local/state/bongsu/images.json")
