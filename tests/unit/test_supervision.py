"""The receiver's watch over itself, part by part, with clocks that stand: canary, clock, disk, certificates, backlog,
faults of its own, metrics, systemd's unit.
"""

import datetime as dt
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, update

from bongsu.console.health import health
from bongsu.console.metrics import StateCollector
from bongsu.receiver import certificate_watch, certificates, disk, reasons, systemd
from bongsu.receiver.backlog import Lasting, Progress
from bongsu.receiver.canary import EVERY_MS, RENEW_EVERY_MS, Canary
from bongsu.receiver.clock import SystemClock
from bongsu.receiver.clock_watch import STANDS_MS, ClockWatch, StepWatch
from bongsu.receiver.config import SupervisionConfig
from bongsu.receiver.own_faults import Standing
from bongsu.receiver.state import DiskState, Histogram
from bongsu.receiver.store import schema
from tests.receiver_parts import Desk, desk

DAY_MS = 86_400_000


# ---- canary


def fly(canary: Canary, seconds: int, answered: bool, start_s: int, up: bool = True) -> list[str]:
    """Look once a second; what was done."""
    done = []
    for second in range(start_s, start_s + seconds):
        act = canary.look(second * 1000.0, up)
        if act is not None:
            done.append(act)
        if act == "send" and answered:
            canary.heard(canary.number, second * 1000.0 + 3)
    return done


def test_a_canary_every_10_s_and_its_round_trip() -> None:
    canary = Canary()
    assert fly(canary, 61, True, 0) == ["send"] * 6
    assert (canary.round_trip_ms, canary.missing, canary.lost) == (3.0, 0, False)


def test_two_missing_canaries_are_a_fault_and_a_new_session() -> None:
    canary = Canary()
    fly(canary, 5, True, 0)
    assert fly(canary, 20, False, 5) == ["send", "send"]
    assert not canary.lost
    assert fly(canary, 10, False, 25)[:1] == ["renew"]
    assert canary.lost
    assert fly(canary, 3, False, 35, up=False) == []
    assert canary.lost, "the fault stands until one comes back"
    fly(canary, 5, True, 38)
    assert not canary.lost


def test_a_link_that_is_down_loses_no_canary_but_the_one_under_way() -> None:
    canary = Canary()
    fly(canary, 11, True, 0)
    fly(canary, 1, False, 11)
    assert fly(canary, 300, False, 12, up=False) == []
    assert not canary.lost and canary.missing == 1
    fly(canary, 3, True, 312)
    canary.look(315_000.0, True)
    assert not canary.lost and canary.missing == 0


def test_a_broker_that_closes_the_connection_at_each_canary_is_a_fault() -> None:
    """NATS does so when it cannot store: connected for 5 s, away for 1 s, and again, as long as one looks."""
    canary = Canary()
    fly(canary, 5, True, 0)
    for start_s in range(11, 11 + 18, 6):
        fly(canary, 5, False, start_s)
        fly(canary, 1, False, start_s + 5, up=False)
    assert canary.lost


def test_a_receiver_that_stood_still_does_not_hold_it_against_the_broker() -> None:
    canary = Canary()
    fly(canary, 2, False, 0, up=False)
    assert canary.owed_since_ms == 0
    canary.look(61_000.0, True)
    assert canary.owed_since_ms == 61_000


def test_a_broker_that_lags_still_serves() -> None:
    """Each canary comes back, 15 s after it was sent."""
    canary, sent = Canary(), dict[int, int]()
    for second in range(200):
        for number, at_s in list(sent.items()):
            if second >= at_s + 15:
                canary.heard(number, second * 1000.0)
                canary.look(second * 1000.0, True)
                del sent[number]
        if canary.look(second * 1000.0, True) == "send":
            sent[canary.number] = second
        assert not canary.lost and canary.owed_since_ms is None
    assert canary.round_trip_ms == 15_000.0


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=30))
def test_the_broker_owes_a_proof_from_a_loss_of_the_link_until_a_canary_is_back(spans: list[tuple[int, bool]]) -> None:
    canary, second, owed_s = Canary(), 0, None
    for seconds, up in spans:
        for at_s in range(second, second + seconds):
            acts = fly(canary, 1, True, at_s, up)
            canary.look(at_s * 1000.0 + 4, up)
            if "send" in acts:
                owed_s = None
            elif owed_s is None and not up:
                owed_s = at_s
            assert canary.owed_since_ms == (None if owed_s is None else owed_s * 1000.0)
        second += seconds


def test_a_session_that_is_deaf_gets_a_new_one_before_its_broker_owes_anything() -> None:
    canary = Canary()
    acts = fly(canary, 25, False, 0)
    assert acts == ["send", "send", "renew", "send"] and canary.owed_since_ms == 21_000.0
    fly(canary, 40, False, 25)
    assert canary.owed_since_ms == 21_000.0


def test_a_broker_that_refuses_canaries_is_not_asked_for_sessions_all_the_time() -> None:
    assert fly(Canary(), 2 * RENEW_EVERY_MS // 1000, False, 0).count("renew") == 2


def test_a_canary_that_was_heard_already_or_never_sent_proves_nothing() -> None:
    canary = Canary()
    fly(canary, 12, True, 0)
    for number in (canary.number, canary.number + 7, 0):
        canary.heard(number, 12_000)
        fly(canary, 1, False, 12)
    fly(canary, 3 * EVERY_MS // 1000 + 1, False, 13)
    assert canary.lost


# ---- clock


@given(st.lists(st.tuples(st.integers(1, 60_000), st.integers(-2_000, 2_000)), max_size=30), st.integers(2_001, 10**10))
def test_drift_is_taken_in_and_a_step_is_told_exactly(drifts: list[tuple[int, int]], step_ms: int) -> None:
    now, mono = 1_800_000_000_000, 0
    watch = StepWatch(now, mono)
    for passed_ms, drift_ms in drifts:
        mono, now = mono + passed_ms, now + passed_ms + drift_ms
        assert watch.look(now, mono) == 0
    assert watch.look(now + step_ms, mono) == step_ms
    assert watch.look(now - step_ms, mono) == -2 * step_ms


def own(d: Desk) -> set[str]:
    """Faults of the receiver that stand."""
    found = [i for i in d.rows(schema.incident) if i.subject.startswith("receiver:") and i.restored_ms is None]
    return {name for i in found for names in i.snapshot["active"].values() for name in names}


def step(d: Desk, ms: int) -> None:
    """The wall clock is stepped; the monotonic one goes on."""
    d.clock._now_ms += ms


@pytest.mark.sqlite  # with several receivers the database's clock is the clock
@pytest.mark.parametrize("ms", [3_600_000, -3_600_000, 2_500], ids=["hour on", "hour back", "2.5 s"])
def test_a_step_is_a_fault_and_moves_every_stored_deadline(tmp_path: Path, ms: int) -> None:
    with desk(tmp_path, units=2) as d:
        d.event(0, 1)
        d.end(d.job("responder:station-0"), "retry")
        d.pass_time(100)
        now_ms = d.clock.now_ms()
        with d.store.write() as conn:
            key = schema.node_key
            values = {"state": "old", "valid_until_ms": now_ms + DAY_MS}
            conn.execute(update(key).where(key.c.node_id == d.nodes[1].id).values(**values))
            ends = {"begins_ms": now_ms - 1_000, "ends_ms": now_ms + 7_200_000}
            conn.execute(insert(schema.exercise).values(site_id="hannae", begun_by="test", **ends))
        d.pass_time(10)

        def deadlines() -> list[int | None]:
            rows = sorted(d.rows(schema.delivery), key=lambda row: row.id)
            found = [t for r in rows if r.state in ("pending", "sent") for t in (r.next_at_ms, r.lease_until_ms)]
            found += [k.valid_until_ms for k in d.rows(schema.node_key) if k.state == "old"]
            return found + [t for e in d.rows(schema.exercise) for t in (e.begins_ms, e.ends_ms)]

        before = deadlines()
        step(d, ms)
        d.writer.turn([])
        assert deadlines() == [None if at is None else at + ms for at in before]
        assert own(d) == {"clock_stepped"}
        watch = d.writer.books.clock_watch
        assert (watch.steps, watch.last_step_ms) == (1, ms)
        d.pass_time(STANDS_MS + 1_000)
        assert own(d) == set()
        (key,) = [k for k in d.rows(schema.node_key) if k.state == "old"]
        assert key.valid_until_ms == now_ms + DAY_MS + ms, "moved once, not at every transaction"


@pytest.mark.sqlite
def test_a_step_taken_in_a_failed_transaction_is_taken_in_once_by_the_next(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.event(0, 1)
        d.end(d.job("responder:station-0"), "retry")
        (before,) = [r.next_at_ms for r in d.rows(schema.delivery) if r.recipient == "responder:station-0"]
        save, failures = d.writer.books.casebook.save, [RuntimeError("no space")]

        def failing(*args: Any, **kwargs: Any) -> Any:
            if failures:
                raise failures.pop()
            return save(*args, **kwargs)

        d.writer.books.casebook.save = failing  # type: ignore[method-assign]
        step(d, 3_600_000)
        d.writer._pause = lambda: None  # type: ignore[method-assign]
        d.writer.turn([])
        d.writer.turn([])
        (after,) = [r.next_at_ms for r in d.rows(schema.delivery) if r.recipient == "responder:station-0"]
        assert after == before + 3_600_000
        assert own(d) == {"clock_stepped"}


@pytest.mark.sqlite
@pytest.mark.parametrize("ms", [3_600_000, -3_600_000], ids=["on", "back"])
def test_nobody_falls_silent_because_the_clock_was_stepped(tmp_path: Path, ms: int) -> None:
    """A node goes on with its old server time until it is answered: one heartbeat counts for nothing, the next does."""
    from bongsu_wire import topics

    with desk(tmp_path, units=1) as d:
        node = d.nodes[0]
        heard_ms = d.clock.now_ms()
        for second in range(400):
            if second == 100:
                step(d, ms)
            if second % 45 == 0:
                echo, answers = heard_ms, len(d.receipts(0))
                age = 45_000 if second else 0
                d.arrive((node.id, node.heartbeat(echo, age)), topic=topics.up_beats(node.id))
                if len(d.receipts(0)) > answers or not second:
                    heard_ms = d.clock.now_ms()
                else:
                    heard_ms += 45_000
            d.pass_time(1_000)
        assert {i.subject for i in d.rows(schema.incident)} == {f"receiver:{d.writer.books.settings.sender}"}


def test_a_step_of_this_machine_moves_nothing_where_the_database_has_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a receiver on PostgreSQL does: the fault, and nothing else."""
    real_ms, offset = SystemClock.now_ms, [0]
    monkeypatch.setattr(SystemClock, "now_ms", lambda clock: real_ms(clock) + offset[0])
    with desk(tmp_path) as d:
        books = d.writer.books
        at = books.chores.index(books.clock_watch)
        books.clock_watch = books.chores[at] = ClockWatch(books, sqlite=False)
        d.event(0, 1)
        d.end(d.job("responder:station-0"), "retry")
        before = [(r.next_at_ms, r.lease_until_ms) for r in d.rows(schema.delivery)]
        offset[0] = 3_600_000
        d.writer.turn([])
        assert own(d) == {"clock_stepped"}
        assert [(r.next_at_ms, r.lease_until_ms) for r in d.rows(schema.delivery)] == before


# ---- own faults


def test_faults_follow_what_is_said_of_each_source(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        d.writer.turn([Standing("disk", ("disk_low",)), Standing("canary", ())])
        assert own(d) == {"disk_low"}
        d.writer.turn([Standing("disk", ("disk_full",)), Standing("canary", ("canary_lost",))])
        assert own(d) == {"disk_full", "canary_lost"}
        d.writer.turn([Standing("disk", ())])
        assert own(d) == {"canary_lost"}
        d.writer.turn([Standing("canary", ())])
        assert own(d) == set()
        assert d.rows(schema.delivery) == []


def test_a_fault_that_could_not_be_stored_is_stored_later(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        save, failures = d.writer.books.casebook.save, [RuntimeError("no space")]

        def failing(*args: Any, **kwargs: Any) -> Any:
            if failures:
                raise failures.pop()
            return save(*args, **kwargs)

        d.writer.books.casebook.save = failing  # type: ignore[method-assign]
        d.writer._pause = lambda: None  # type: ignore[method-assign]
        d.writer.turn([Standing("disk", ("disk_low",))])
        d.writer.turn([])
        assert own(d) == {"disk_low"}


def test_every_name_has_words_and_every_severe_reason_a_next_step() -> None:
    assert all(what and step_ for what, step_ in reasons.WORDS.values())
    assert set(reasons.SEVERE) <= set(reasons.WORDS)


# ---- disk, certificates, backlog


def space(free: int, total: int, inodes: int = 10**6, of: int = 10**7) -> DiskState:
    """A disk."""
    return {"what": "data", "free_bytes": free, "total_bytes": total, "free_inodes": inodes, "total_inodes": of}


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (space(50 * 10**9, 10**11), ()),
        (space(9 * 10**9, 10**11), (disk.DISK_LOW,)),
        (space(10**9, 2 * 10**9), (disk.DISK_LOW,)),
        (space(199_000_000, 10**9), (disk.DISK_FULL,)),
        (space(50 * 10**9, 10**11, inodes=100), (disk.DISK_FULL,)),
        (space(50 * 10**9, 10**11, inodes=5_000), (disk.DISK_LOW,)),
        (space(50 * 10**9, 10**11, inodes=0, of=0), ()),  # btrfs counts none
        (space(0, 0, inodes=0, of=0), (disk.DISK_FULL,)),
    ],
)
def test_disk_levels(found: DiskState, names: tuple[str, ...]) -> None:
    assert disk.faults([space(10**12, 10**12), found], SupervisionConfig()) == names


def test_a_place_that_is_not_there_has_nothing_free(tmp_path: Path) -> None:
    (found,) = disk.measure([("data", tmp_path / "gone")])
    assert found["free_bytes"] == 0
    (real,) = disk.measure([("data", tmp_path)])
    assert 0 < real["free_bytes"] <= real["total_bytes"]


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """A folder with a CA and a server certificate, as `bongsu init` makes them."""
    made = certificates.make_ca(dt.datetime.now(dt.UTC))
    server = certificates.make_server(made)
    for name, data in (
        ("ca.crt", made.cert_pem()),
        ("server.crt", server.cert_pem()),
        ("server.key", server.key_pem()),
    ):
        (tmp_path / name).write_bytes(data)
    return tmp_path


def now_ms() -> int:
    """UTC."""
    return round(dt.datetime.now(dt.UTC).timestamp() * 1000)


def test_good_certificates_are_no_fault_until_30_days_before_their_end(ca: Path) -> None:
    for days, names in ((0, ()), (20 * 365.25 - 33, ()), (20 * 365.25 - 29, (certificate_watch.EXPIRING,))):
        found = certificate_watch.look(ca, now_ms() + round(days * DAY_MS))
        assert certificate_watch.faults(found, 30) == names


def test_certificates_that_do_not_fit_are_a_fault(ca: Path) -> None:
    def problem() -> str:
        found = certificate_watch.look(ca, now_ms())
        assert certificate_watch.faults(found, 30) == (certificate_watch.BAD,)
        return found[1]["problem"] or found[0]["problem"]

    other_ca = certificates.make_ca(dt.datetime.now(dt.UTC))
    other = certificates.make_server(other_ca)
    good_key = (ca / "server.key").read_bytes()
    (ca / "server.key").write_bytes(other.key_pem())
    assert problem() == "it does not belong to server.key"
    (ca / "server.crt").write_bytes(other.cert_pem())
    assert problem() == "it was not made by ca.crt"
    (ca / "server.crt").write_bytes(b"nothing")
    assert "no certificate" in problem()
    (ca / "server.crt").unlink()
    assert "cannot be read" in problem()
    assert good_key not in problem().encode()


def test_a_certificate_of_the_future_says_so(ca: Path) -> None:
    found = certificate_watch.look(ca, now_ms() - 30 * DAY_MS)
    assert "is the clock right" in found[0]["problem"]


def test_progress_is_stuck_only_while_it_does_not_count() -> None:
    progress = Progress(0.0)
    assert [progress.stuck_s(count, at) for count, at in ((1, 1.0), (1, 3.0), (2, 4.0), (2, 9.0))] == [0, 2, 0, 5]
    assert progress.stuck_s(2, 20.0, has_work=False) == 0


def test_a_condition_must_last_and_then_stands_for_a_while() -> None:
    lasting = Lasting(5.0, 10.0)
    seen = [lasting.look(3 <= at < 12, float(at)) for at in range(30)]
    assert [at for at, stands in enumerate(seen) if stands] == list(range(8, 22))


def test_a_histogram_counts_each_span_once() -> None:
    histogram = Histogram((10, 100))
    for ms in (0, 10, 11, 100, 101, 5_000):
        histogram.add(ms)
    assert histogram.state() == {"bounds_ms": [10, 100], "counts": [2, 2, 2], "sum_ms": 5_222}


# ---- health and metrics


def test_without_a_state_there_is_no_health() -> None:
    for state in (None, {"at_ms": 1, "sender": 2}):
        status, said = health(state)
        assert status == 503 and said["reasons"][0]["next"]
        (up,) = StateCollector(lambda s=state: s).collect()  # type: ignore[misc]
        assert up.samples[0].value == 0


# ---- systemd


def test_the_unit_file_is_what_systemd_takes(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed here: the unit file is not checked by systemd itself")
    path = tmp_path / systemd.UNIT_NAME
    path.write_text(systemd.unit(Path("/var/lib/bongsu"), "root", "/bin/true"))
    done = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in done.stderr.splitlines() if systemd.UNIT_NAME in line]
    assert not ours and done.returncode == 0, done.stderr


def test_the_unit_keeps_to_its_own_folder() -> None:
    own_state = systemd.unit(Path("/var/lib/bongsu"), "bongsu", "/opt/bongsu/bin/bongsu")
    assert "StateDirectory=bongsu\n" in own_state and "ReadWritePaths" not in own_state
    elsewhere = systemd.unit(Path("/srv/alarm"), "bongsu", "/opt/bongsu/bin/bongsu")
    assert "ReadWritePaths=/srv/alarm\n" in elsewhere and "StateDirectory" not in elsewhere
    assert "ProtectHome=no" in systemd.unit(Path("/home/x/market"), "x", "/opt/bongsu/bin/bongsu")
    with pytest.raises(Exception, match="cannot take"):
        systemd.unit(Path("/srv/a market"), "bongsu", "/opt/bongsu/bin/bongsu")


def test_the_command_writes_the_unit(tmp_path: Path) -> None:
    from bongsu.cli.main import cli

    out = tmp_path / "unit.service"
    args = ["--data", str(tmp_path / "data"), "receiver", "unit", "--user", "alarm", "--out", str(out)]
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 0 and "daemon-reload" in done.output
    assert "User=alarm\n" in out.read_text() and f"--data {tmp_path / 'data'} receiver run" in out.read_text()


# ---- doctor


def test_doctor_names_each_finding_with_its_fix_and_no_secret(tmp_path: Path) -> None:
    from bongsu.cli.main import cli

    with desk(tmp_path, units=2) as d:
        data = d.data
        secrets = [d.rows(schema.unit)[0].name, "010-1234"]
    (data / "ca" / "ca.key").chmod(0o644)
    done = CliRunner().invoke(cli, ["--data", str(data), "doctor", "--json"], standalone_mode=False)
    assert done.return_value == 1
    found = json.loads(done.output)
    failing = {f["what"] for f in found if f["level"] == "fail"}
    assert any("does not run" in what for what in failing)
    assert any("ca.key is open to other users" in what for what in failing)
    assert any("127.0.0.1:9 is not to be reached" in what for what in failing), "the station"
    warned = {(f["check"], f["what"]) for f in found if f["level"] == "warn"}
    assert ("responder station-0", "it has not accepted any report yet") in warned, "an open port proves little"
    assert all(f["next"] for f in found if f["level"] != "ok")
    assert {"settings", "master key", "disk", "certificates", "clock", "store", "backup", "nodes", "people"} <= {
        f["check"] for f in found
    }
    assert not [s for s in secrets if s in done.output]
