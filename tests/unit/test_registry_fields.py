"""What people type: which forms are accepted, and how they are stored and shown."""

import pytest

from bongsu.receiver import fields, phone


@pytest.mark.parametrize(
    ("typed", "stored", "shown"),
    [
        ("010-1234-5678", "+821012345678", "010-****-5678"),
        (" 01012345678 ", "+821012345678", "010-****-5678"),
        ("1012345678", "+821012345678", "010-****-5678"),  # a spreadsheet ate the zero
        ("+82 10-1234-5678", "+821012345678", "010-****-5678"),
        ("０１０－１２３４－５６７８", "+821012345678", "010-****-5678"),
        ("02-123-4567", "+8221234567", "02-****-4567"),
        ("031 123 4567", "+82311234567", "031-****-4567"),
        ("1588-1234", "+8215881234", "****-1234"),
        ("0505-123-4567", "+825051234567", "0505-****-4567"),
        ("+1 650-253-0000", "+16502530000", "+1-****-0000"),
        ("+44 20 7031 3000", "+442070313000", "+44-****-3000"),
    ],
)
def test_phone_forms(typed: str, stored: str, shown: str) -> None:
    assert phone.normal(typed) == stored
    assert phone.masked(stored) == shown


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "12345",
        "119",
        "010-1234-567",
        "010-1234-56789",
        "call me",
        "1.01235E+09",
        "+999 1",
        "010-1234-5678 x9",
        "010\u202e12345678",
    ],
)
def test_wrong_phones(typed: str) -> None:
    with pytest.raises(fields.FieldError) as caught:
        phone.normal(typed)
    assert caught.value.next_step
    assert not typed or typed not in caught.value.message


def test_which_numbers_take_texts() -> None:
    assert phone.takes_texts("+821012345678") and not phone.takes_texts("+8221234567")


@pytest.mark.parametrize(
    ("typed", "stored"), [("A0:B1:C2:D3:E4:F5", "a0b1c2d3e4f5"), ("a0-b1-c2-d3-e4-f5", "a0b1c2d3e4f5")]
)
def test_node_ids(typed: str, stored: str) -> None:
    assert fields.node_id(typed) == stored


@pytest.mark.parametrize(
    "typed", ["", "a0b1", "a0b1c2d3e4g5", "a0:b1:c2:d3:e4", "a0b1c2d3e4f5f6", "f" * 12, "01:00:5e:00:00:01"]
)
def test_wrong_node_ids(typed: str) -> None:
    with pytest.raises(fields.FieldError):
        fields.node_id(typed)


@pytest.mark.parametrize("typed", ["f" * 12, "01:00:5e:00:00:01"])
def test_group_addresses_are_no_boards(typed: str) -> None:
    with pytest.raises(fields.FieldError, match="no board's MAC"):
        fields.node_id(typed)


def test_zeros_are_a_board_that_says_so_and_none_in_a_list() -> None:
    """An emulated chip has no MAC burnt; whoever writes zeros into a list does not know it yet."""
    assert fields.node_id("00:00:00:00:00:00") == "0" * 12
    assert fields.listed_node_id("A0B1C2D3E4F5") == "a0b1c2d3e4f5"
    with pytest.raises(fields.FieldError, match="no board's MAC"):
        fields.listed_node_id("0" * 12)


@pytest.mark.parametrize("typed", ["", "a b", "가-1", "a_b", "x" * 33, "../a", "a/b"])
def test_wrong_slugs(typed: str) -> None:
    with pytest.raises(fields.FieldError):
        fields.slug("id", typed)


@pytest.mark.parametrize("typed", ["", " ", "a\nb", "a\u202eb", "a\u200bb", "a\x1b[31m", "x" * 101])
def test_wrong_names(typed: str) -> None:
    with pytest.raises(fields.FieldError) as caught:
        fields.words("name", typed, 100)
    assert "\x1b" not in caught.value.message


def test_names_are_composed() -> None:
    assert fields.words("name", "한내", 100) == "한내"


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "http://u:pw@x/", "http://x/ y", "http://x:99999/", "x.example/"]
)
def test_wrong_urls(url: str) -> None:
    with pytest.raises(fields.FieldError) as caught:
        fields.web_url("url", url)
    assert "pw" not in caught.value.message


def test_time_zones() -> None:
    assert fields.time_zone("Asia/Seoul") == "Asia/Seoul"
    for wrong in ("KST", "../../etc/passwd", "asia/seoul?"):
        with pytest.raises(fields.FieldError):
            fields.time_zone(wrong)
