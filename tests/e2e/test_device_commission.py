"""`bongsu device commission` on the rig: a blank board behind a serial port, the real esptool, a real receiver, and a
phone and a station that say what they got.
"""

import contextlib
import json
import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bongsu.receiver import keys
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.receiver.store import open_store, schema
from tests import postgres_parts, small_disk
from tests.receiver_parts import SITE
from tests.rig_parts import Rig, rig
from tests.works_parts import DEADLINE_S, Ran, Works, works

# How many runs are killed in all, and on how many boards at a time. More of them: BONGSU_COMMISSION_KILLS=200.
KILLS = int(os.environ.get("BONGSU_COMMISSION_KILLS", "20"))
AT_A_TIME = 2
# A whole run takes some 30 s here, one that goes on some 10: kills fall on all of it.
KILL_WITHIN_S = (0.3, 16.0)
SPEED = 10
SHOPS = 40
STEPS = ["find", "flash", "register", "provision", "measure", "walk_test", "label", "record"]
WHY_NO_DISK = small_disk.missing()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    """One for all tests here: each has units and boards of its own."""
    with works(tmp_path_factory.mktemp("works"), SHOPS) as made:
        yield made


def mac_of(unit: str) -> str:
    return f"a0b1c2d4{int(unit.removeprefix('u-')):04x}"


@contextlib.contextmanager
def board(folder: Path, unit: str, **options: Any) -> Iterator[Rig]:
    """A blank board for a unit."""
    with rig(folder / unit, mac=mac_of(unit), **{"speed": SPEED, **options}) as made:
        yield made


def node_rows(market: Works, node: str) -> list[Any]:
    return [row for row in market.rows(schema.node) if row.id == node]


def records(market: Works, node: str) -> list[Any]:
    return [row for row in market.rows(schema.commissioning) if row.node_id == node]


def is_commissioned(market: Works, unit: str) -> None:
    """In service, once: registered once, one usable key, one record, one text to the owner, nothing to responders."""
    node = mac_of(unit)
    assert [(row.site_id, row.unit_id, row.state) for row in node_rows(market, node)] == [(SITE, unit, "provisioned")]
    assert [state for _, state in market.keys(node) if state != "retired"] == ["active"]
    (record,) = records(market, node)
    assert record.done_ms is not None and list(sorted(record.steps)) == sorted(STEPS)
    (text,) = market.texts(unit)
    assert text.startswith("[훈련]") and text.endswith("화재 아님")
    assert market.reports() == []


def secrets_of(market: Works, node: str) -> list[str]:
    """All that must be said nowhere: keys of the node, its login at the broker."""
    store, master = open_store(postgres_parts.store_url(market.data)), load_master(market.data / MASTER_KEY_NAME)
    try:
        with store.read() as conn:
            (login,) = keys.broker_logins(conn, master, node)
            raw = [key.key for key in keys.usable_keys(conn, master, 0, node)]
    finally:
        store.close()
    return [login.password, login.client_id, *(key.hex() for key in raw), *(repr(key)[2:-1] for key in raw)]


class Processes(threading.Thread):
    """Notes the command lines of a process and of all that it starts, as long as it runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(process.pid)
        self.lines: set[str] = set()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(psutil.Error):
            while self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
                for one in (self._process, *self._process.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        self.lines.add(" ".join(one.cmdline()))
                time.sleep(0.05)


def test_from_blank_to_commissioned_in_one_command(market: Works, tmp_path: Path) -> None:
    unit, secret = "u-0", "pass4market"
    (tmp_path / "wifi.txt").write_text(secret)
    label, node = tmp_path / "label.png", mac_of(unit)
    with board(tmp_path, unit, wifi=f"market={secret}") as r:
        wifi = f"market={tmp_path / 'wifi.txt'}"
        words = market.words(r.url, unit, "--auto", "--label-out", label, wifi=wifi)
        process = market.start(*words)
        seen = Processes(process)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
        row = json.loads(out)
        assert [step["step"] for step in row["steps"]] == STEPS
        assert {step["state"] for step in row["steps"]} == {"done"} and row["done"]
        assert all(step["took_ms"] >= 0 for step in row["steps"])
        print({step["step"]: step["took_ms"] for step in row["steps"]}, "of", row["took_ms"], "ms")
        is_commissioned(market, unit)
        (record,) = records(market, node)
        assert record.image == "small.bin" and len(record.image_sha256) == len(record.app_sha256) == 64
        assert (record.rssi_dbm, record.key_epoch) == (-55, 1) and record.round_trip_ms is not None
        assert label.read_bytes().startswith(b"\x89PNG")
        assert any("esptool" in line for line in seen.lines)
        everything = out + err + "".join(seen.lines) + market.run("device", "record", node, "--json").out
        everything += "".join(market.receiver.lines)
        for word in (secret, *secrets_of(market, node)):
            assert word not in everything

        again = market.run(*words)
        assert again.code == 0, again.err
        states = {step["step"]: (step["state"], step["said"]) for step in again.row["steps"]}
        assert states["flash"] == ("already", "small.bin, your own image")
        assert states["provision"] == ("already", "0 kB copied, key epoch 1")
        assert {states[step][0] for step in ("register", "measure", "walk_test", "record")} == {"already"}
        is_commissioned(market, unit)


def test_the_button_of_the_node_is_the_walk_test(market: Works, tmp_path: Path) -> None:
    unit = "u-1"
    with board(tmp_path, unit, flashed=True) as r:
        process = market.start(*market.words(r.url, unit, "--skip-flash"))
        assert process.stderr is not None
        said = ""
        while "press the node's test button" not in said:
            said = process.stderr.readline()
            assert said, process.communicate()
        assert market.texts(unit) == []
        r.say(press=[27, 200])
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
        is_commissioned(market, unit)
        r.say(press=[27, 200])  # without a walk test it tells nobody
        end = time.monotonic() + 20
        while not [e for e in market.rows(schema.event) if e.node_id == mac_of(unit) and e.number == 2]:
            assert time.monotonic() < end
            time.sleep(0.1)
        is_commissioned(market, unit)


# ---- killed anywhere


class Killer(threading.Thread):
    """Commissions board after board, and kills the runs: `kills` of them. What was not right is in `wrong`."""

    def __init__(self, market: Works, folder: Path, units: list[str], kills: int, seed: int) -> None:
        super().__init__(name=f"killer {seed}")
        self._market, self._folder, self._units, self._left = market, folder, units, kills
        self._chance = random.Random(seed)
        self.boards: list[str] = []
        self.log: list[str] = []
        self.wrong: BaseException | None = None

    def run(self) -> None:
        try:
            while self._left or not self.boards:
                unit = self._units.pop(0)
                with board(self._folder, unit) as r:
                    self._until_done(r, unit)
                self.boards.append(unit)
        except BaseException as err:
            self.wrong = err

    def _until_done(self, r: Rig, unit: str) -> None:
        for _ in range(100):
            kill_s = self._chance.uniform(*KILL_WITHIN_S) if self._left else None
            ran = self._market.commission(r.url, unit, "--auto", kill_after_s=kill_s)
            at = ran.err.strip().splitlines()[-1][:160] if ran.err.strip() else "before its first word"
            self.log.append(f"{unit} {f'{kill_s:.1f} s' if kill_s else 'whole'} -> {ran.code}: {at}")
            assert not _esptools(r.url), "esptool lives on without us"
            if ran.code == 0:
                return
            assert ran.code == -9, ran.err  # what was killed before hinders nothing
            self._left -= 1
        raise AssertionError("it never ends")


def _esptools(url: str) -> list[psutil.Process]:
    """Programs that have the board's port, a moment after ours has gone."""
    end = time.monotonic() + 5
    while True:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "esptool" in words and url in words and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.05)


@pytest.mark.timeout(120 + 20 * KILLS)
def test_killed_at_random_moments_and_run_again_it_ends_commissioned_once(market: Works, tmp_path: Path) -> None:
    shares = [KILLS // AT_A_TIME + (i < KILLS % AT_A_TIME) for i in range(AT_A_TIME)]
    free = [f"u-{n}" for n in range(10, SHOPS)]
    killers = [Killer(market, tmp_path, free[i::AT_A_TIME], share, seed=4 + i) for i, share in enumerate(shares)]
    for killer in killers:
        killer.start()
    for killer in killers:
        killer.join()
    log = "\n".join(line for killer in killers for line in killer.log)
    print(log)
    for killer in killers:
        assert killer.wrong is None, f"{killer.wrong!r}\n{log}"
        for unit in killer.boards:
            is_commissioned(market, unit)
    steps = {found for line in log.splitlines() if (found := _step_of(line))}
    assert "-> -9" in log and len(steps) >= 2, f"the kills all fell on {steps}"


def _step_of(line: str) -> str | None:
    found = re.search(r"-> -9: .*\b(find|flash|register|provision|measure|walk test|label|record)\b", line)
    return found[1] if found else None


# ---- what is wrong


def nothing_of(market: Works, unit: str) -> None:
    """No trace of a board in the registry."""
    node = mac_of(unit)
    assert node_rows(market, node) == [] and market.keys(node) == [] and market.texts(unit) == []


def is_told(ran: Ran, said: str) -> None:
    assert ran.code == 1 and said in ran.err and "next: " in ran.err, ran.err
    assert ran.err.count("\nbongsu: ") + ran.err.startswith("bongsu: ") == 1 and "Traceback" not in ran.err


def test_another_board_another_unit_and_a_busy_port_are_told_and_leave_nothing(market: Works, tmp_path: Path) -> None:
    with board(tmp_path, "u-3", board="esp32-s3-devkitc-1") as r:
        ran = market.commission(r.url, "u-3", "--auto")
        is_told(ran, "the chip esp32")
        is_told(market.commission(r.url, "u-999", "--auto"), f"there is no unit {SITE}/u-999")
        r.say(fault={"busy": True})
        is_told(market.commission(r.url, "u-3", "--auto"), "is in use")
        nothing_of(market, "u-3")
        assert records(market, mac_of("u-3")) == []


def test_a_board_of_another_unit_stays_there(market: Works, tmp_path: Path) -> None:
    with board(tmp_path, "u-4", flashed=True) as r:
        assert market.run("node", "add", mac_of("u-4"), "--unit", f"{SITE}/u-5").code == 0
        ran = market.commission(r.url, "u-4", "--auto")
        is_told(ran, f"belongs to unit {SITE}/u-5, not to {SITE}/u-4")
        assert [row.unit_id for row in node_rows(market, mac_of("u-4"))] == ["u-5"]
        assert records(market, mac_of("u-4")) == [] and market.keys(mac_of("u-4")) == []


def test_a_cable_that_is_pulled_leaves_a_run_that_goes_on(market: Works, tmp_path: Path) -> None:
    unit = "u-6"
    with board(tmp_path, unit, flashed=True) as r:
        process = market.start(*market.words(r.url, unit, "--auto", "--skip-flash"))
        assert process.stderr is not None
        while "copy the application" not in (line := process.stderr.readline()):
            assert line
        r.say(cable="pull")
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 1 and "next: " in err, err
        assert json.loads(out)["error"]["step"] == "provision"
        (record,) = records(market, mac_of(unit))
        assert record.done_ms is None and record.steps["provision"]["state"] == "failed"
        assert market.texts(unit) == [] and market.keys(mac_of(unit)) in ([], [(1, "pending")])
        r.say(cable="plug")
        assert market.commission(r.url, unit, "--auto", "--skip-flash").code == 0
        is_commissioned(market, unit)


@pytest.mark.skipif(WHY_NO_DISK is not None, reason=str(WHY_NO_DISK))
def test_a_full_disk_is_told_and_leaves_nothing(market: Works, tmp_path: Path) -> None:
    """The cache, in which what goes onto the board is put together, is on a disk of 16 kB."""
    cache = tmp_path / "cache"
    cache.mkdir()
    small = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
             f'mount -t tmpfs -o size=16k tmpfs {cache} && XDG_CACHE_HOME={cache} exec "$@"', "sh")  # fmt: skip
    with board(tmp_path, "u-7") as r:
        ran = market.commission(r.url, "u-7", "--auto", before=small)
        is_told(ran, "No space left on device")
        nothing_of(market, "u-7")


# ---- a list


def test_a_list_at_two_ports_at_a_time_ends_with_what_is_not_done(market: Works, tmp_path: Path) -> None:
    rows = [f"{SITE}/u-8,{mac_of('u-8')}", f"{SITE}/u-9,", "가게 5,"]
    (tmp_path / "shops.csv").write_text("\n".join(("unit,mac", *rows)))
    with board(tmp_path, "u-8", flashed=True) as first, board(tmp_path, "u-9", flashed=True) as second:
        words = ("device", "commission", "--port", first.url, "--port", second.url, "--batch", tmp_path / "shops.csv")
        words += ("--board", "esp32-devkitc", "--wifi", "bongsu-rig", "--skip-flash", "--auto", "--site", SITE)
        words += ("--label-out", tmp_path / "labels.pdf")
        ran = market.run(*words, "--json")
        assert ran.code == 1 and "1 of 3 are not done" in ran.err, ran.err
        found = {row["unit"]: (row["done"], row["state"], row["node"]) for row in ran.row["rows"]}
        assert found == {
            f"{SITE}/u-8": (True, "done", mac_of("u-8")),
            f"{SITE}/u-9": (True, "done", mac_of("u-9")),
            f"{SITE}/u-5": (False, "not begun", None),
        }
        for unit in ("u-8", "u-9"):
            is_commissioned(market, unit)
        assert (tmp_path / "labels.pdf").read_bytes().startswith(b"%PDF")
        lines = [line for line in ran.err.splitlines() if line.startswith("rfc2217://")]
        assert {line.split()[0] for line in lines} == {first.url, second.url}
        again = market.run(*words, "--json")  # what is done is looked at once more, and stays as it is
        assert again.code == 1
        assert [(row["state"], row["done"]) for row in again.row["rows"]] == [
            ("done", True),
            ("done", True),
            ("not begun", False),
        ]
        for unit in ("u-8", "u-9"):
            is_commissioned(market, unit)
