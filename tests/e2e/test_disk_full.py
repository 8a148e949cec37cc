"""A receiver whose disk is full, broker, log and database alike: no alarm is lost, none is late once there is room.

A NATS stream that could not write once never writes again, while the server takes connections as if it were well: so
the broker must be started anew, after a full disk and whenever it does not prove that it serves.
"""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bongsu.receiver.store import open_store, schema
from tests import small_disk
from tests.broker_parts import await_true
from tests.chaos_cluster import CURE_S, Shop
from tests.receiver_parts import hall
from tests.small_disk import SmallDisk

WHY_NOT = small_disk.missing()
UNITS = 4
# A receipt takes milliseconds, or a second when the node asks again.
NO_RECEIPT_S = 4.0
FULL_S = 30.0


def _join(shops: list[Shop], timeout_s: float) -> None:
    """Wait for them all, not for each, so long."""
    end_s = time.monotonic() + timeout_s
    for shop in shops:
        shop.join(max(0.0, end_s - time.monotonic()))


@pytest.mark.sqlite
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_a_broker_alone_whose_disk_was_full_is_found_out_and_started_anew(tmp_path: Path) -> None:
    with hall(tmp_path / "town", 1) as town:
        assert town.stop_receiver() == 0
        apart = tmp_path / "store"
        apart.mkdir()
        for name in ("bongsu.db", "bongsu.db-wal"):
            if (town.data / name).exists():
                (town.data / name).rename(apart / name)
        config = town.data / "receiver.toml"
        here, there = f"sqlite:///{town.data / 'bongsu.db'}", f"sqlite:///{apart / 'bongsu.db'}"
        config.write_text(config.read_text().replace(here, there))
        disk = SmallDisk(town.data, 64)
        town.launch = disk.launch
        town.start_receiver()
        disk.of(town.receiver.process.pid)
        disk.fill()
        node, numbers = town.nodes[0], list[int]()
        while not numbers or node.wait_receipt(numbers[-1], NO_RECEIPT_S):
            assert len(numbers) < 2000, "the broker still stores"
            numbers.append(node.alarm() if len(numbers) % 2 == 0 else node.restore())
        disk.free()
        town.receiver.wait_for("broker.stuck", 40)
        await_true(lambda: node.wait_receipt(numbers[-1], 0.1), "the receipt")
        assert not any("store.failed" in line for line in town.receiver.lines)
        alarms = (len(numbers) + 1) // 2
        await_true(
            lambda: len([r for r in town.reports() if r["body"]["type"] == "bongsu.fire.alarm"]) == alarms, "reports"
        )


@pytest.mark.sqlite
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_a_disk_that_stays_full_past_the_brokers_patience_ends_nothing(tmp_path: Path) -> None:
    """Something takes each byte that comes free, also those of a broker that is started anew on it."""
    with hall(tmp_path / "town", 1) as town:
        assert town.stop_receiver() == 0
        disk = SmallDisk(town.data, 64)
        town.launch = disk.launch
        town.start_receiver()
        disk.of(town.receiver.process.pid)
        disk.fill()
        before, node = len(town.receiver.lines), town.nodes[0]
        number = node.alarm()
        end_s = time.monotonic() + FULL_S
        while time.monotonic() < end_s:
            disk.fill_more()
            time.sleep(0.05)  # how often it takes what is free
        assert town.receiver.process.poll() is None, "\n".join(town.receiver.lines[-5:])
        said = [line for line in town.receiver.lines[before:] if '"broker.' in line]
        assert said, "the broker was not even touched"
        disk.free()
        assert node.wait_receipt(number, 2 * CURE_S), "\n".join(town.receiver.lines[-9:])
        await_true(town.reports, "the report")


@pytest.mark.sqlite
@pytest.mark.chaos
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_alarms_while_the_disk_is_full_are_each_dispatched_once_when_there_is_room(tmp_path: Path) -> None:
    with hall(tmp_path / "town", UNITS) as town:
        assert town.stop_receiver() == 0
        disk = SmallDisk(town.data, 64)
        town.launch = disk.launch
        town.start_receiver()
        disk.of(town.receiver.process.pid)

        def rows(table: Any) -> list[Any]:
            store = open_store(f"sqlite:///{disk.database(tmp_path / 'copy')}")
            try:
                with store.read() as conn:
                    return list(conn.execute(select(table)))
            finally:
                store.close()

        def waiting() -> list[str]:
            return [
                f"{d.id} {d.purpose} to {d.recipient}" for d in rows(schema.delivery) if d.state in ("pending", "sent")
            ]

        stop = threading.Event()
        shops = [Shop(node, stop, seed) for seed, node in enumerate(town.nodes)]
        for shop in shops:
            shop.start()
        try:
            await_true(lambda: all(shop.alarms for shop in shops), "the first alarms")
            disk.fill()
            town.receiver.wait_for("store.failed")
            before = [len(shop.alarms) for shop in shops]
            time.sleep(1)  # how long it stays full
            disk.free()
            cured_s = time.monotonic()
            await_true(
                lambda: all(len(s.alarms) > n + 1 for s, n in zip(shops, before, strict=True)),
                "\n".join(town.receiver.lines[-9:]),
                CURE_S,
            )
        finally:
            stop.set()
            _join(shops, 30)
        assert time.monotonic() - cured_s < CURE_S + 5
        alarms = [len(shop.alarms) for shop in shops]
        await_true(lambda: rows(schema.delivery) and not waiting(), f"{alarms} alarms: {waiting()}", CURE_S)
        told = [d for d in rows(schema.delivery) if d.purpose == "alarm" and d.recipient == "responder:station-0"]
        assert [d.state for d in told] == ["accepted"] * sum(alarms)
        fires = [i for i in rows(schema.incident) if i.class_ == "fire"]
        assert {f.subject: f.round for f in fires} == {f"unit:hannae/u-{i}": n for i, n in enumerate(alarms)}
        got = [r["id"] for r in town.reports() if r["body"]["type"] == "bongsu.fire.alarm"]
        assert len(got) == len(set(got)) == sum(alarms)
        assert not any(shop.unreceipted for shop in shops)
