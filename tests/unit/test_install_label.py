"""Labels: what stands on them can be read again, by a person and by a scanner; what a printer gets is the picture."""

import datetime as dt
import io
import socket
import threading
from pathlib import Path

import pytest
from PIL import Image

from bongsu.errors import BongsuError, UsageFault
from bongsu.install import label, label_file, label_font, label_ql, label_sheet
from bongsu.receiver import label_words, registry
from tests.label_parts import QlPrinter, codes, pages, rows_of
from tests.registry_parts import NODE, NOW_MS, fill, new_store

DAY = dt.date(2026, 3, 1)
LATIN = label.LabelText(NODE, "hannae/a-08", "Fish", "Hannae A 8", "over the door", DAY)
KOREAN = label.LabelText(NODE, "hannae/a-07", "봉수 떡집", "한내시장 A동 2층 7호", "천장", DAY)
LONGEST = label.LabelText(
    "24dcc3a8f01e",
    f"{'m' * 32}/{'w' * 32}",
    "가나다라마바사아 " * 11,
    "한내시장 엘리베이터 앞 " * 20,
    "주방 " * 30,
    DAY,
)


def _has_korean() -> bool:
    try:
        label_font.find("한글")
    except label_font.FontError:
        return False
    return True


needs_korean = pytest.mark.skipif(not _has_korean(), reason="no Korean font on this machine: apt install fonts-nanum")


@pytest.fixture(params=list(label.SIZES))
def size(request: pytest.FixtureRequest) -> label.Size:
    return label.SIZES[request.param]


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(label_font, "folders", lambda: [tmp_path])
    monkeypatch.setattr(label_font, "_by_fontconfig", lambda: None)


# ---- the code


def test_another_reader_reads_the_code(size: label.Size) -> None:
    assert codes(label.draw(LATIN, size)) == [f"bongsu:1:{NODE}:hannae/a-08"]


@needs_korean
def test_the_longest_address_fits_and_is_read(size: label.Size) -> None:
    (text,) = codes(label.draw(LONGEST, size))
    assert label.parse_qr(text) == label.Scanned("24dcc3a8f01e", ("m" * 32, "w" * 32))


def test_the_code_has_its_quiet_zone(size: label.Size) -> None:
    picture = label.draw(LATIN, size)
    box = size.qr
    dark = [
        (x, y)
        for x in range(box.x, box.x + box.width)
        for y in range(box.y, box.y + box.height)
        if not picture.getpixel((x, y))
    ]
    left, top = min(x for x, _ in dark), min(y for _, y in dark)
    right, bottom = max(x for x, _ in dark) + 1, max(y for _, y in dark) + 1
    edge = [picture.getpixel((x, top)) for x in range(left, right)]
    dot = edge.index(255) // 7  # a corner's square is seven modules wide
    assert right - left == bottom - top and (right - left) % dot == 0
    whole = picture.crop((left - 4 * dot, top - 4 * dot, right + 4 * dot, bottom + 4 * dot))
    assert left >= 4 * dot and top >= 4 * dot
    assert whole.histogram()[0] == len(dark)
    assert dot / label.DPI * 25.4 >= 0.4  # mm: what a telephone's camera needs at arm's length


@pytest.mark.parametrize(
    ("node", "unit"), [(NODE, "hannae/a-07"), (NODE, None), (None, "hannae/a-07"), (NODE, f"{'a' * 32}/{'b' * 32}")]
)
def test_a_code_is_read_as_it_was_written(node: str | None, unit: str | None) -> None:
    scanned = label.parse_qr(label.qr_text(node, unit))
    assert scanned == label.Scanned(node, tuple(unit.split("/")) if unit else None)  # type: ignore[arg-type]


def test_a_scanner_that_types_capitals_does_no_harm() -> None:
    assert label.parse_qr(f"  BONGSU:1:{NODE.upper()}:HANNAE/A-07\r\n").unit == ("hannae", "a-07")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://example.org/",
        "bongsu:1::",
        "bongsu:1:",
        "bongsu:2:a0b1c2d3e4f5:hannae/a-07",
        "bongsu:1:xyz:hannae/a",
    ],
)
def test_another_code_is_refused_as_wrong_usage(text: str) -> None:
    with pytest.raises(UsageFault) as caught:
        label.parse_qr(text)
    assert caught.value.next_step


# ---- the words


@needs_korean
@pytest.mark.parametrize("text", [KOREAN, LATIN, LONGEST])
def test_nothing_leaves_its_box(size: label.Size, text: label.LabelText) -> None:
    bare = label.draw(text, size)
    for box in (size.qr, size.node, size.words):
        bare.paste(255, (box.x, box.y, box.x + box.width, box.y + box.height))
    assert bare.getextrema() == (255, 255)


@needs_korean
def test_the_node_id_is_the_biggest(size: label.Size) -> None:
    picture = label.draw(KOREAN, size)
    box = size.node
    dark = picture.crop((box.x, box.y, box.x + box.width, box.y + box.height)).point(lambda v: 255 - v, "L").getbbox()
    assert dark is not None
    assert dark[2] - dark[0] > 0.9 * box.width
    assert (dark[3] - dark[1]) / label.DPI * 25.4 > 4.5  # mm


def test_latin_words_need_no_font_of_the_machine(size: label.Size, no_fonts: None) -> None:
    assert codes(label.draw(LATIN, size))


def test_korean_words_without_a_font_say_what_to_install(size: label.Size, no_fonts: None) -> None:
    with pytest.raises(BongsuError, match="봉") as caught:
        label.draw(KOREAN, size)
    assert "install" in caught.value.next_step and "--font" in caught.value.next_step
    assert not isinstance(caught.value, UsageFault)


def test_a_font_that_is_named_is_looked_at(tmp_path: Path) -> None:
    broken = tmp_path / "f.ttf"
    broken.write_bytes(b"no font")
    for path in (broken, tmp_path / "missing.ttf"):
        with pytest.raises(BongsuError, match="cannot be used"):
            label.draw(LATIN, label.SIZES["62"], path)


@needs_korean
def test_a_damaged_font_of_the_machine_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / label_font.KNOWN[0]).write_bytes(b"no font")
    usual = label_font.folders()
    monkeypatch.setattr(label_font, "folders", lambda: [tmp_path, *usual])
    assert codes(label.draw(KOREAN, label.SIZES["62"]))


@needs_korean
def test_a_named_font_without_korean_letters_is_refused(tmp_path: Path) -> None:
    own = label_font.Typeface(None).at(20)
    path = tmp_path / "latin.ttf"
    path.write_bytes(own.font_bytes)
    with pytest.raises(BongsuError, match="no letter"):
        label.draw(KOREAN, label.SIZES["62"], path)
    assert codes(label.draw(LATIN, label.SIZES["62"], path))


def test_what_stands_on_it_comes_from_the_registry(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        fill(store)
        with store.write() as conn:
            registry.edit_units(conn, "hannae", ["a-07", "a-08"], {"floor": "2"}, actor="t", now_ms=NOW_MS)
            registry.add_unit(conn, site_id="hannae", unit_id="b-1", name="B", place="", now_ms=NOW_MS, floor="B1")
            registry.edit_node(conn, NODE, label="천장", actor="t", now_ms=NOW_MS)
            text = label_words.of_node(conn, NODE, DAY)
            registry.assign_node(conn, node_id=NODE, unit=None)
            alone = label_words.of_node(conn, NODE, DAY)
    assert text == label.LabelText(NODE, "hannae/a-07", "봉수 떡집", "한내시장 A동 7호 2층", "천장", DAY)
    assert (alone.unit, alone.name, alone.spot) == (None, "", "천장")


# ---- files and printers


def test_a_png_has_its_resolution(size: label.Size) -> None:
    picture = label.draw(LATIN, size)
    again = Image.open(io.BytesIO(label.png(picture)))
    assert again.size == (size.width, size.height)
    assert [round(dpi) for dpi in again.info["dpi"]] == [300, 300]
    assert rows_of(again.convert("1")) == rows_of(picture)


def test_a_sheet_holds_every_label_at_its_true_size(size: label.Size) -> None:
    many = [label.draw(label.LabelText(f"a0b1c2d3{n:04x}", None, "", "", "", DAY), size) for n in range(23)]
    made = pages(label_sheet.pdf(many, size, first=4))
    assert len(made) == 2 and all(abs(page.width - 2480) <= 1 and abs(page.height - 3508) <= 1 for page in made)
    found = sorted(text for page in made for text in codes(page))
    assert found == [f"bongsu:1:a0b1c2d3{n:04x}:" for n in range(23)]
    sheet = label_sheet.SHEETS[size.name]
    x = round((sheet.left + sheet.width / 2 + sheet.step_x * (3 % sheet.columns)) * 300 / 25.4)
    y = round((sheet.top + sheet.height / 2 + sheet.step_y * (3 // sheet.columns)) * 300 / 25.4)
    place = made[0].crop((x - size.width // 2 - 2, y - size.height // 2 - 2, x + size.width // 2, y + size.height // 2))
    assert codes(place) == ["bongsu:1:a0b1c2d30000:"]


def test_a_sheet_has_no_such_place(size: label.Size) -> None:
    with pytest.raises(UsageFault, match="places 1 to"):
        label_sheet.pdf([label.draw(LATIN, size)], size, first=label_sheet.SHEETS[size.name].places + 1)


def test_the_printer_prints_the_picture_dot_by_dot(size: label.Size) -> None:
    pictures = [label.draw(text, size) for text in (LATIN, label.LabelText("ffeeddccbbaa", None, "B", "", "", DAY))]
    printed = QlPrinter().take(label_ql.raster(pictures, size))
    assert len(printed) == 2
    for number, (one, picture) in enumerate(zip(printed, pictures, strict=True)):
        lying = picture.rotate(90, expand=True) if size.name == "29x90" else picture
        right = 6 if size.name == "29x90" else 12
        left = 720 - right - lying.width
        assert [row[left : 720 - right] for row in one.rows] == rows_of(lying)
        assert not "".join(row[:left] + row[720 - right :] for row in one.rows).strip()
        lines = len(one.rows).to_bytes(4, "little")
        tape = bytes((0x0B, 29, 90)) if size.name == "29x90" else bytes((0x0A, 62, 0))
        assert one.information == b"\x4e" + tape + lines + bytes((min(number, 1), 0))
        assert one.cut and one.margin == (0 if size.name == "29x90" else 35)


def test_a_picture_of_another_size_is_not_printed() -> None:
    with pytest.raises(ValueError):
        label_ql.raster([label.draw(LATIN, label.SIZES["62"])], label.SIZES["29x90"])


def test_a_printer_by_the_network_gets_all_of_it() -> None:
    got = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            peer, _ = server.accept()
            with peer:
                while data := peer.recv(65536):
                    got.extend(data)

        thread = threading.Thread(target=take)
        thread.start()
        job = label_ql.raster([label.draw(LATIN, label.SIZES["62"])], label.SIZES["62"])
        label_ql.send(f"tcp://127.0.0.1:{server.getsockname()[1]}", job)
        thread.join()
    assert bytes(got) == job


def test_a_printer_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = server.getsockname()[1]
    for target in (f"tcp://127.0.0.1:{gone}", str(tmp_path / "lp0")):
        with pytest.raises(BongsuError) as caught:
            label_ql.send(target, b"x")
        assert caught.value.next_step and not isinstance(caught.value, UsageFault)
    assert not (tmp_path / "lp0").exists()
    for target in ("tcp://", "usb://printer", "tcp://h:port"):
        with pytest.raises(UsageFault):
            label_ql.send(target, b"x")


def test_a_full_disk_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "label.png"
    out.write_bytes(b"former")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError):
        label_file.save(out, {NODE: label.draw(LATIN, label.SIZES["62"])}, label.SIZES["62"])
    assert out.read_bytes() == b"former" and list(tmp_path.iterdir()) == [out]


def test_signs_that_no_font_has_are_left_out(size: label.Size, no_fonts: None) -> None:
    """A shop with an emoji in its name gets its label, and so does its market's sheet."""
    text = label.LabelText(
        NODE, "hannae/a-07", "Sea \U0001f41f Fish", "A 8 \u2615\ufe0f", "\U0001f600", dt.date(2026, 3, 1)
    )
    plain = label.LabelText(NODE, "hannae/a-07", "Sea Fish", "A 8", "", dt.date(2026, 3, 1))
    assert label.draw(text, size).tobytes() == label.draw(plain, size).tobytes()
