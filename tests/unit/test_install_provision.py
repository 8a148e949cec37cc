"""Provisioning a board: a real board's files and NVS (tests/board_bench.py), a real store, and a node that beats when
it is told to.
"""

import dataclasses
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Connection, select, update

from bongsu.errors import BongsuError
from bongsu.install import application, on_board
from bongsu.install.application import Application, File
from bongsu.install.boards import BoardError
from bongsu.install.identity_blobs import ctr, ident
from bongsu.install.link import BoardLink
from bongsu.install.provision import STEPS, Network, Provisioned, ProvisionError, Request, provision
from bongsu.install.silence import Complaints
from bongsu.install.transfer import Files, FlashFull
from bongsu.receiver import enrolment, keys, registry
from bongsu.receiver.enrolment import Enrolment
from bongsu.receiver.provision import BrokerAddress
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import Store, schema
from tests.board_bench import MAC, Bench, PowerCut, blank, formatted
from tests.registry_parts import NOW_MS, fill, new_store

UNIT = ("hannae", "a-08")
WIFI = (Network("market", "wifi passphrase"), Network("guests"))
REQUEST = Request(board="esp32-devkitc", wifi=WIFI, wait_s=5)
APP = Application(
    lib=(File.of("/lib/one.mpy", b"one" * 100), File.of("/lib/two/__init__.mpy", b"two")),
    boot=File.of("/boot.py", b"# boot"),
    main=File.of("/main.py", b"# main"),
    hash="the application's",
    mpy=6,
)


class Undone(Exception):
    """A transaction is tried only."""


class Killed(BaseException):
    """The program ends here."""


@pytest.fixture(autouse=True)
def _small_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "application", lambda: APP)
    monkeypatch.setattr(enrolment, "ask_state", lambda data: {"ok": True})


class Town:
    """A store with a market, whose clock goes on a minute a look. `master`: of its installation."""

    def __init__(self, store: Store, master: bytes = bytes(32)) -> None:
        self.store = store
        self.master = keys.MasterKey(master)
        self.now_ms = NOW_MS
        self.enrolment = Enrolment(
            reading=store.read,
            writing=store.write,
            trying=self._trying,
            master=self.master,
            broker=BrokerAddress("192.0.2.1", 8883),
            ca_der=b"a certificate",
            data=Path("/nowhere"),
            alone=True,
            actor="test",
            now_ms=self._later,
        )

    def _later(self) -> int:
        self.now_ms += 60_000
        return self.now_ms

    @contextmanager
    def _trying(self) -> Iterator[Connection]:
        try:
            with self.store.write() as conn:
                yield conn
                raise Undone
        except Undone:
            pass

    def hears(self, bench: Bench) -> Callable[[], None]:
        """What comes of a restart of this board: it begins with the counter that it had promised itself, and the
        receiver takes a heartbeat under the key that it has.
        """

        def restarted() -> None:
            if "ident" not in bench.nvs:
                return  # it is no node yet
            _, epoch, counter, event = struct.unpack("<BBII", bench.nvs["ctr"])
            bench.write_nvs(ctr=struct.pack("<BBII", 1, epoch, counter + 256, event))
            self.takes(epoch, counter, -61)

        return restarted

    def takes(self, epoch: int, counter: int, rssi_dbm: int) -> None:
        """The receiver's part of a heartbeat."""
        window, live = schema.node_window, schema.node_live
        with self.store.write() as conn:
            keys.activate(conn, MAC, epoch, self.now_ms)
            conn.execute(window.delete().where(window.c.node_id == MAC, window.c.epoch == epoch))
            conn.execute(window.insert().values(node_id=MAC, epoch=epoch, high=counter, bitmap=1))
            beat = {"boot_count": 1, "uptime_s": 3, "rssi_dbm": rssi_dbm}
            conn.execute(update(live).where(live.c.node_id == MAC).values(heartbeat=beat))

    def provision(self, bench: Bench, request: Request = REQUEST, heard: bool = True, **options: Any) -> Provisioned:
        """Provision the board, whose node then beats, if it is `heard`."""
        if heard:
            bench.on_restart = self.hears(bench)
        return provision(cast(BoardLink, bench), self.enrolment, request, **options)

    def key_states(self) -> dict[int, str]:
        """State by epoch."""
        c = schema.node_key.c
        with self.store.read() as conn:
            found = conn.execute(select(c.epoch, c.state).where(c.node_id == MAC))
            return {row.epoch: row.state for row in found}

    def key(self, epoch: int) -> bytes:
        """A usable one."""
        with self.store.read() as conn:
            found = {k.epoch: k.key for k in keys.usable_keys(conn, self.master, 0, MAC)}
        return found[epoch]

    def row(self) -> Any:
        """Of the node, None: not registered."""
        with self.store.read() as conn:
            return conn.execute(select(schema.node).where(schema.node.c.id == MAC)).mappings().first()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """With the board registered."""
    with new_store(tmp_path) as store:
        fill(store)
        yield Town(store)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A board as it is after flashing."""
    with Bench(formatted(tmp_path / "board")) as made:
        yield made


def node_json(bench: Bench) -> dict[str, Any]:
    """What is on the board."""
    found: dict[str, Any] = json.loads(bench.run("print(open('/node.json').read())"))
    return found


def test_a_blank_board_becomes_a_node(town: Town, bench: Bench) -> None:
    steps: list[str] = []
    made = town.provision(bench, progress=lambda step, done, total: steps.append(step))
    size = sum(len(file.content) for file in APP.files)
    assert (made.node_id, made.epoch, made.new_key, made.registered, made.reformatted) == (MAC, 1, True, False, False)
    assert (made.copied, made.files, made.app_hash, made.rssi_dbm) == (6, 6, APP.hash, -61) and made.bytes_copied > size
    assert made.heard_ms is not None and "ESP32" in made.machine
    assert tuple(dict.fromkeys(steps)) == tuple(step for step in STEPS if step != "format")
    document = node_json(bench)
    assert document["wifi"] == [{"ssid": "market", "psk": "wifi passphrase"}, {"ssid": "guests"}]
    assert (document["node"], document["unit"], document["role"]) == (MAC, "a-07", "node")
    on_it = Files(cast(Any, bench), unpacks=True).hashes("/lib", ["/boot.py", "/main.py", "/ca.der"])
    assert on_it == {file.path: file.sha256 for file in (*APP.files, File.of("/ca.der", b"a certificate"))}
    assert bench.nvs["ident"][2:] == town.key(1) and town.key_states() == {1: "active"}


def test_a_second_run_copies_nothing_and_keeps_the_key(town: Town, bench: Bench) -> None:
    """Also where it is not told the networks, and by another program."""
    town.provision(bench)
    before = (bench.nvs["ident"], bench.writes())
    for request in (REQUEST, Request(node_id=MAC, wait_s=5)):
        made = town.provision(bench, request)
        assert (made.epoch, made.new_key, made.bytes_copied, made.copied) == (1, False, 0, 0)
        assert (made.board, made.heard_ms is not None) == ("esp32-devkitc", True)
    assert bench.nvs["ident"] == before[0] and town.key_states() == {1: "active"}
    assert bench.writes() == before[1]


def test_settings_change_without_a_new_key(town: Town, bench: Bench) -> None:
    town.provision(bench)
    first = node_json(bench)
    made = town.provision(bench, dataclasses.replace(REQUEST, profile="home", role="gateway", reading_s=60))
    second = node_json(bench)
    assert (made.copied, made.new_key) == (1, False)
    assert (second["profile"], second["role"], second["reading_s"]) == ("home", "gateway", 60)
    assert second["provisioned_s"] > first["provisioned_s"] and second["wifi"] == first["wifi"]


def test_killed_anywhere_and_run_again(town: Town, bench: Bench, tmp_path: Path) -> None:
    """Before each script that the board runs; the next run ends with one key, and the store knows no other."""
    count = 0
    while True:
        board = formatted(tmp_path / f"killed-{count}", blocks=64)
        with Bench(board) as victim:
            left = iter(range(count))

            def kill_later(left: Iterator[int] = left, victim: Bench = victim) -> None:
                if next(left, None) is None:
                    victim.on_restart = lambda: None
                    raise Killed

            victim.before_run = kill_later
            try:
                town.provision(victim)
                break
            except Killed:
                victim.before_run = lambda: None
            made = town.provision(victim)
            assert victim.nvs["ident"][1] == made.epoch and victim.nvs["ident"][2:] == town.key(made.epoch)
            states = town.key_states()
            assert states.pop(made.epoch) == "active" and not {"active", "pending"} & set(states.values())
            assert town.provision(victim).bytes_copied == 0
        count += 1
    assert count > 15


def test_a_power_cut_while_the_key_is_written(town: Town, tmp_path: Path) -> None:
    """The board may have no key then; it gets another one, and only that one counts."""
    board = formatted(tmp_path / "board", blocks=64)
    with Bench(board) as first:
        before = first.writes()
        town.provision(first, heard=False, request=dataclasses.replace(REQUEST, wait_s=0))
        last = first.writes() - before
    assert town.key_states() == {1: "pending"}
    formatted(board, blocks=64)
    with Bench(board, cut_after=last) as cut, pytest.raises(PowerCut):
        cut.restart = lambda: None  # type: ignore[method-assign]
        town.provision(cut, heard=False)
    with Bench(board) as again:
        made = town.provision(again)
        assert again.nvs["ident"][1] == made.epoch
    assert [epoch for epoch, state in town.key_states().items() if state != "retired"] == [made.epoch]


def test_a_damaged_file_system_is_made_anew_and_said(town: Town, tmp_path: Path) -> None:
    steps: list[str] = []
    board = blank(tmp_path / "board")
    (board / "flash.img").write_bytes(b"\xa5" * (64 * 4096))
    with Bench(board) as bench:
        with pytest.raises(ProvisionError, match="no Wi-Fi network is named"):
            town.provision(bench, Request(board="esp32-devkitc"))
        assert on_board.read_facts(cast(Any, bench)).fs == "corrupt"  # nothing was done to it
        made = town.provision(bench, progress=lambda step, done, total: steps.append(step))
    assert made.reformatted and made.heard_ms and "format" in steps


def test_registering_by_the_way(town: Town, bench: Bench) -> None:
    with town.store.write() as conn:
        registry.remove_node(conn, MAC, actor="test", now_ms=NOW_MS)
    with pytest.raises(RegistryError, match="is not registered") as refused:
        town.provision(bench)
    assert "--unit" in refused.value.next_step
    with pytest.raises(RegistryError, match="z-99"):
        town.provision(bench, dataclasses.replace(REQUEST, unit=("hannae", "z-99")))
    assert town.row() is None
    made = town.provision(bench, dataclasses.replace(REQUEST, unit=UNIT, label="over the stove"))
    assert made.registered and (town.row()["unit_id"], town.row()["label"]) == ("a-08", "over the stove")
    assert not town.provision(bench, dataclasses.replace(REQUEST, unit=UNIT)).registered
    with town.store.write() as conn:
        registry.assign_node(conn, node_id=MAC, unit=None)
    town.provision(bench, dataclasses.replace(REQUEST, unit=UNIT))
    assert town.row()["unit_id"] == "a-08"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"node_id": "a0b1c2000009"}, "the board there is a0b1c2d3e4f5, not a0b1c2000009"),
        ({"board": "esp32-s3-devkitc-1"}, "has the chip esp32s3"),
        ({"board": "no-such"}, "there is no board"),
        ({"board": None}, "several boards have the chip esp32"),
        ({"unit": UNIT}, "is registered in hannae/a-07"),
        ({"wifi": ()}, "no Wi-Fi network is named"),
        ({"profile": "nonsense"}, "nonsense"),
        ({"sensors": ("mq7,pin=0,load_ohm=10000",)}, "mq7"),
    ],
)
def test_what_hinders_it_is_said_before_anything_is_done(
    town: Town, bench: Bench, change: dict[str, Any], says: str
) -> None:
    writes, row = bench.writes(), town.row()
    with pytest.raises(BongsuError, match=says) as refused:
        town.provision(bench, dataclasses.replace(REQUEST, **change))
    assert refused.value.next_step
    assert bench.writes() == writes and town.row() == row and town.key_states() == {} and bench.restarts == 1


def test_a_retired_board_stays_retired(town: Town, bench: Bench) -> None:
    with town.store.write() as conn:
        registry.retire_node(conn, node_id=MAC)
    with pytest.raises(RegistryError, match="is retired"):
        town.provision(bench, dataclasses.replace(REQUEST, unit=UNIT))
    assert town.row()["unit_id"] is None


def test_a_full_flash_changes_nothing(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on the board nor in the store: a board that --unit would have registered is none of ours."""
    noise = bytes(i * i * 7919 >> 8 & 0xFF for i in range(60 * 4096))
    with Bench(formatted(tmp_path / "board", blocks=64)) as bench:
        town.provision(bench)
        with town.store.write() as conn:
            registry.retire_node(conn, node_id=MAC)
            conn.execute(schema.node_key.delete())
            conn.execute(schema.node_window.delete())
            registry.remove_node(conn, MAC, actor="test", now_ms=NOW_MS)
        before = Files(cast(Any, bench), unpacks=True).hashes("/lib", ["/boot.py", "/main.py", "/node.json"])
        bigger = dataclasses.replace(APP, lib=(*APP.lib, File.of("/lib/big.mpy", noise)))
        monkeypatch.setattr(application, "application", lambda: bigger)
        bench.on_restart = lambda: None
        with pytest.raises(FlashFull, match="is full"):
            town.provision(bench, dataclasses.replace(REQUEST, unit=UNIT), heard=False)
        assert Files(cast(Any, bench), unpacks=True).hashes("/lib", ["/boot.py", "/main.py", "/node.json"]) == before
    assert town.row() is None and town.key_states() == {}


def test_the_key_of_another_installation_is_not_ours(town: Town, bench: Bench, tmp_path: Path) -> None:
    """Though its epoch is the one that our store has: the board proves which key it has."""
    (tmp_path / "other").mkdir()
    with new_store(tmp_path / "other") as store:
        fill(store)
        other = Town(store, master=b"m" * 32)
        other.provision(bench)
        theirs = other.key(1)
    with town.store.write() as conn:
        keys.make_node_key(conn, town.master, MAC, NOW_MS)
    made = town.provision(bench)
    assert (made.epoch, made.new_key) == (2, True) and bench.nvs["ident"][2:] == town.key(2) != theirs
    assert made.taken_over


@pytest.mark.parametrize("gone", [False, True])
def test_a_key_of_ours_is_taken_over_from_nobody(town: Town, bench: Bench, gone: bool) -> None:
    """Though it is retired: a blank board, and one whose rotation was overtaken. A backup that never knew it does."""
    assert not town.provision(bench).taken_over
    with town.store.write() as conn:
        keys.make_node_key(conn, town.master, MAC, NOW_MS)
        if gone:
            conn.execute(schema.node_key.delete())
        else:
            conn.execute(update(schema.node_key).values(state="retired"))
    made = town.provision(bench, heard=False, request=dataclasses.replace(REQUEST, wait_s=0))
    assert made.new_key and made.taken_over == gone


@pytest.mark.parametrize(("epoch", "next_epoch"), [(4, 5), (keys.EPOCH_MAX, 1)])
def test_no_epoch_comes_twice_on_a_board(town: Town, bench: Bench, epoch: int, next_epoch: int) -> None:
    """By it a node tells which of its unreceipted events need a fresh number: an alarm of before a backup was restored
    would give way to the first event under another key of the same epoch. (A board that has used up all begins anew.)
    """
    town.provision(bench)
    bench.write_nvs(ident=ident(epoch, b"k" * 16), ctr=ctr(epoch))
    with town.store.write() as conn:
        conn.execute(schema.node_key.delete())
    made = town.provision(bench, heard=False, request=dataclasses.replace(REQUEST, wait_s=0))
    assert made.taken_over and made.epoch == bench.nvs["ident"][1] == next_epoch


def test_a_key_that_waits_for_a_rotation_is_overtaken(town: Town, bench: Bench) -> None:
    town.provision(bench)
    with town.store.write() as conn:
        keys.make_node_key(conn, town.master, MAC, NOW_MS)
    made = town.provision(bench)
    assert made.epoch == 3 and town.key_states() == {1: "old", 2: "retired", 3: "active"}


def test_a_heartbeat_of_before_the_restart_does_not_count(town: Town, bench: Bench) -> None:
    """The receiver may write one late. What the node complains of is said, without its secrets."""
    town.provision(bench)
    password = node_json(bench)["broker"]["password"]

    bench.on_restart = lambda: town.takes(1, 200, -40)
    bench.log = ["12 I boot cause=hard", f"900 W wifi err=wifi passphrase {password}", "a traceback"]
    with pytest.raises(ProvisionError, match=r"was not heard in 0 s; it says: wifi err=\*\*\* \*\*\*") as silent:
        town.provision(bench, dataclasses.replace(REQUEST, wait_s=0.2), heard=False)
    assert "bongsu device logs" in silent.value.next_step


@pytest.mark.parametrize(
    ("log", "said", "step"),
    [
        (
            ["wifi unjoined net=0 status=202", "wifi restart=1"],
            'Wi-Fi network "market" refuses the passphrase',
            "--wifi",
        ),
        (["wifi unjoined net=1 status=201"], 'Wi-Fi network "office" is not to be found', "2.4 GHz"),
        (["wifi unjoined net=7 status=203"], "Wi-Fi network 8 does not let it in (status 203)", "--wifi"),
        (
            ["mqtt state=down why=EHOSTUNREACH retry_ms=1"],
            "the broker is not reached (EHOSTUNREACH)",
            "--broker-ip",
        ),
        (["mqtt may_connect=1"], "mqtt may_connect=1", "Look at its log"),
    ],
)
def test_a_node_that_gets_nowhere_says_why_and_what_to_do(
    town: Town, bench: Bench, log: list[str], said: str, step: str
) -> None:
    wifi = (Network("market", "wrong passphrase"), Network("office"))
    bench.log = [f"{i} W {line}" for i, line in enumerate(log)]
    with pytest.raises(ProvisionError) as silent:
        town.provision(bench, dataclasses.replace(REQUEST, wifi=wifi, wait_s=0.2), heard=False)
    assert silent.value.message.endswith(said) and step in silent.value.next_step
    assert "bongsu device logs" in silent.value.next_step


def test_networks_that_all_refuse_it_end_the_wait(town: Town, bench: Bench) -> None:
    """Long before its end; and what the node complains of again and again is said meanwhile."""
    said: list[str] = []
    wifi = (Network("market", "wrong passphrase"), Network("office", "wrong passphrase"))
    bench.log = [f"1 W wifi unjoined net={net} status={status}" for net, status in ((0, 202), (0, 15), (1, 204))]
    with pytest.raises(ProvisionError) as refused:
        town.provision(
            bench,
            dataclasses.replace(REQUEST, wifi=wifi, wait_s=3600),
            heard=False,
            progress=lambda step, done, total: said.append(step),
        )
    for ssid in ("market", "office"):
        assert f'Wi-Fi network "{ssid}" refuses the passphrase' in refused.value.message
    assert "--wifi SSID=FILE" in refused.value.next_step
    assert said[-1].startswith("heartbeat: Wi-Fi network") and "wrong passphrase" not in "".join(said)


def test_one_network_that_may_still_let_it_in_is_waited_for() -> None:
    """One that is not there yet, or a handshake that was lost between; and once it is in, nothing counts any more."""

    def heard(*lines: str, networks: int = 2) -> Complaints:
        made = Complaints(["market"], networks)
        for line in lines:
            made.hear(f"1 {line}")
        return made

    refuses, absent = "W wifi unjoined net=0 status=202", "W wifi unjoined net=1 status=201"
    assert not heard(*[refuses, absent] * 9).refused
    assert heard(*[refuses] * 3, networks=1).refused == 'Wi-Fi network "market" refuses the passphrase'
    assert not heard(*[refuses] * 2, "W wifi unjoined net=0 status=201", *[refuses] * 2, networks=1).refused
    joined = heard(*[refuses] * 9, "I wifi state=up", networks=1)
    assert (joined.refused, joined.words, joined.said) == ("", "", "")
    assert (heard(refuses).said, heard(refuses, "W wifi restart=1", refuses).said) == (
        "", 'Wi-Fi network "market" refuses the passphrase',
    )  # fmt: skip
    assert not heard(networks=0).refused and not heard("W wifi restart=1", "W wifi restart=1").said


def test_without_a_receiver_nobody_waits(town: Town, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "ask_state", lambda data: None)
    with pytest.raises(ProvisionError, match="is provisioned, and nobody hears it: no receiver runs"):
        town.provision(bench)
    assert bench.nvs["ident"][2:] == town.key(1)
    made = town.provision(bench, dataclasses.replace(REQUEST, wait_s=0))
    assert (made.heard_ms, made.rssi_dbm, made.new_key) == (None, None, False)


def test_no_secret_is_in_what_may_be_shown(town: Town, bench: Bench) -> None:
    made = town.provision(bench)
    broker = node_json(bench)["broker"]
    with town.store.write() as conn:
        orders = town.enrolment._settle(conn, MAC, REQUEST, town.enrolment.board(REQUEST, "esp32", None), None)
    shown = f"{REQUEST!r} {made!r} {orders!r} {town.enrolment!r}"
    for secret in (
        "wifi passphrase",
        broker["password"],
        broker["client_id"],
        town.key(1).hex(),
        repr(town.key(1))[2:-1],
    ):
        assert secret not in shown


def test_the_board_is_chosen_where_the_chip_leaves_no_choice(town: Town) -> None:
    choose = town.enrolment.board
    assert choose(Request(), "esp32c3", None).name == "esp32-c3-devkitm-1"
    assert choose(Request(role="gateway"), "esp32", None).role == "gateway"
    assert choose(Request(), "esp32", "m5stack-atom-lite").name == "m5stack-atom-lite"
    with pytest.raises(BoardError, match="no board is known with the chip 'esp32p4'"):
        choose(Request(), "esp32p4", "esp32-devkitc")
