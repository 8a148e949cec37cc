"""What the firmware knows of its chip is what the board data say; a board without settings drives no foreign pin."""

import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from bongsu.resources import resources
from bongsu.sim.rig import rig
from bongsu_node import chip, config
from bongsu_node.sensing import SensorError
from bongsu_node.sensing.adc_end import EndingAdc
from bongsu_node.sensing.smoke_head import SmokeHead

CHIPS = sorted((resources().boards / "chips").glob("*.toml"))
SUPPLY_MV = 3_000  # what a driver takes for the supply (smoke_head)


def runs_on(monkeypatch: pytest.MonkeyPatch, machine: str | None) -> None:
    said = SimpleNamespace() if machine is None else SimpleNamespace(_machine=machine)
    monkeypatch.setattr(sys, "implementation", said)


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("Generic ESP32 module with ESP32", "ESP32"),
        ("Generic ESP32 module with SPIRAM with ESP32", "ESP32"),
        ("Generic ESP32S3 module with Octal-SPIRAM with ESP32S3", "ESP32S3"),
        ("LILYGO T3-S3 with ESP32S3", "ESP32S3"),
        ("ESP32C6 module with ESP32C6", "ESP32C6"),
        ("TinyPICO with ESP32-PICO-D4", "ESP32"),
        ("FeatherS3 with ESP32-S3FN8", "ESP32S3"),
        ("M5Stack Atom with ESP32-D0WD", "ESP32"),
        ("linux [GCC 14.2.1] version", "ESP32"),
        ("", "ESP32"),
        (None, "ESP32"),
    ],
)
def test_the_chip_is_what_micropython_says(monkeypatch: pytest.MonkeyPatch, machine: str | None, name: str) -> None:
    runs_on(monkeypatch, machine)
    assert chip.name() == name


@pytest.mark.parametrize("path", CHIPS, ids=lambda path: path.stem)
def test_port_and_converter_are_those_of_the_chip(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    data = tomllib.loads(path.read_text())
    runs_on(monkeypatch, f"Generic module with {data['name'].upper()}")
    assert chip.name() == data["name"].upper()
    assert chip.uart() == data["uart"]
    ends_mv = rig._ADC_MV[data["name"]][1]
    if ends_mv < SUPPLY_MV:
        assert 0 < chip.adc_ends_uv() < ends_mv * 1000
    else:
        assert chip.adc_ends_uv() == 0


class Adc:
    uv = 400_000

    def read_uv(self) -> int:
        if self.uv is None:
            raise OSError(116)
        return self.uv


def test_a_short_circuit_is_no_smoke_where_the_converter_ends_early() -> None:
    adc = Adc()
    head = SmokeHead(EndingAdc(adc, 2_450_000), 400, 1000, lambda a, b: a - b)
    assert head.poll(0) and head.values == [0]
    adc.uv = 2_500_000
    with pytest.raises(SensorError) as e:
        head.poll(250)
    assert e.value.why == "short"
    adc.uv = None  # type: ignore[assignment]
    with pytest.raises(SensorError) as e:
        head.poll(500)
    assert e.value.why == "nak"


def test_smoke_that_climbs_beyond_its_end_stays_smoke() -> None:
    adc = Adc()
    head = SmokeHead(EndingAdc(adc, 2_450_000), 400, 1000, lambda a, b: a - b)
    for now, uv in enumerate((400_000, 900_000, 2_000_000, 2_500_000, 2_500_000)):
        adc.uv = uv
        assert head.poll(250 * now)
    assert head.values[0] > 1500


def test_another_chip_has_no_pins_but_those_of_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    runs_on(monkeypatch, "Generic ESP32S3 module with ESP32S3")
    assert set(config.Config().pins.values()) == {-1}
    assert config.Config().sensors[1]["pin"] == -1
    c = config.parse({"v": 1, "node": "a0b1c2d3e4f5", "pins": {"siren": 4}}, "a0b1c2d3e4f5")
    assert c.pins == {**dict.fromkeys(config.DEFAULT_PINS, -1), "siren": 4}
    assert "pins.lamp: must be a whole number from 0 to 48" in c.errors
    assert not any("same pin" in error for error in c.errors)
    runs_on(monkeypatch, None)
    assert config.Config().pins == config.DEFAULT_PINS
