"""The virtual board's sensors: each that a node.json may name gives, through the firmware's own driver, what is in the
air; a scenario's columns reach it; its faults are seen, and end.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bongsu.install import sensors
from bongsu.install.boards import load_board
from bongsu.resources import resources
from bongsu.sim import scenario_csv
from bongsu.sim.board import VirtualBoard
from bongsu_wire import kinds
from tests.board_parts import NODE, bundle

# Prints, twice a second, of each fitted sensor its values by name, or the word of its fault.
_MAIN = """
import json
import time
from bongsu_node.hardware import Hardware
from bongsu_node.sensing import SensorError, fit
from bongsu_wire import kinds

with open("/node.json") as file:
    settings = json.load(file)
hardware = Hardware(settings["pins"])
fitted = [(e["type"], fit.sensor(e, hardware)) for e in settings["sensors"]]
words = {}
n = 0
while True:
    now = time.ticks_ms()
    for name, sensor in fitted:
        try:
            if sensor.poll(now) or sensor.warming:
                words.pop(name, None)
        except SensorError as e:
            words[name] = e.why
    n += 1
    if n % 2 == 0:
        said = {}
        for name, sensor in fitted:
            values = {kinds.QUANTITY_NAMES[q]: v for q, v in zip(sensor.quantities, sensor.values)}
            said[name] = words.get(name) or values
        print(json.dumps(said))
    time.sleep_ms(250)
"""
_NTC_TABLE = "table=-40:195652/-10:42506/25:10000/85:1451/105:817/150:282"
# Two boards, since not all fit on one.
FITTED = (
    [
        "lm75,address=0x49",
        "sht4x",
        "bme280",
        "scd4x",
        "sgp40",
        "pmsa003i",
        "max30105,clean_counts=8000,counts_per_e4=20",
    ],
    ["sht3x,address=69", "bme680,address=0x77", "ds18b20,pin=32", "pms5003,rx=16", "smoke_head"],
    [
        "ntc,pin=36,r25_ohm=10000,beta=3950,divider_ohm=10000,supply_mv=3300",
        "mq2,pin=35,load_ohm=20000,adc_permille=600",
        "mq7,pin=33,load_ohm=20000,adc_permille=600,heater_pin=32",
        "head,pin=39,supply_mv=3300,series_ohm=4700,eol_ohm=10000,alarm_ohm=2200",
    ],
)
AIR = {
    "temp_c": 31.0, "smoke_od": 0.2, "rh_pct": 61.0, "co_ppm": 200.0, "gas_index": 300.0, "pm25_ug": 30.0,
    "co2_ppm": 900.0, "pressure_hpa": 1003.0,
}  # fmt: skip
# What each type must make of it: quantity -> (value, how near).
_TEMP, _HUMID = {"temp_dk": (3042, 5)}, {"humidity_half": (122, 2)}
_DUST = {"pm1_dug": (210, 0), "pm25_dug": (300, 0), "pm10_dug": (360, 0)}
EXPECTED: dict[str, dict[str, tuple[int, int]]] = {
    "lm75": _TEMP,
    "sht3x": {**_TEMP, **_HUMID},
    "sht4x": {**_TEMP, **_HUMID},
    "bme280": {**_TEMP, **_HUMID, "pressure_dhpa": (10030, 3)},
    "bme680": {**_TEMP, **_HUMID, "pressure_dhpa": (10030, 3)},
    "sgp40": {"voc_index": (250, 249)},  # a value; its index answers to humidity, too
    "scd4x": {"co2_ppm": (900, 0), **_TEMP, **_HUMID},
    "pmsa003i": _DUST,
    "pms5003": _DUST,
    "max30105": {"smoke_e4": (2000, 5)},
    "ntc": {"temp_dk": (3042, 10)},
    "ds18b20": _TEMP,
    "smoke_head": {"smoke_e4": (2000, 2)},
    "head": {"head": (1, 0)},
    # In clean air until the baseline is known, then this: see the test.
    "mq2": {"gas_index": (300, 6)},
    "mq7": {"co_dppm": (2000, 100)},
}


class Bench:
    """A discrete board that prints its sensors."""

    def __init__(self, folder: Path, texts: list[str]) -> None:
        entries = sensors.fit(load_board("esp32-devkitc"), [sensors.parse(text) for text in texts])
        made = bundle()
        self.board = VirtualBoard(folder, node_id=NODE, speed=math.inf)
        self.board.flash(resources().firmware)
        self.board.provision(replace(made, node_json={**made.node_json, "sensors": entries}))
        self.board.write_files({"/main.py": _MAIN.encode(), "/boot.py": b""})

    def after(self, seconds: float) -> dict[str, Any]:
        """What they say after this time."""
        self.board.power_on()
        self.board.run_for(seconds)
        said: dict[str, Any] = json.loads(self.board.log_lines[-1].text)
        return said


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(tmp_path, request.param)
    yield made
    made.board.close()


def _fits(said: Any, wanted: dict[str, tuple[int, int]]) -> bool:
    return isinstance(said, dict) and all(abs(said[name] - value) <= near for name, (value, near) in wanted.items())


def test_every_type_is_tried() -> None:
    names = {sensors.parse(text)["type"] for texts in FITTED for text in texts}
    assert names == set(sensors.TYPES) == set(EXPECTED)
    assert {name for wanted in EXPECTED.values() for name in wanted} <= set(kinds.QUANTITY_NAMES.values())


@pytest.mark.parametrize("bench", FITTED, indirect=True, ids=["i2c", "wires", "adc"])
def test_each_gives_what_is_in_the_air(bench: Bench) -> None:
    slow = 700 if "mq7" in bench.after(1) else 70
    bench.after(slow)  # clean air first, for what learns it
    bench.board.set_values(**AIR)
    said = bench.after(310 if slow > 100 else 30)
    for name, found in said.items():
        assert _fits(found, EXPECTED[name]), (name, found)


@pytest.mark.parametrize("bench", [FITTED[0]], indirect=True)
def test_a_scenario_with_more_columns_reaches_them(bench: Bench) -> None:
    text = "t_s,temp_c,smoke_od_per_m,pm25_ug,rh_pct\n0,20,0,10,40\n100,20,0,10,40\n100,30,0.1,50,60\n"
    bench.board.set_scenario(scenario_csv.parse(text, "made"))
    assert _fits(bench.after(90)["sht4x"], {"temp_dk": (2932, 2), "humidity_half": (80, 1)})
    said = bench.after(20)
    assert _fits(said["sht4x"], {"temp_dk": (3032, 2), "humidity_half": (120, 1)})
    assert _fits(said["pmsa003i"], {"pm25_dug": (500, 0)}) and _fits(said["max30105"], {"smoke_e4": (1000, 5)})


# Sensor, fault, the words that the driver may have for it. A value that stands still is a fault only after two days.
FAULTS = [
    (0, "lm75", "nak", {"nak"}),
    (0, "sht4x", "bit_error", {"crc"}),
    (0, "bme280", "unplugged", {"nak"}),
    (0, "max30105", "bus", {"bus"}),
    (1, "ds18b20", "open", {"absent"}),
    (1, "ds18b20", "unplugged", {"absent"}),
    (1, "ds18b20", "short", {"short"}),
    (1, "ds18b20", "bit_error", {"crc"}),
    (1, "pms5003", "silent", {"silent"}),
    (1, "pms5003", "bit_error", {"crc"}),
    (1, "smoke_head", "open", {"open"}),
    (1, "smoke_head", "short", {"short"}),
    (2, "ntc", "open", {"open"}),
    (2, "ntc", "short", {"short"}),
    (2, "head", "short", {"short"}),
    (2, "mq2", "unplugged", {"open"}),
    (2, "mq2", "heater", {"open"}),
]


@pytest.mark.parametrize(("at", "sensor", "fault", "words"), FAULTS, ids=[f"{f[1]}-{f[2]}" for f in FAULTS])
def test_a_fault_is_seen_and_ends(tmp_path: Path, at: int, sensor: str, fault: str, words: set[str]) -> None:
    mine = [text for text in FITTED[at] if text.split(",")[0] == sensor]
    made = Bench(tmp_path, [*mine, "sht4x"] if sensor != "sht4x" else [*mine, "smoke_head"])
    try:
        before = made.after(200 if sensor == "mq2" else 40)
        assert isinstance(before[sensor], dict)
        made.board.set_sensor_fault(sensor, fault)
        said = made.after(15)
        assert said[sensor] in words
        other = next(name for name in said if name != sensor)
        assert (said[other] == "bus") == (fault == "bus"), "a line that is held is held for all, and nothing else is"
        made.board.set_sensor_fault(sensor, None)
        after = made.after(40)
        assert isinstance(after[sensor], dict) and 0xFFFF not in after[sensor].values()
        assert isinstance(after[other], dict)
    finally:
        made.board.close()


def test_what_is_stuck_stands_still(tmp_path: Path) -> None:
    made = Bench(tmp_path, ["sht4x", "smoke_head"])
    try:
        before = made.after(10)
        for name in before:
            made.board.set_sensor_fault(name, "stuck")
        made.board.set_values(temp_c=50, smoke_od=0.2)
        assert made.after(10) == before
        for name in before:
            made.board.plug(name)
        assert _fits(made.after(10)["sht4x"], {"temp_dk": (3232, 2)})
    finally:
        made.board.close()


def test_a_dip_is_survived(tmp_path: Path) -> None:
    made = Bench(tmp_path, ["ds18b20,pin=32", "bme280", "scd4x"])
    try:
        before = made.after(40)
        for name in before:
            made.board.dip(name)
        after = made.after(60)
        assert all(isinstance(said, dict) for said in after.values())
        assert after["ds18b20"]["temp_dk"] == before["ds18b20"]["temp_dk"], "and 85 degC is not taken for one"
    finally:
        made.board.close()


def test_faults_and_air_that_there_are_not_are_refused(tmp_path: Path) -> None:
    made = Bench(tmp_path, ["sht4x"])
    try:
        with pytest.raises(ValueError, match="has no lm75"):
            made.board.set_sensor_fault("lm75", "nak")
        with pytest.raises(ValueError, match="has the faults nak, bus"):
            made.board.set_sensor_fault("sht4x", "open")
        with pytest.raises(ValueError, match="the air has temp_c, .* not lux"):
            made.board.set_values(lux=3)
    finally:
        made.board.close()


def test_a_port_without_tx_drives_no_line_of_the_flash(tmp_path: Path) -> None:
    """As on the chip: UART 1 and 2 drive pins of their own."""
    made = Bench(tmp_path, ["sht4x"])
    made.board.write_files(
        {
            "/main.py": b"import machine\nfor n in (2, 1):\n    try:\n        machine.UART(n, 9600, rx=16)\n"
            b"        print(n, 'ok')\n    except RuntimeError as e:\n        print(n, e)\n"
        }
    )
    try:
        made.board.power_on()
        made.board.run_for(1)
        assert [line.text[:10] for line in made.board.log_lines][:2] == ["2 ok", "1 GPIO10 b"]
    finally:
        made.board.close()
