"""node.json on a board, under the real MicroPython: compared and written without its secrets coming back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bongsu.install import settings_file
from bongsu.install.application import File
from bongsu.install.transfer import Files
from tests.board_bench import MAC, Bench, formatted

WIFI = [{"ssid": "한내", "psk": "secret passphrase"}, {"ssid": "guests"}]
DOCUMENT: dict[str, Any] = {
    "v": 1,
    "node": MAC,
    "board": "esp32-devkitc",
    "wifi": WIFI,
    "broker": {"password": "broker password", "tls": True, "more": []},
    "sensors": [{"type": "ntc", "table": [[-10.5, 42000], [25.0, 10000]]}, {"type": "lm75"}],
    "label": 'a "quoted" 이름\n',
    "provisioned_s": 1_790_000_000,
    "nothing": None,
}
REST = {name: value for name, value in DOCUMENT.items() if name != "wifi"}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(formatted(tmp_path / "board")) as made:
        yield made


def write(bench: Bench, document: dict[str, Any]) -> int:
    return settings_file.write(bench, Files(bench, unpacks=True), document, settings_file.read(bench))


def on_it(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench.run("print(open('/node.json').read())"))
    bench.said.clear()
    return found


def test_it_is_written_once(bench: Bench) -> None:
    """When it was provisioned does not count, nor whether the networks are named again."""
    assert write(bench, DOCUMENT) > 400 and on_it(bench) == DOCUMENT
    standing = settings_file.read(bench)
    assert standing.is_of(MAC) and not standing.is_of("a0b1c2000000")
    assert (standing.board, standing.networks) == ("esp32-devkitc", 2)
    writes = bench.writes()
    for same in (DOCUMENT, REST, {**DOCUMENT, "provisioned_s": 1_800_000_000}):
        assert write(bench, same) == 0
    assert bench.writes() == writes
    for other in ({**DOCUMENT, "label": ""}, {**DOCUMENT, "wifi": WIFI[:1]}, {**DOCUMENT, "nothing": False}):
        assert write(bench, other) > 0 and on_it(bench) == other


def test_networks_stay_on_the_board(bench: Bench) -> None:
    write(bench, DOCUMENT)
    changed = {**REST, "profile": "home"}
    assert write(bench, changed) > 0
    said = "".join(bench.said)
    assert on_it(bench) == {**changed, "wifi": WIFI}
    assert write(bench, changed) == 0 and write(bench, {**changed, "wifi": WIFI}) == 0
    assert bench.run("import os\nprint(os.listdir('/'))").strip() == "['node.json']"
    for secret in ("secret passphrase", "broker password"):
        assert secret not in said + "".join(bench.said)


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_a_damaged_one_says_nothing(bench: Bench, damaged: bytes) -> None:
    Files(bench, unpacks=True).put(File.of("/node.json", damaged))
    standing = settings_file.read(bench)
    assert not standing.is_of(MAC) and standing.networks == 0
    assert write(bench, DOCUMENT) > 0 and on_it(bench) == DOCUMENT


def test_a_board_that_cannot_compare_gets_it_each_time(tmp_path: Path) -> None:
    with Bench(formatted(tmp_path / "board"), plain=True) as bench:
        for _ in range(2):
            assert write(bench, DOCUMENT) > 0
        assert write(bench, REST) > 0 and on_it(bench) == DOCUMENT
