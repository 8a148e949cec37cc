"""`bongsu node provision` with sensors: into node.json, kept with the node, shown; what cannot be is refused first."""

import json
from pathlib import Path
from typing import Any

import pytest

from bongsu.install.boards import load_board
from bongsu.install.bundle import Bundle
from bongsu_node import config
from tests.registry_parts import NODE, bongsu, fill, new_store, on_this_engine

OWN = list(load_board("esp32-devkitc").sensors)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one market."""
    folder = tmp_path / "data"
    assert bongsu("init", "--data", folder, *on_this_engine(folder)).code == 0
    with new_store(folder) as store:
        fill(store)
    return folder


def _provision(data: Path, out: Path, *options: object) -> dict[str, Any]:
    ran = bongsu("node", "provision", NODE, "--out", out, *options, "--data", data)
    assert ran.code == 0, ran.err
    return Bundle.load(out).node_json


def _shown(data: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(bongsu("node", "show", NODE, "--json", "--data", data).out)
    return row


def test_without_options_it_is_the_boards_own(data: Path, tmp_path: Path) -> None:
    assert _shown(data)["sensors"] is None
    node = _provision(data, tmp_path / "a")
    assert (node["sensors"], node["reading_s"]) == (OWN, 0)
    assert _shown(data)["sensors"] == ["lm75", "smoke_head,pin=34,mv_clean=400,uv_per_e4=1000"]


def test_what_is_named_is_added_kept_and_taken_by_the_node(data: Path, tmp_path: Path) -> None:
    more = ("--sensor", "sht4x,address=0x45", "--sensor", "pms5003,rx=16", "--reading-s", 60)
    node = _provision(data, tmp_path / "a", *more)
    wanted = [*OWN, {"type": "sht4x", "address": 69}, {"type": "pms5003", "rx": 16}]
    assert (node["sensors"], node["reading_s"]) == (wanted, 60)
    again = _provision(data, tmp_path / "b")
    assert (again["sensors"], again["reading_s"]) == (wanted, 60), "provisioning anew keeps it"
    taken = config.parse(again, NODE)
    assert not taken.errors and (taken.sensors, taken.reading_s) == (wanted, 60)
    row = _shown(data)
    assert row["sensors"][2:] == ["sht4x,address=69", "pms5003,rx=16"] and row["reading_s"] == 60
    assert "pms5003" in bongsu("node", "show", NODE, "--data", data).out
    only = _provision(data, tmp_path / "c", "--only-sensors", "--sensor", "ds18b20,pin=32", "--reading-s", 0)
    assert (only["sensors"], only["reading_s"]) == ([{"type": "ds18b20", "pin": 32}], 0)
    assert _provision(data, tmp_path / "d")["sensors"] == only["sensors"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--sensor", "sht9x"], "no type 'sht9x'"),
        (["--sensor", "sht4x,address=0x10"], "sensors[2] (sht4x), address: 16 is not one of 68, 69, 70"),
        (["--sensor", "ds18b20,pin=34"], "GPIO34 is also sensors[1] (smoke_head)"),
        (["--sensor", "mq2,pin=4,load_ohm=20000,adc_permille=600"], "GPIO4 is on ADC2"),
        (["--sensor", "mq2,pin=35,load_ohm=20000"], "adc_permille: 5000 mV would reach the pin"),
        (["--sensor", "mq2,pin=35,load_ohm=many"], "load_ohm: 'many' is not a whole number from 1000 to 100000"),
        (["--sensor", "mq2,pin=35"], "load_ohm: is missing, a whole number from 1000 to 100000"),
        (["--sensor", "lm75,bits=9"], "'bits=9' is no field of it"),
        (["--sensor", "lm75,stuck_h"], "'stuck_h' is not KEY=VALUE"),
        (["--sensor", "lm75,address=73,address=74"], "is there twice"),
        (["--only-sensors"], "--only-sensors leaves none"),
        (["--reading-s", "3601"], "0<=x<=3600"),
    ],
)
def test_what_cannot_be_is_refused_before_a_key_is_made(
    data: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    ran = bongsu("node", "provision", NODE, "--out", tmp_path / "x", *options, "--data", data)
    assert ran.code == 2 and says in ran.err and not (tmp_path / "x").exists()
    assert not _shown(data)["keys"] and _shown(data)["sensors"] is None
