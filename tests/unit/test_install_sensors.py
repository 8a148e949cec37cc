"""What may be fitted: the table is bound to the drivers that a node will make of it, and to the board's pins."""

from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bongsu.install import sensors
from bongsu.install.boards import Entry, load_board
from bongsu.install.sensors import TYPES, SensorError
from bongsu_node.sensing import fit
from tests.unit.test_board_sensors import FITTED

BOARD = load_board("esp32-devkitc")
# An entry of each type that is right.
GOOD: dict[str, Entry] = {e["type"]: e for texts in FITTED for e in map(sensors.parse, texts)}
GOOD["smoke_head"] = BOARD.sensors[1]
WHOLE = [
    (name, key)
    for name, kind in TYPES.items()
    for key, f in kind.fields.items()
    if f.kind in ("whole", "choice", "flag")
]


def _make(entry: Entry) -> None:
    import_module(f"bongsu_node.sensing.{entry['type']}").make(sensors._Nothing(), entry)


def test_the_table_has_the_types_of_the_firmware() -> None:
    assert set(TYPES) == set(fit.MAIN)
    for name in TYPES:
        _make(GOOD[name])
        assert sensors.fit(BOARD, [GOOD[name]]) == [GOOD[name]]


@pytest.mark.parametrize(("name", "key"), WHOLE)
def test_a_range_is_the_drivers_own(name: str, key: str) -> None:
    """A driver names the field that it refuses; at the ends of the range it may only object to another that goes with
    it.
    """
    field = TYPES[name].fields[key]
    wrong: list[Any] = [field.low - 1, field.high + 1, 1.5, "x", None] if field.kind == "whole" else ["x", -1]
    if key == "detects":
        pytest.skip("not the driver's: the outfit's (fit.py)")
    for value in wrong:
        with pytest.raises(ValueError, match=f"^{key}: "):
            _make({**GOOD[name], key: value})
        with pytest.raises(SensorError, match=rf"sensors\[0\] \({name}\), {key}: "):
            sensors.fit(BOARD, [{**GOOD[name], key: value}])
    right = (field.low, field.high) if field.kind == "whole" else field.names or (True, False)
    # The largest load lets the largest resistance be told.
    wide = {**GOOD[name], "load_ohm": 100_000} if key == "clean_ohm" else GOOD[name]
    for value in (int(v) if key == "address" else v for v in right):
        try:
            _make({**wide, key: value})
        except ValueError as err:
            assert "from" not in str(err) and "one of" not in str(err), err


@pytest.mark.parametrize("name", TYPES)
def test_what_is_needed_is_what_the_driver_needs(name: str) -> None:
    """Without a needed field the driver fails; without any other it does not."""
    for key, field in TYPES[name].fields.items():
        rest = {k: v for k, v in GOOD[name].items() if k != key}
        either = name == "ntc" and key in ("r25_ohm", "beta", "table")
        # Of an MQ the divider keeps its 5 V from the pin.
        if field.needed or either and key in GOOD[name] or key == "adc_permille" and name.startswith("mq"):
            with pytest.raises(ValueError, match=r"^\w+: "):
                _make(rest)
        else:
            _make(rest)
        if field.needed:
            with pytest.raises(SensorError, match=f"{key}: is missing"):
                sensors.fit(BOARD, [rest])


@pytest.mark.parametrize("name", TYPES)
def test_no_field_of_a_driver_is_left_out(name: str) -> None:
    """Each field that a driver reads is in the table (and what its helpers read, too)."""

    class Spy(dict[str, Any]):
        read: set[str] = set()

        def get(self, key: str, default: Any = None) -> Any:
            self.read.add(key)
            return super().get(key, default)

        def __getitem__(self, key: str) -> Any:
            self.read.add(key)
            return super().__getitem__(key)

    entry = Spy(GOOD[name])
    Spy.read = set()
    _make(entry)
    one_address = len(TYPES[name].addresses) == 1
    assert Spy.read - {"type", "table"} - ({"address"} if one_address else set()) <= set(TYPES[name].fields)


@pytest.mark.parametrize("name", TYPES)
def test_what_is_said_is_parsed_again(name: str) -> None:
    assert sensors.parse(sensors.said(GOOD[name])) == GOOD[name]


FAULTS = [
    ("two on one pin", ["mq2,pin=34,load_ohm=20000,adc_permille=600"], "GPIO34 is also sensors[1]"),
    ("the siren's pin", ["pms5003,rx=25"], "rx: GPIO25 is also siren"),
    ("the bus's pin", ["ds18b20,pin=21"], "pin: GPIO21 is also i2c_sda"),
    ("ADC2", ["mq2,pin=4,load_ohm=20000,adc_permille=600"], "pin: GPIO4 is on ADC2"),
    ("no ADC", ["mq2,pin=23,load_ohm=20000,adc_permille=600"], "pin: GPIO23 has no ADC"),
    ("input only", ["ds18b20,pin=35"], "pin: GPIO35 is input-only"),
    ("heater on an input", ["mq7,pin=35,load_ohm=20000,adc_permille=600,heater_pin=36"], "heater_pin: GPIO36 is input"),
    ("strapping", ["ds18b20,pin=12"], "pin: GPIO12 is a strapping pin"),
    ("flash", ["pms5003,rx=9"], "rx: GPIO9 belongs to the module's flash"),
    ("no pin", ["ds18b20,pin=99"], "pin: GPIO99 does not exist"),
    ("one address twice", ["lm75"], "address: 72 is also sensors[0]"),
    ("two that have one address", ["bme280", "bme680"], "address: 118 is also sensors[2]"),
    ("the port twice", ["pms5003,rx=16", "pms5003,rx=4,tx=13"], "the serial port is sensors[2]"),
    ("the port's own tx", ["ds18b20,pin=17", "pms5003,rx=16"], "tx: GPIO17 is also sensors[2]"),
    ("one pin for two things", ["mq7,pin=33,load_ohm=20000,adc_permille=600,heater_pin=33"], "one pin for two things"),
    ("roms beside none", ["ds18b20,pin=32", "ds18b20,pin=32,rom=28ab9078563412b8"], "GPIO32 is also sensors[2]"),
    ("a wrong rom", ["ds18b20,pin=32,rom=28ab907856341200"], "rom: its check sum"),
    ("too many", ["ds18b20,pin=4", "ds18b20,pin=13", "ds18b20,pin=14", "ds18b20,pin=16", "ds18b20,pin=17",
      "ds18b20,pin=18", "ds18b20,pin=19"], "9 sensors: a node has 1 to 8"),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "words"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_what_does_not_fit_the_board_is_named(texts: list[str], words: str) -> None:
    with pytest.raises(SensorError) as e:
        sensors.fit(BOARD, [*BOARD.sensors, *map(sensors.parse, texts)])
    assert words in e.value.message


def test_thermometers_with_roms_share_a_line() -> None:
    roms = [_rom(serial) for serial in (1, 2)]
    texts = [f"ds18b20,pin=32,rom={rom}" for rom in roms]
    assert len(sensors.fit(BOARD, [*BOARD.sensors, *map(sensors.parse, texts)])) == 4


def _rom(serial: int) -> str:
    body = bytes([0x28, *serial.to_bytes(6, "little")])
    return (body + bytes([sensors._Line.crc8(body)])).hex()


@given(st.text(max_size=40))
def test_any_text_is_an_entry_or_refused(text: str) -> None:
    try:
        sensors.fit(BOARD, [sensors.parse(text)])
    except SensorError as err:
        assert err.message and err.next_step


def test_the_smoke_head_alone_is_the_boards_own() -> None:
    assert sensors.fit(BOARD, [{"type": "smoke_head"}]) == [
        {"type": "smoke_head", "pin": 34, "mv_clean": 400, "uv_per_e4": 1000}
    ]
