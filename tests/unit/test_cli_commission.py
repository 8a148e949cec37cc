"""`bongsu device commission` and `device record` as they are typed: usage, lines a port, reports, without a board."""

import errno
import io
import itertools
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bongsu.cli import commission_report, commission_run, outfit, port_lines
from bongsu.errors import BongsuError
from bongsu.install import esptool, ports
from bongsu.install.batch import Wanted
from bongsu.install.bench import Labels
from bongsu.install.commission import Assign, Outcome, Place, Status, StepTaken
from bongsu.install.ports import Port
from bongsu.receiver import commissioning
from tests.registry_parts import NODE, NOW_MS, Ran, bongsu, fill, new_store, on_this_engine

NEW = "a0b1c2d3e400"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "m"
    monkeypatch.setenv("BONGSU_DATA", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert bongsu("init", *on_this_engine(folder)).code == 0
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "broker.port").write_text("8883")
    with new_store(folder) as store:
        fill(store)
    return folder


def commission(*args: object) -> Ran:
    return bongsu("device", "commission", "--port", "socket://127.0.0.1:9", *args)


# ---- usage


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Say where it goes"),
        (("--unit", "hannae/a-07", "--qr", "bongsu:1::hannae/a-07"), "Say where it goes"),
        (("--unit", "hannae/a-07", "--port", "socket://127.0.0.1:10"), "Several ports need a list"),
        (("--qr", "https://example.org"), "not the QR code of a label"),
        (("--qr", f"bongsu:1:{NODE}:"), "The label names no unit"),
        (("--unit", "hannae/a-07", "--label-size", "12"), "no label size"),
        (("--batch", "l.csv", "--label-out", "label.png"), "takes one label only"),
        (("--unit", "hannae/a-07", "--sensor", "thermo"), "thermo"),
        (("--unit", "hannae/a-07", "--profile", "sauna"), "sauna"),
        (("--unit", "hannae/a-07", "--minutes", "16"), "--minutes"),
        (("--unit", "hannae/a-07", "--label-out", "labels.gif"), "none of .png, .pdf, .ql"),
    ],
)
def test_what_can_never_be_right_is_usage(data: Path, args: tuple[str, ...], said: str) -> None:
    ran = commission(*args)
    assert ran.code == 2 and said in ran.err, ran.err


def test_a_unit_that_several_fit_is_listed(data: Path) -> None:
    ran = commission("--unit", "a-0")
    assert ran.code == 1 and '2 units fit "a-0": hannae/a-07 봉수 떡집; hannae/a-08 Fish' in ran.err
    assert "next: Name one by its address" in ran.err
    ran = commission("--unit", "z-99", "--site", "hannae")
    assert ran.code == 1 and 'no unit of site hannae is called "z-99"' in ran.err


def test_a_port_at_which_nobody_listens_is_told_with_its_next_step(data: Path) -> None:
    ran = commission("--unit", "hannae/a-08", "--skip-flash", "--json")
    assert ran.code == 1 and "nothing listens there" in ran.err and "next: Start the rig" in ran.err
    row = json.loads(ran.out)
    assert (row["done"], row["record"], row["error"]["step"]) == (False, None, "find")
    assert json.loads(bongsu("device", "record", "--json").out)["records"] == []


def test_a_port_that_may_not_be_opened_is_told_with_its_next_step(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def identify(url: str) -> None:
        raise ports.explain(url, PermissionError(errno.EACCES, "Permission denied"))

    monkeypatch.setattr(esptool, "identify", identify)
    ran = commission("--unit", "hannae/a-08")
    assert ran.code == 1 and "no permission to open it" in ran.err and "next: Join its group" in ran.err
    assert json.loads(bongsu("device", "record", "--json").out)["records"] == []
    assert [n["node"] for n in json.loads(bongsu("node", "list", "--json").out)] == [NODE]


@pytest.mark.parametrize("words", [("commission", "--unit", "hannae/a-08"), ("provision", "--unit", "hannae/a-08")])
def test_a_board_of_copper_is_not_sent_to_itself(
    data: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """A receiver as it is made for a try is at 127.0.0.1: the board would be waited for in vain."""
    monkeypatch.setattr(ports, "pick", lambda url: ports.Port("/dev/ttyUSB0", ""))
    ran = bongsu("device", *words, "--wifi", "market")
    assert ran.code == 1 and "which is the board itself" in ran.err and "--broker-ip" in ran.err
    ran = bongsu("device", *words, "--wifi", "market", "--broker-ip", "192.0.2.10")
    assert "which is the board itself" not in ran.err


def test_a_list_with_faults_begins_nothing(data: Path, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("unit,mac\nhannae/z-9,\na-07,12\n")
    ran = commission("--batch", tmp_path / "l.csv")
    assert ran.code == 1 and "2 faults, nothing was begun" in ran.err
    assert "no unit hannae/z-9" in ran.out and "12 hex digits" in ran.out
    assert commission("--batch", tmp_path / "nowhere.csv").code == 1
    (tmp_path / "l.csv").write_text("unit,mac\na-07,12\n")
    ran = commission("--batch", tmp_path / "l.csv", "--site", "hannae", "--json")
    assert ran.code == 1 and "1 fault, nothing was begun" in ran.err
    said = json.loads(ran.out)
    assert (said["done"], said["rows"], [(f["line"], f["column"]) for f in said["faults"]]) == (False, [], [(2, "mac")])


def test_a_list_of_which_no_board_is_there_says_what_is_left(data: Path, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(f"unit,mac\nhannae/a-07,{NODE}\na-08,\n")
    ran = commission("--batch", tmp_path / "l.csv", "--skip-flash", "--port", "socket://127.0.0.1:10")
    assert ran.code == 1 and "2 of 2 are not done" in ran.err and "0 of 2 are done" in ran.out
    assert "\nsocket://127.0.0.1:9: nothing listens there" in ran.out and "socket://127.0.0.1:10: " in ran.out
    assert "next for socket://127.0.0.1:10, socket://127.0.0.1:9: Start the rig" in ran.out
    ran = commission("--batch", tmp_path / "l.csv", "--skip-flash", "--json")
    rows = json.loads(ran.out)["rows"]
    assert [(r["line"], r["unit"], r["state"], r["done"]) for r in rows] == [
        (2, "hannae/a-07", "not begun", False),
        (3, "hannae/a-08", "not begun", False),
    ]


def test_a_list_that_is_done_needs_no_board(data: Path, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("unit\nhannae/a-07\n")
    _record(data, done=True)
    ran = commission("--batch", tmp_path / "l.csv")
    assert ran.code == 0 and "done before" in ran.out and "1 of 1 are done" in ran.out


def test_ctrl_c_at_a_port_that_waits_for_a_board_ends_with_report_and_labels(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is how a day ends on which not all boards were fitted."""
    (tmp_path / "l.csv").write_text("unit\nhannae/a-07\nhannae/a-08\n")

    def at_port(job: object, port: str, assign: Assign, *_: object) -> Outcome:
        unit = assign(NODE, None).address
        return Outcome(port, NODE, unit, record=1, steps=[StepTaken("record", "done", 1, "")])

    def wait(_device: Path, _is_left: object, pause: Callable[[float], None]) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            pause(0.01)

    made: list[str] = []
    monkeypatch.setattr(ports, "pick", lambda url: Port(url, ""))
    monkeypatch.setattr(outfit, "require_way", lambda *_: None)
    monkeypatch.setattr(commission_run, "_at_port", at_port)
    monkeypatch.setattr(commission_run, "_await_another", wait)
    monkeypatch.setattr(Labels, "save_all", lambda self, texts: made.extend(text.node_id for text in texts))
    words = ("--port", tmp_path / "ttyUSB0", "--batch", tmp_path / "l.csv", "--label-out", tmp_path / "labels.pdf")
    ran = bongsu("device", "commission", *words)
    assert ran.code == 130 and "interrupted: 1 of 2 are not done\n  next: Run it again" in ran.err
    assert "1 of 2 are done" in ran.out and "not begun" in ran.out and made == [NODE]


def test_a_port_stops_waiting_when_other_ports_left_nothing_for_it(tmp_path: Path) -> None:
    """Whether the board that is done is still there, or is out."""
    device = tmp_path / "ttyUSB0"
    for _ in range(2):
        left = itertools.chain([True, True], itertools.repeat(False))
        assert not commission_run._await_another(device, lambda left=left: next(left), lambda seconds: None)
        device.touch()
    assert commission_run._await_another(device, lambda: True, lambda seconds: _swap(device))


def _swap(device: Path) -> None:
    device.unlink() if device.exists() else device.touch()


def test_a_board_that_is_at_two_ports_is_done_at_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "l.csv").write_text("unit\nhannae/a-07\nhannae/a-08\n")
    both = threading.Barrier(2, timeout=10)

    def at_port(job: object, port: str, assign: Assign, *_: object) -> Outcome:
        both.wait()
        try:
            unit = assign(NODE, None).address
            return Outcome(port, NODE, unit, record=1, steps=[StepTaken("record", "done", 1, "")])
        except BongsuError as err:
            return Outcome(port, error=err)
        finally:
            both.wait()

    monkeypatch.setattr(ports, "pick", lambda url: Port(url, ""))
    monkeypatch.setattr(outfit, "require_way", lambda *_: None)
    monkeypatch.setattr(commission_run, "_at_port", at_port)
    ran = commission("--port", "socket://127.0.0.1:10", "--batch", tmp_path / "l.csv")
    assert ran.code == 1 and "1 of 2 are done" in ran.out and f"{NODE} is being worked on at socket://" in ran.out


def test_ctrl_c_at_one_board_says_that_it_goes_on(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def at_port(*_: object) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(commission_run, "_at_port", at_port)
    ran = commission("--unit", "hannae/a-07")
    assert ran.code == 130 and "interrupted: socket://127.0.0.1:9: commissioning is not done" in ran.err
    assert "it goes on from where the board and the store are" in ran.err


# ---- records


def _record(data: Path, *, done: bool = False) -> None:
    with new_store(data) as store, store.write() as conn:
        how = {"board": "esp32-devkitc", "installer": "kim", "version": "0.1", "now_ms": NOW_MS}
        number = commissioning.begin(conn, NODE, unit=("hannae", "a-07"), **how)
        for step in commissioning.STEPS[:-1] if done else ("find",):
            commissioning.note(conn, number, step, "done", at_ms=NOW_MS, took_ms=1500, said=f"said of {step}")
        if done:
            commissioning.finish(conn, number, actor="kim", now_ms=NOW_MS)


def test_records_show_what_is_not_done(data: Path) -> None:
    assert "No records." in bongsu("device", "record").err
    assert bongsu("device", "record", NODE).code == 1
    _record(data)
    text = bongsu("device", "record", "--site", "hannae", "--open").out
    assert "flash, register, provision, measure, walk test, label, record" in text
    assert "Units without a commissioned node: hannae/a-07, hannae/a-08" in text
    _record(data, done=True)
    whole = bongsu("device", "record", NODE).out
    assert "said of provision" in whole and "1.5 s" in whole and "walk test" in whole
    assert "Nothing that is begun" in bongsu("device", "record", "--open").err
    found = json.loads(bongsu("device", "record", "--site", "hannae", "--json").out)
    assert found["units_left"] == ["hannae/a-08"] and found["records"][0]["left"] == []
    assert bongsu("device", "record", "--site", "elsewhere").code == 1


# ---- lines a port


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def status(port: str = "p0", step: str = "flash", state: str = "working", **more: Any) -> Status:
    return Status(port, step, state, **more)


def test_a_pipe_gets_a_line_for_what_is_new_and_a_terminal_one_line_a_port() -> None:
    said = [
        status(said="write", done=1, total=100),
        status(said="write", done=50, total=100),
        status("p1", "find", said="identify the chip"),
        status(state="done", said="mp.bin"),
    ]
    pipe, terminal = io.StringIO(), Terminal()
    for stream in (pipe, terminal):
        lines = port_lines.PortLines(["p0", "p1"], stream)
        for one in said:
            lines.show(one)
        lines.tell("p0", "unplug it")
    assert pipe.getvalue().splitlines() == [
        "p0  flash: write",
        "p1  find: identify the chip",
        "p0  flash done: mp.bin",
        "p0  unplug it",
    ]
    drawn = terminal.getvalue()
    assert drawn.count("\033[2A") == 4  # each time both lines anew, but for the first
    assert "p0  flash [##########..........] write" in drawn
    assert drawn.split("\033[2A")[-1] == "\r\033[Kp0  unplug it\n\r\033[Kp1  find: identify the chip\n"


def test_no_line_is_longer_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    port_lines.PortLines(["p0"], terminal).show(status(said="가" * 40))
    assert terminal.getvalue() == "\r\033[Kp0  flash: 가가가가\n"


# ---- reports


def test_the_report_of_a_list_says_of_each_line_what_became_of_it() -> None:
    wanted = [Wanted(n, Place(("hannae", f"a-0{n}"))) for n in range(2, 6)]
    wanted.append(Wanted(6, Place(("hannae", "a-06")), "a0b1c2d3e406"))
    good = Outcome("p0", NODE, "hannae/a-02", record=1, steps=[StepTaken("record", "done", 1, "")], took_ms=9000)
    bad = Outcome("p1", NEW, "hannae/a-03", steps=[StepTaken("flash", "failed", 5, "x")], error=BongsuError("no", "do"))
    stray = Outcome("p2", "a0b1c2d3e4ff", error=BongsuError("nothing in the list is left", ""))
    wanted.append(Wanted(7, Place(("hannae", "a-07"))))
    taken = {2: NODE, 3: NEW, 4: "a0b1c2d3e402", 7: "a0b1c2d3e407"}
    rows = commission_report.list_rows(wanted, taken, {4}, [good, bad, stray])
    assert [(r["state"], r["done"], r["node"]) for r in rows] == [
        ("done", True, NODE),
        ("not done: flash", False, NEW),
        ("done before", True, "a0b1c2d3e402"),
        ("not begun", False, None),
        ("not begun", False, "a0b1c2d3e406"),
        ("not done: stopped", False, "a0b1c2d3e407"),
    ]
    assert [row["why"] for row in rows[3:]] == [None, "this board was found at no port", None]
    assert (rows[1]["why"], rows[1]["next"]) == ("no", "do")
    text = commission_report.list_text(rows, commission_report.strays(taken, [good, bad, stray]))
    ends = [Outcome(port) for port in ("p3", "p1", "p2", "p1")]
    assert [end.port for end in commission_report.strays({}, ends)] == ["p1", "p1", "p2", "p3"]
    assert "2 of 6 are done" in text and "p2: nothing in the list is left" in text
    assert text.endswith("\nnext for line 3: do")
    assert [o.port for o in commission_report.strays({}, [stray, bad, good])] == ["p0", "p1", "p2"]
