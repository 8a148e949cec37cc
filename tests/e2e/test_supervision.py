"""The receiver watches over itself: a real receiver, its broker, /healthz, /metrics, and systemd's notify socket."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bongsu.receiver.store import schema
from tests.broker_parts import NO_MOSQUITTO, Mosquitto
from tests.receiver_parts import DEADLINE_S, Child, Hall, hall, make_market

_OPEN = build_opener(ProxyHandler({})).open


def get(data: Path, path: str) -> tuple[int, str]:
    """GET at the receiver's web process: status and text; (0, "") while nobody answers."""
    try:
        port = int((data / "run" / "console.port").read_text())
        with _OPEN(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as err:
        return err.code, err.read().decode()
    except (OSError, ValueError):
        return 0, ""


def until(condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
    """The first true value of `condition`."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not in {timeout_s} s: {what}")


def health(data: Path) -> tuple[int, dict[str, Any]]:
    """/healthz."""
    status, text = get(data, "/healthz")
    return status, json.loads(text or "{}")


def own_faults(h: Hall) -> set[str]:
    """Names of the receiver's own faults that stand."""
    found = [i for i in h.rows(schema.incident) if i.subject.startswith("receiver:") and i.restored_ms is None]
    return {name for i in found for names in i.snapshot["active"].values() for name in names}


def test_health_and_metrics_tell_of_a_receiver_at_work(tmp_path: Path) -> None:
    with hall(tmp_path, units=2, console=True) as h:
        until(lambda: health(h.data)[0] == 200, "a healthy receiver")
        h.nodes[0].alarm()
        until(h.reports, "the dispatch")
        until(lambda: health(h.data)[1].get("canary", {}).get("round_trip_ms"), "the canary's return")
        status, text = until(lambda: (r := get(h.data, "/metrics"))[0] and 'kind="alarm"' in r[1] and r, "metrics")
        assert status == 200
        values = {
            (s.name, *sorted(s.labels.values())): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
        }
        assert values["bongsu_up",] == values["bongsu_ok",] == values["bongsu_broker_connected",] == 1
        assert values["bongsu_events_total", "alarm"] == 1
        assert values["bongsu_delivery_results_total", "accepted", "webhook"] >= 1
        assert values["bongsu_alarm_accepted_seconds_count",] >= 1
        assert values["bongsu_commit_seconds_count",] == 1
        assert values["bongsu_certificate_days", "server"] > 7000
        assert values["bongsu_disk_free_bytes", "data"] > 0
        for secret in ("010-1234", "8210", "가게", "한내", h.market.bundles[0].node_id):
            assert secret not in text and secret not in get(h.data, "/healthz")[1]


def test_a_broker_that_hangs_makes_the_receiver_unfit_until_it_is_heard_again(tmp_path: Path) -> None:
    with hall(tmp_path, units=1, console=True) as h:
        until(lambda: health(h.data)[0] == 200, "a healthy receiver")
        broker = broker_pid(h.receiver.process.pid)
        os.kill(broker, signal.SIGSTOP)
        said = until(lambda: (r := health(h.data))[0] == 503 and r[1].get("reasons"), "an unfit receiver", 60)
        assert {reason["name"] for reason in said} <= {"broker_unreachable", "canary_lost"}
        assert all(reason["what"] and reason["next"] for reason in said)
        with suppress(ProcessLookupError):  # on a slow machine the receiver was first and started another
            os.kill(broker, signal.SIGCONT)
        until(lambda: health(h.data)[0] == 200, "a fit receiver", 60)


def broker_pid(receiver: int) -> int:
    """The receiver's nats-server."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == receiver and b"nats-server" in (entry / "cmdline").read_bytes():
                    return int(entry.name)
            except (OSError, IndexError):
                continue
    raise AssertionError("no broker")


def test_a_full_disk_stands_as_a_fault_of_the_receiver_and_ends(tmp_path: Path) -> None:
    with hall(tmp_path, units=1) as h:
        h.stop_receiver()
        config = h.data / "receiver.toml"
        text = config.read_text()
        config.write_text(text + "[supervision]\ndisk_full_mb = 1000000000\n")
        h.start_receiver()
        until(lambda: own_faults(h) == {"disk_full"}, "the fault")
        h.stop_receiver()
        config.write_text(text + "[supervision]\ndisk_full_mb = 0\ndisk_low_mb = 0\ndisk_low_percent = 0.0\n")
        h.start_receiver()
        until(lambda: own_faults(h) == set(), "its end after the restart")


# ---- doctor


def doctor(data: Path) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Exit code and findings by level."""
    done = subprocess.run(
        [sys.executable, "-m", "bongsu.cli", "--data", str(data), "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found: dict[str, list[dict[str, str]]] = {"ok": [], "warn": [], "fail": []}
    for finding in json.loads(done.stdout):
        found[finding["level"]].append(finding)
    return done.returncode, found


def test_doctor_finds_a_working_receiver_well_and_a_hanging_one_not(tmp_path: Path) -> None:
    with hall(tmp_path, units=2, tls=True) as h:
        code, found = until(lambda: (r := doctor(h.data))[0] == 0 and r, "a well receiver")
        assert found["fail"] == []
        assert {"receiver", "broker", "store", "responder station-0", "sms gateway"} <= {
            f["check"] for f in found["ok"]
        }
        assert any("by TLS" in f["what"] for f in found["ok"])
        receiver = h.receiver.process.pid
        os.kill(receiver, signal.SIGSTOP)
        try:
            code, found = doctor(h.data)
        finally:
            os.kill(receiver, signal.SIGCONT)
        assert code == 1
        assert [(f["check"], f["what"]) for f in found["fail"]][0] == ("receiver", "it runs and does not answer")
        h.station.kill()
        h._stack.remove(h.station)
        code, found = doctor(h.data)
        assert code == 1
        assert {f["check"] for f in found["fail"]} == {"responder station-0", "responder centre-0"}
        assert all(f["next"] for f in found["fail"] + found["warn"])


# ---- systemd


@contextmanager
def notify_socket(address: str) -> Iterator[socket.socket]:
    """A real datagram socket in systemd's place."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind("\0" + address[1:] if address[0] == "@" else address)
        made.settimeout(DEADLINE_S)
        yield made


def told(sock: socket.socket, words: str) -> list[str]:
    """What came until a line with these words did."""
    lines: list[str] = []
    while not any(words in line for line in lines):
        lines += sock.recv(4096).decode().split("\n")
    return lines


@pytest.mark.parametrize("abstract", [True, False], ids=["abstract", "path"])
def test_systemd_hears_ready_status_watchdog_and_stopping(
    tmp_path: Path, abstract: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_market(tmp_path / "data", 1).data
    address = f"@bongsu-test-{os.getpid()}-{time.monotonic_ns()}" if abstract else str(tmp_path / "n")
    with notify_socket(address) as sock:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        receiver = Child("--data", data, "receiver", "run")
        try:
            assert told(sock, "READY=1")
            assert any("nodes" in line or "not fit" in line for line in told(sock, "STATUS="))
            told(sock, "WATCHDOG=1")
            told(sock, "WATCHDOG=1")
            receiver.process.send_signal(signal.SIGTERM)
            told(sock, "STOPPING=1")
        finally:
            assert receiver.stop() == 0


# ---- the canary


@pytest.mark.skipif(NO_MOSQUITTO is not None, reason=str(NO_MOSQUITTO))
def test_a_session_that_is_deaf_is_left_for_a_new_one(tmp_path: Path) -> None:
    """The broker accepts everything and delivers no canary, as a session does that looks alive and is not."""
    with Mosquitto(tmp_path / "broker") as broker, hall(tmp_path / "hall", units=1, external=broker.start) as h:
        before = {row.mqtt_client_id for row in h.rows(schema.receiver)}
        acl = broker.folder / "acl"
        text = acl.read_text()
        acl.write_text(text.replace("topic readwrite bongsu/v1/canary", "topic write bongsu/v1/canary"))
        assert acl.read_text() != text
        os.kill(int(broker.pid_file.read_text()), signal.SIGHUP)
        h.receiver.wait_for("canary.lost", 60)
        until(lambda: "canary_lost" in own_faults(h), "the fault")
        until(lambda: {row.mqtt_client_id for row in h.rows(schema.receiver)} != before, "a new client id")
        h.receiver.wait_for("mqtt.up")
        h.nodes[0].alarm()
        until(h.reports, "an alarm by the new session")
        acl.write_text(text)
        os.kill(int(broker.pid_file.read_text()), signal.SIGHUP)
        until(lambda: "canary_lost" not in own_faults(h), "the fault's end", 30)
