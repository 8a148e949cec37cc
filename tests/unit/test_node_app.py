"""The whole firmware on the virtual board, without a network: button, sensor faults, restarts, safe mode, a bad flash.

Board time jumps, so an hour takes a second or so.
"""

import binascii
import contextlib
import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bongsu.install.bundle import Bundle
from bongsu.sim import flash
from bongsu.sim.board import BoardError, VirtualBoard
from bongsu.sim.serial_log import LogLine
from bongsu_wire import kinds, payload
from tests import mpy

NODE = "a0b1c2d3e4f5"
SIREN, LAMP = 25, 26
HOT_C = 62.0
NODE_JSON: dict[str, Any] = {
    "v": 1,
    "node": NODE,
    "site": "hannae",
    "unit": "a-07",
    "wifi": [{"ssid": "market", "psk": "secret12"}],
    "broker": {"ip": "127.0.0.1", "port": 9, "tls": False, "user": "n", "password": "hush-hush", "client_id": "c" * 22},
    "heartbeat_s": 45,
    "provisioned_s": 1_790_000_000,
}
Make = Callable[..., VirtualBoard]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """make(): a board with the firmware and a node.json, off, whose time only runs by run_for()."""
    made: list[VirtualBoard] = []

    def board(*, provisioned: bool = True, node_json: dict[str, Any] | None = None, **options: Any) -> VirtualBoard:
        b = VirtualBoard(tmp_path / str(len(made)), node_id=NODE, speed=math.inf, **options)
        made.append(b)
        b.flash(mpy.FIRMWARE)
        if provisioned:
            b.provision(Bundle(NODE, 1, bytes(range(16)), node_json or NODE_JSON, b""))
        b.set_wifi(False)
        return b

    yield board
    for b in made:
        b.close()


def tagged(board: VirtualBoard, *tags: str, since: int = 0) -> list[LogLine]:
    return [line for line in board.log_lines[since:] if line.tag in tags]


def restart(board: VirtualBoard) -> int:
    """Power off and on; the index of the first line after it."""
    board.power_off()
    mark = board.mark()
    board.power_on()
    return mark


def test_an_alarm_resumes_after_a_restart_and_is_no_new_event(make: Make) -> None:
    board = make()
    board.set_values(temp_c=HOT_C)
    board.power_on()
    board.run_for(15)
    (alarm,) = tagged(board, "alarm")
    assert board.pins()[SIREN] == 1
    mark = restart(board)
    board.run_for(4)  # before the first sample could have held for 5 s
    (resume,) = tagged(board, "resume", since=mark)
    assert resume.fields == {"event": alarm.fields["event"], "phen": "heat"}
    assert board.pins()[SIREN] == 1
    board.run_for(30)
    assert not tagged(board, "alarm", since=mark)
    board.set_values(temp_c=21.0)
    board.run_for(70)
    (restored,) = tagged(board, "restore", since=mark)
    assert board.pins()[SIREN] == 0
    assert int(restored.fields["event"]) > int(alarm.fields["event"])
    mark = restart(board)
    board.set_values(temp_c=HOT_C)
    board.run_for(15)
    assert not tagged(board, "resume", since=mark)
    (again,) = tagged(board, "alarm", since=mark)
    assert int(again.fields["event"]) > int(restored.fields["event"])


def test_the_lamp_blinks_until_the_centre_knows(make: Make) -> None:
    board = make()
    board.set_values(temp_c=HOT_C)
    board.power_on()
    board.run_for(15)
    before = len(board.pin_history)
    board.run_for(5)
    changes = [level for _, pin, level in board.pin_history[before:] if pin == LAMP]
    assert 8 <= len(changes) <= 11


def test_short_press_tests_and_long_press_silences_for_ten_minutes(make: Make) -> None:
    board = make()
    board.power_on()
    board.run_for(10)
    board.press_button(200)
    board.run_for(3)
    (test,) = tagged(board, "test")
    assert test.fields["criterion"] == "button"
    assert [level for _, pin, level in board.pin_history if pin == SIREN] == [0, 1, 0]  # the chirp
    board.set_values(temp_c=HOT_C)
    board.run_for(10)
    assert board.pins()[SIREN] == 1
    board.press_button(2_500)
    board.run_for(5)
    assert board.pins()[SIREN] == 0
    assert board.pins()[LAMP] in (0, 1)
    board.set_values(smoke_od=0.2)  # another phenomenon: a new alarm
    board.run_for(7)
    assert board.pins()[SIREN] == 1
    board.press_button(2_500)
    board.run_for(595)
    assert board.pins()[SIREN] == 0
    board.run_for(10)
    assert board.pins()[SIREN] == 1


@pytest.mark.parametrize(("sensor", "how"), [("lm75", "nak"), ("lm75", "bus"), ("smoke", "open"), ("smoke", "short")])
def test_a_dead_sensor_is_a_fault_within_a_minute_and_does_not_stop_the_other(
    make: Make, sensor: Any, how: str
) -> None:
    board = make()
    board.power_on()
    board.run_for(10)
    board.set_sensor_fault(sensor, how)
    board.run_for(15)
    (fault,) = tagged(board, "fault")
    assert fault.fields["code"] == {"lm75": "heat_sensor", "smoke": "smoke_sensor"}[sensor]
    assert not tagged(board, "alarm", "task")
    # The centre knows; a restart tells nothing new.
    mark = restart(board)
    board.run_for(20)
    assert not tagged(board, "fault", "fault_clear", since=mark)
    board.set_values(**({"smoke_od": 0.1} if sensor == "lm75" else {"temp_c": HOT_C}))
    board.run_for(7)
    assert len(tagged(board, "alarm")) == 1
    board.set_sensor_fault(sensor, None)
    board.run_for(12)
    (clear,) = tagged(board, "fault_clear")
    assert clear.fields["code"] == fault.fields["code"]


def test_a_sensor_that_dies_in_the_fire_restores_nothing(make: Make) -> None:
    board = make()
    board.power_on()
    board.set_values(temp_c=HOT_C)
    board.run_for(12)
    board.set_sensor_fault("lm75", "nak")
    board.run_for(600)
    assert len(tagged(board, "alarm")) == len(tagged(board, "fault")) == 1
    assert not tagged(board, "restore")
    assert board.pins()[SIREN] == 1


def test_an_unprovisioned_node_senses_and_sounds(make: Make) -> None:
    board = make(provisioned=False)
    board.set_values(temp_c=HOT_C)
    board.power_on()
    board.run_for(12)
    assert tagged(board, "unprovisioned")[0].fields == {"missing": "ident"}
    assert any(line.fields["err"].startswith("node.json:_missing") for line in tagged(board, "config"))
    assert len(tagged(board, "alarm")) == 1
    assert board.pins()[SIREN] == 1
    board.power_off()
    assert not [path for path in board.list_files() if path.startswith("/journal")]


def test_a_damaged_node_json_gives_way_to_the_last_good_one(make: Make) -> None:
    board = make(node_json={**NODE_JSON, "pins": {"siren": 18, "lamp": 19}})
    board.power_on()
    board.run_for(5)
    board.power_off()
    board.write_files({"/node.json": b'{"v": 1, "pins":'})
    mark = board.mark()
    board.set_values(temp_c=HOT_C)
    board.power_on()
    board.run_for(12)
    (error,) = tagged(board, "config", since=mark)
    assert error.fields == {"last_good": "1", "err": "node.json:_is_not_JSON"}
    assert board.pins()[18] == 1


def test_a_hang_is_cured_by_the_watchdog_and_a_loop_of_them_by_safe_mode(make: Make) -> None:
    """A link that hangs the whole interpreter: the node resets, and after some such boots senses before it links."""
    board = make()
    hang = b"import time\nwhile True:\n    time.sleep_ms(100)\n"
    board.write_files({"/lib/bongsu_node/link/bearers.py": hang})
    board.set_values(temp_c=HOT_C)
    board.power_on()
    board.run_for(4 * 34)
    assert board.reset_causes == ["power_on"] + ["watchdog"] * 4
    boots = tagged(board, "boot")
    assert [line.fields["safe"] for line in boots] == ["0", "0", "0", "0", "1"]
    assert not tagged(board, "alarm")  # the hang came before the hold was over
    board.run_for(15)
    assert len(tagged(board, "alarm")) == 1
    assert [line.fields["code"] for line in tagged(board, "fault")] == ["safe_mode"]
    assert board.pins()[SIREN] == 1


def test_a_firmware_that_cannot_start_tries_again(make: Make) -> None:
    board = make()
    board.write_files({"/lib/bongsu_node/upkeep/faults.py": b"1 // 0\n"})
    board.power_on()
    board.run_for(20)
    assert set(board.reset_causes[1:]) == {"soft"} and len(board.reset_causes) >= 3


def test_a_crashing_task_is_a_fault_and_the_others_go_on(make: Make) -> None:
    board = make()
    broken = (mpy.FIRMWARE / "bongsu_node" / "upkeep" / "button.py").read_text().replace("self._down:", "nothing_here:")
    board.write_files({"/lib/bongsu_node/upkeep/button.py": broken.encode()})
    board.set_values(temp_c=HOT_C)
    board.power_on()
    board.run_for(60)
    crashes = tagged(board, "task")
    assert 4 <= len(crashes) <= 8 and crashes[0].fields["name"] == "panel"
    assert [line.fields["code"] for line in tagged(board, "fault")] == ["task_crash"]
    assert len(tagged(board, "alarm")) == 1 and board.pins()[SIREN] == 1
    assert board.reset_causes == ["power_on"]


def test_without_a_file_system_it_still_senses_and_sounds(make: Make) -> None:
    """Flash that takes no writes: the alarm is raised, kept in RAM, and the fault is said."""
    board = make()
    broken = b"def write(path, data):\n    raise OSError(28)\n"
    source = (mpy.FIRMWARE / "bongsu_node" / "flashfile.py").read_bytes()
    board.write_files({"/lib/bongsu_node/flashfile.py": source + broken})
    board.set_values(temp_c=HOT_C)
    board.power_on()
    board.run_for(30)
    assert len(tagged(board, "alarm")) == 1 and board.pins()[SIREN] == 1
    assert "storage" in [line.fields["code"] for line in tagged(board, "fault")]
    assert not tagged(board, "task")


def broken(board: VirtualBoard, file: str, code: str) -> None:
    """Put `code` behind a module of the node."""
    path = f"bongsu_node/{file}"
    board.write_files({f"/lib/{path}": (mpy.FIRMWARE / path).read_bytes() + b"\n" + code.encode()})


_RAISE = "raise RuntimeError('broken by the test')"
_FLASH = "".join(f"def {name}(*_):\n    {_RAISE}\n" for name in ("open", "make_folder"))
_NVS = "class _Nvs:\n    def __getattr__(self, name):\n        {0}\ndef _nvs():\n    {1}\n"


@pytest.mark.parametrize(
    ("file", "code"),
    [
        pytest.param("flashfile.py", _FLASH, id="flash raises"),
        pytest.param(
            "flashfile.py", f"class os:\n    def __getattr__(self, name):\n        {_RAISE}\nos = os()\n", id="os"
        ),
        pytest.param("start.py", _NVS.format(_RAISE, _RAISE), id="NVS cannot be opened"),
        pytest.param("start.py", _NVS.format("raise OSError(-4357)", "return _Nvs()"), id="NVS refuses"),
        pytest.param("start.py", _NVS.format(_RAISE, "return _Nvs()"), id="NVS raises"),
        pytest.param("start.py", f"def _load_config(node):\n    {_RAISE}\n", id="settings"),
        pytest.param("start.py", f"def Journal(*_):\n    {_RAISE}\n", id="journal"),
        pytest.param("counters.py", f"def load(nvs, mac):\n    {_RAISE}\n", id="identity"),
        pytest.param("counters.py", "def _take(*_):\n    raise Exhausted\nIdentity._take = _take\n", id="no numbers"),
        pytest.param("board.py", f"def set_rtc(unix_s):\n    {_RAISE}\n", id="clock of the chip"),
    ],
)
def test_whatever_memory_fails_it_senses_and_sounds(make: Make, file: str, code: str) -> None:
    board = make()
    board.write_files({"/journal/07-00000001": journal_file(7)})  # of an earlier key
    broken(board, file, code)
    board.set_values(temp_c=HOT_C)
    board.power_on()
    board.run_for(25)
    assert len(tagged(board, "alarm")) == 1 and board.pins()[SIREN] == 1
    assert not tagged(board, "task") and board.reset_causes == ["power_on"]


def journal_file(epoch: int) -> bytes:
    """What the journal keeps of a test."""
    data = bytes((1, epoch)) + payload.encode_event(payload.Event(1, kinds.TEST))
    return data + binascii.crc32(data).to_bytes(4, "little")


def test_an_alarm_that_nvs_has_no_number_for_is_reported_when_it_has(make: Make) -> None:
    board = make()
    refuse = "_give = Identity._take\ndef _take(self, numbers):\n    import time\n    if time.ticks_ms() < 40_000:\n"
    refuse += (
        "        self.failed = True\n        raise Exhausted\n    return _give(self, numbers)\nIdentity._take = _take\n"
    )
    broken(board, "counters.py", refuse)
    board.set_values(temp_c=HOT_C)
    board.power_on()
    board.run_for(30)
    (alarm,) = tagged(board, "alarm")
    assert alarm.fields["event"] == "0"
    assert [line.fields["code"] for line in tagged(board, "fault")] == ["storage"]
    assert board.pins()[SIREN] == 1
    board.run_for(30)
    late = [line.fields["event"] for line in tagged(board, "journal") if line.text.endswith(" late")]
    assert len(late) == 2  # the alarm, and the fault
    assert len(tagged(board, "alarm")) == 1
    mark = restart(board)
    board.run_for(4)
    (resume,) = tagged(board, "resume", since=mark)
    assert resume.fields["event"] == late[0]


NEXT = struct.pack("<BB16s", 1, 2, bytes(range(16, 32)))


def give_next_key(board: VirtualBoard) -> None:
    """As if the receiver had sent it while the board was on."""
    blobs = flash.identity_blobs(1, bytes(range(16)))
    follows = hashlib.sha256(blobs["ident"]).digest()[:8]
    flash.write_nvs(board.folder / "nvs.bin", {**blobs, "next": NEXT + follows})


def epoch_of(board: VirtualBoard) -> tuple[int, int]:
    """Of the key, and of the counters."""
    board.power_off()
    held = board.nvs()
    return held["ident"][1], held["ctr"][1]  # type: ignore[index]


def test_a_next_key_is_taken_over_at_a_quiet_moment_by_one_restart(make: Make) -> None:
    board = make()
    give_next_key(board)
    board.power_on()
    board.run_for(60)
    assert [line.fields["state"] for line in tagged(board, "key")] == ["changed"]
    assert board.reset_causes == ["power_on", "soft"] and not tagged(board, "fault", "unprovisioned")
    assert epoch_of(board) == (2, 2) and board.nvs()["ident"] == NEXT and "next" not in board.nvs()


def test_a_next_key_waits_while_an_alarm_stands_or_an_event_has_no_receipt(make: Make) -> None:
    board = make()
    give_next_key(board)
    board.write_files({"/journal/01-00000001": journal_file(1)})
    board.power_on()
    board.run_for(60)
    assert not tagged(board, "key") and epoch_of(board) == (1, 1)
    board.image.remove("/journal/01-00000001")
    board.write_files({"/state/alarm": alarm_file()})
    board.set_values(temp_c=HOT_C)
    board.power_on()
    board.run_for(60)
    assert not tagged(board, "key") and epoch_of(board) == (1, 1)


def test_a_next_key_waits_while_a_restart_would_lose_what_was_counted(make: Make) -> None:
    board = make()
    give_next_key(board)
    broken(board, "sensing/judge.py", "Judge.quiet = property(lambda self: self._last > 40_000)\n")
    board.power_on()
    board.run_for(35)
    assert not tagged(board, "key")
    board.run_for(30)
    assert [line.fields["state"] for line in tagged(board, "key")] == ["changed"]


def alarm_file() -> bytes:
    """Heat in alarm, its receipt long there."""
    data = struct.pack("<BHB", 1, 0, 1) + struct.pack("<BBBI", kinds.HEAT, 1, kinds.CRIT_HEAT_FIXED, 1)
    return data + binascii.crc32(data).to_bytes(4, "little")


def test_a_power_cut_at_each_write_of_the_change_leaves_one_key_or_the_other(make: Make) -> None:
    whole = make()
    give_next_key(whole)
    whole.power_on()
    whole.run_for(30)
    found = []
    for nth in range(1, whole.flash_writes + 1):
        board = make()
        give_next_key(board)
        board.cut_power_after_writes(nth)
        board.power_on()
        with contextlib.suppress(BoardError):
            board.run_for(30)
        found.append(epoch_of(board)[0])
        mark = board.mark()
        board.power_on()
        board.run_for(40)
        assert not tagged(board, "unprovisioned", "task", since=mark)
        assert epoch_of(board) == (2, 2) and "next" not in board.nvs()
    assert set(found) == {1, 2} and found == sorted(found)


def test_nvs_that_refuses_the_change_costs_nothing(make: Make) -> None:
    board = make()
    give_next_key(board)
    broken(board, "rotation.py", f"def move(nvs):\n    {_RAISE}\n")
    board.set_scenario([(0, 21.0, 0.0), (60, 21.0, 0.0), (60, HOT_C, 0.0)])
    board.power_on()
    board.run_for(90)
    assert [line.fields["state"] for line in tagged(board, "key")] == ["refused"]
    assert board.reset_causes == ["power_on"] and len(tagged(board, "alarm")) == 1
    assert epoch_of(board) == (1, 1)


def test_days_of_quiet_over_the_wrap_of_the_ticks(make: Make) -> None:
    """Sampling keeps its beat over the wrap; an alarm right at it comes in time; nothing is written but the clock."""
    board = make(ticks_start=(1 << 30) - 65_000)
    board.power_on()
    board.run_for(55)
    writes = board.flash_writes
    board.set_scenario([(0, 21.0, 0.0), (60, 21.0, 0.0), (60, HOT_C, 0.0), (70, HOT_C, 0.0), (70, 21.0, 0.0)])
    board.run_for(30)
    (alarm,) = tagged(board, "alarm")
    assert alarm.fields["held_ms"] == "5000"
    assert alarm.ticks_ms is not None and alarm.ticks_ms < 10_000
    assert board.flash_writes - writes < 40
    board.run_for(70)
    assert len(tagged(board, "sample")) > 20 and len(tagged(board, "restore")) == 1
    assert not tagged(board, "task")


def test_no_secret_is_logged_and_the_heap_suffices(make: Make) -> None:
    board = make(node_json={**NODE_JSON, "heartbeat_s": 0, "wifi": [{"ssid": "market", "psk": "secret12"}]})
    board.power_on()
    board.run_for(60)
    text = "\n".join(line.text for line in board.log_lines)
    assert "heartbeat_s" in text
    for secret in ("secret12", "hush-hush", "c" * 22, bytes(range(16)).hex()):
        assert secret not in text
    assert json.dumps(NODE_JSON["broker"]) not in text


def test_event_kinds_of_the_log_are_those_of_the_wire() -> None:
    assert kinds.FAULT_NAMES[kinds.FAULT_TASK] == "task_crash"
