"""A fleet against the real receiver: storms, power cuts, reconnections, misbehaviour; each alarm is one incident."""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bongsu.receiver.store import schema
from tests.broker_parts import Nats
from tests.receiver_parts import Child, Hall, Market, hall

UNITS = 24


def run_fleet(town: Hall, *options: object) -> dict[str, Any]:
    """Run it to its end; its report."""
    for node in town.nodes:  # the fleet is these nodes
        node.close()
    town.nodes = []
    child = Child("--data", town.data, "sim", "fleet", "--json", *options)
    try:
        line = child.wait_for('"alarm_receipt_ms"', 90)
        code = child.process.wait(10)
    finally:
        child.stop()
    report: dict[str, Any] = json.loads(line)
    assert code == (1 if report["events"]["waiting"] else 0)
    return report


def fires(town: Hall) -> Counter[str]:
    """Fire incidents by subject."""
    return Counter(row.subject for row in town.rows(schema.incident) if row.class_ == "fire")


def all_told(town: Hall, alarms: int) -> bool:
    """True if the station has a report under a key of its own for each."""
    return len([r for r in town.reports() if r["body"]["type"] == "bongsu.fire.alarm"]) == alarms


def test_a_storm_is_one_incident_a_node_and_every_heartbeat_counts_as_seen(tmp_path: Path) -> None:
    with hall(tmp_path / "town", UNITS) as town:
        report = run_fleet(town, "--storm", f"{UNITS}@0.5", "--fire-s", "1", "--seconds", "3")
        assert report["events"]["raised"] == report["events"]["receipted"] == {"alarm": UNITS, "restore": UNITS}
        assert report["alarm_receipt_ms"]["max"] < 5000
        assert report["heartbeats"]["sent"] >= 2 * UNITS  # at the connection, and with the first server time
        assert report["heartbeats"]["answered"] >= UNITS
        assert town.stop_receiver() == 0
        assert fires(town) == {f"unit:hannae/u-{i}": 1 for i in range(UNITS)}
        live = town.rows(schema.node_live)
        assert len([row for row in live if row.last_seen_ms is not None and row.heartbeat is not None]) == UNITS


def test_alarms_of_nodes_that_lose_power_or_connection_are_one_incident_each(tmp_path: Path) -> None:
    with hall(tmp_path / "town", UNITS) as town:
        plan = ("--cut", "hannae@1.5+0.5", "--back-within", "1", "--reconnect", "4", "--fires-per-minute", "240")
        report = run_fleet(town, *plan, "--fire-s", "0", "--seconds", "6.5")
        alarms = report["events"]["raised"]["alarm"]
        assert alarms > UNITS / 3 and report["events"]["waiting"] == 0
        assert report["connections"]["made"] == 3 * UNITS  # at first, after the cut, after the break
        assert report["reconnect_s"]["max"] < 5
        assert town.stop_receiver() == 0
        found = fires(town)
        assert found.total() == len(found) == alarms
        assert all_told(town, alarms)


def test_a_killed_receiver_costs_no_alarm(tmp_path: Path) -> None:
    with hall(tmp_path / "town", UNITS) as town:
        for node in town.nodes:
            node.close()
        town.nodes = []
        log = tmp_path / "alarms"
        arguments = ("--fires-per-minute", "360", "--fire-s", "0", "--seconds", "6", "--alarms", log)
        child = Child("--data", town.data, "sim", "fleet", "--json", *arguments)
        try:
            town.receiver.wait_for("event.committed")
            town.kill_receiver()
            town.start_receiver()
            report = json.loads(child.wait_for('"alarm_receipt_ms"', 90))
        finally:
            child.stop()
        alarms = report["events"]["raised"]["alarm"]
        assert alarms == UNITS and report["events"]["waiting"] == 0, report
        assert len(log.read_text().splitlines()) == alarms
        assert fires(town) == {f"unit:hannae/u-{i}": 1 for i in range(UNITS)}


@pytest.mark.parametrize("kind", ["duplicates", "replays", "garbage", "slow"])
def test_nodes_that_misbehave_harm_nobody(tmp_path: Path, kind: str) -> None:
    with hall(tmp_path / "town", 8) as town:
        options = ("--misbehave", f"{kind}:0.5", "--storm", "8@0.5", "--fire-s", "1", "--seconds", "2.5")
        report = run_fleet(town, *options)
        assert report["misbehaved"][kind] >= 8
        assert report["events"]["receipted"] == {"alarm": 8, "restore": 8}
        assert town.stop_receiver() == 0
        assert fires(town) == {f"unit:hannae/u-{i}": 1 for i in range(8)}
        refused = {row.reason for row in town.rows(schema.refused_frame)}
        assert bool(refused) == (kind == "garbage")


def test_nodes_behind_gateways_are_carried_by_a_login_that_may(tmp_path: Path) -> None:
    with Nats(tmp_path / "nats") as nats:

        def start(market: Market) -> list[int]:
            ports = nats.start(market)
            conf = tmp_path / "nats" / "nats.conf"
            publish = "publish: { allow: [bongsu.v1.up.*.e, bongsu.v1.up.*.h] }"
            rights = f"permissions: {{ {publish}, subscribe: {{ allow: [bongsu.v1.down.*] }} }}"
            text = conf.read_text().replace("users: [", f'users: [\n  {{ user: gw, password: "gw-word", {rights} }}', 1)
            conf.write_text(text)
            assert nats.process is not None
            os.kill(nats.process.pid, signal.SIGHUP)
            return ports

        with hall(tmp_path / "town", UNITS, external=start) as town:
            word = tmp_path / "word"
            word.write_text("gw-word\n")
            carried = ("--connections", "6", "--gateways", "2", "--gateway-user", "gw", "--gateway-password-file", word)
            plan = ("--storm", f"{UNITS}@0.2", "--reconnect", "1", "--fire-s", "2", "--seconds", "4")
            report = run_fleet(town, *carried, *plan)
            assert report["carriers"] == 6 and report["connections"]["made"] == 12
            assert report["events"]["receipted"] == {"alarm": UNITS, "restore": UNITS}
            assert fires(town) == {f"unit:hannae/u-{i}": 1 for i in range(UNITS)}
