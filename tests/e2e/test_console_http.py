"""The console of a real receiver over HTTP: who gets in, what others cannot make a browser do, what the stream brings,
and that alarms never wait for any of it.
"""

import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from sqlalchemy import select

from bongsu.console import operators
from bongsu.console.limits import PAIR_TRIES
from bongsu.receiver.store import schema
from bongsu_wire import kinds
from tests.console_parts import PASSWORD, Client, add_people, address_of, alarm, audited, change, logged_in, until
from tests.receiver_parts import DEADLINE_S, Hall, hall

UNITS = 6


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """One receiver for all tests of this file that do not break it; each takes a shop of its own."""
    with hall(tmp_path_factory.mktemp("console") / "hall", UNITS, console=True) as made:
        add_people(made.data, desk1="operator", desk2="operator", guest="viewer", boss="admin", gone="operator")
        yield made


@pytest.fixture
def address(centre: Hall) -> str:
    return address_of(centre)


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    made = Client(address)
    yield made
    made.close()


def _first(client: Client, name: str) -> dict[str, Any]:
    """The content of the stream's first message of this name."""
    return next(content for found, content in client.events() if found == name)


def _web_pid(made: Hall) -> int:
    """The process id of the receiver's web process."""
    receiver = psutil.Process(made.receiver.process.pid)

    def look() -> int | None:
        return next((p.pid for p in receiver.children() if "bongsu.console" in p.cmdline()), None)

    return int(until(look))


# ---- getting in


def test_without_a_login_nothing_is_told(client: Client) -> None:
    assert client.get("/").headers["location"] == "/login"
    for path in ("/api/me", "/api/stream", "/api/history", "/api/incidents/1", "/api/air"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (401, {"error": "not_logged_in"}), path
    for path in (
        "/api/incidents/1/ack",
        "/api/incidents/1/close",
        "/api/incidents/1/phone",
        "/api/logout",
        "/api/lang",
    ):
        assert client.post(path, {}).status_code == 401, path


def test_every_answer_binds_the_browser(client: Client) -> None:
    for path in ("/", "/login", "/static/app.js", "/api/me", "/words.json", "/nowhere", "/static/index.html"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store", path
        assert "server" not in headers
    for name in ("index.html", "login.html"):
        page = (Path(operators.__file__).parent / "static" / name).read_text()
        assert "<style" not in page and "style=" not in page and "onclick" not in page


def test_wrong_password_unknown_name_and_shut_out_person_are_one_and_the_same(centre: Hall, address: str) -> None:
    change(centre.data, lambda conn: operators.set_disabled(conn, name="gone", disabled=True, actor="t", now_ms=2))
    took: dict[str, float] = {}
    answers = set()
    for name, password in (("desk1", "wrong password"), ("nobody-of-this-name", PASSWORD), ("gone", PASSWORD)):
        client = Client(address)
        start_s = time.monotonic()
        answer = client.login(name, password)
        took[name] = time.monotonic() - start_s
        answers.add((answer.status_code, answer.text))
        assert client.get("/api/me").status_code == 401
        client.close()
    assert len(answers) == 1 and next(iter(answers))[0] == 403
    # A hash takes some 100 ms; without one an answer takes a few.
    assert min(took.values()) > max(took.values()) / 10, took


def test_guessing_is_stopped_and_others_get_in_meanwhile(centre: Hall, address: str) -> None:
    client = Client(address)
    codes = [client.login("boss", f"wrong password {i}").status_code for i in range(PAIR_TRIES + 1)]
    assert codes == [403] * PAIR_TRIES + [429]
    right = client.login("boss")
    assert right.status_code == 429 and int(right.headers["retry-after"]) > 0, "not even the right one, for a while"
    assert client.login("desk2").ok
    client.close()
    log = "\n".join(centre.receiver.lines)
    assert "wrong password" not in log and PASSWORD not in log


def test_guessing_in_parallel_gains_nothing(centre: Hall, address: str) -> None:
    add_people(centre.data, many="operator")
    clients = [Client(address) for _ in range(15)]
    with ThreadPoolExecutor(15) as pool:
        codes = list(pool.map(lambda c: c.login("many", "wrong password").status_code, clients))
    for one in clients:
        one.close()
    assert codes.count(403) == PAIR_TRIES and codes.count(429) == 10


def test_the_cookie_and_that_a_login_makes_a_new_one(centre: Hall, address: str) -> None:
    client = Client(address)
    planted = "A" * 43
    name = f"bongsu-{address.rpartition(':')[2]}"
    client.http.cookies.set(name, planted, domain="127.0.0.1", path="/")
    assert client.login("desk1").ok
    tokens = [c.value for c in client.http.cookies if c.name == name]
    assert planted not in tokens and len(tokens[-1] or "") >= 43
    form = client.get("/api/login").json()
    answer = client.post("/api/login", {"name": "desk1", "password": PASSWORD}, token=form["token"])
    made = answer.headers["set-cookie"]
    assert "HttpOnly" in made and "SameSite=strict" in made and "Path=/" in made
    dump = str(change(centre.data, lambda conn: list(conn.execute(select(schema.console_session)))))
    assert not [token for token in tokens if token in dump]
    client.close()


def test_logging_out_ends_the_session_for_good(client: Client) -> None:
    assert client.login("desk1").ok
    cookies = client.http.cookies.copy()
    assert client.post("/api/logout", {}).ok
    client.http.cookies.update(cookies)
    assert client.get("/api/me").status_code == 401


def test_a_new_password_ends_open_pages(centre: Hall, address: str) -> None:
    add_people(centre.data, hong="operator")
    with logged_in(address, "hong") as client:
        stream = client.events()
        assert next(stream)[0] == "snapshot"
        new = operators.hash_password("another one")
        change(
            centre.data,
            lambda conn: operators.set_password(
                conn, name="hong", password_hash=new, actor="t", now_ms=time.time_ns() // 1_000_000
            ),
        )
        with pytest.raises((StopIteration, requests.RequestException)):
            while True:
                next(stream)
        assert client.get("/api/me").status_code == 401


# ---- what another site's page could make a browser send


def test_a_post_needs_its_pages_token_and_its_own_origin(centre: Hall, address: str) -> None:
    one = alarm(centre, 0)
    seen = {"seen": change(centre.data, lambda conn: conn.execute(select(schema.incident.c.last_event_id).where(schema.incident.c.id == one)).scalar_one())}  # fmt: skip  # noqa: E501
    path = f"/api/incidents/{one}/ack"
    with logged_in(address, "desk1") as client:
        assert client.post(path, seen, token="").status_code == 403
        assert client.post(path, seen, token="0" * 64).status_code == 403
        assert client.post(path, seen, origin="https://evil.example").status_code == 403
        assert client.post(path, seen, **{"sec-fetch-site": "cross-site"}).status_code == 403
        headers = {"x-bongsu-token": client.token, "content-type": "text/plain"}
        plain = client.http.post(address + path, data=json.dumps(seen), headers=headers, timeout=DEADLINE_S)
        assert plain.status_code == 415
        assert client.get(path).status_code == 405
        assert client.get(f"/api/incidents/{one}").json()["ack_ms"] is None
        assert client.post(path, seen, origin=address).ok
    # Nor can it log somebody in as somebody else (then they would act in another's name).
    client = Client(address)
    answer = client.post("/api/login", {"name": "desk1", "password": PASSWORD}, token="0" * 64)
    assert answer.status_code == 403
    client.close()


def test_what_is_not_a_request_is_refused_and_not_a_fault(centre: Hall, address: str) -> None:
    with logged_in(address, "desk1") as client:
        path = "/api/incidents/1/close"
        whole = {"seen": 1, "disposition": "fire"}
        bad: list[Any] = [
            [],
            "x",
            {"seen": "1"},
            {**whole, "seen": True},
            {**whole, "seen": -1},
            {**whole, "seen": 2**70},
        ]
        bad += [{**whole, "disposition": "bad"}, {**whole, "note": 7}, {**whole, "note": "bell \u0007"}]
        bad += [{**whole, "still_standing": "yes"}]
        assert {client.post(path, content).status_code for content in bad} == {400}
        assert client.post(path, {"seen": 1, "disposition": "fire", "note": "x" * 20_000}).status_code == 413
        assert client.post("/api/incidents/999999/ack", {"seen": 1}).status_code == 404
        assert client.post(f"/api/incidents/{2**64}/ack", {"seen": 1}).status_code == 404
        assert client.get("/api/history?before=x-y").status_code == 400
        for name in ("../app.py", "..%2fapp.py", "%2e%2e/words.py", "index.html"):
            assert client.get(f"/static/{name}").status_code == 404
    assert not [line for line in centre.receiver.lines if "console.fault" in line]


# ---- what they do


def test_a_viewer_sees_and_does_nothing(centre: Hall, address: str) -> None:
    one = alarm(centre, 1)
    with logged_in(address, "guest") as client:
        assert client.get(f"/api/incidents/{one}").json()["name"] == "가게 1"
        for act, content in (
            ("ack", {"seen": 1}),
            ("close", {"seen": 1, "disposition": "fire"}),
            ("phone", {"contact": "owner-1"}),
            ("verify", {"seen": 1}),
            ("answer", {"seen": 1, "exercise": True}),
        ):
            assert client.post(f"/api/incidents/{one}/{act}", content).status_code == 403, act


def test_a_number_is_masked_until_asked_for_and_then_audited(centre: Hall, address: str) -> None:
    one = alarm(centre, 2)
    with logged_in(address, "desk1") as client:
        assert "12340002" not in client.get(f"/api/incidents/{one}").text.replace("-", "")
        assert client.post(f"/api/incidents/{one}/phone", {"contact": "owner-3"}).status_code == 404, "of another shop"
        shown = client.post(f"/api/incidents/{one}/phone", {"contact": "owner-2"}).json()
    assert shown == {"phone": "+821012340002"}
    assert ("desk1", "phone.unmasked") in audited(centre.data)
    assert "12340002" not in "\n".join(centre.receiver.lines)


def test_two_operators_at_once_the_second_hears_what_happened(centre: Hall, address: str) -> None:
    one = alarm(centre, 3)
    with logged_in(address, "desk1") as first, logged_in(address, "desk2") as second:
        seen = first.get(f"/api/incidents/{one}").json()["last_event"]
        number = centre.nodes[3].alarm()  # a second signal comes in between
        assert centre.nodes[3].wait_receipt(number, DEADLINE_S)
        stale = first.post(f"/api/incidents/{one}/ack", {"seen": seen})
        assert stale.status_code == 409 and stale.json()["error"] == "stale"
        now = stale.json()["incident"]
        assert now["last_event"] > seen and now["ack_ms"] is None
        assert first.post(f"/api/incidents/{one}/ack", {"seen": now["last_event"]}).ok
        # The other closes it, having seen the newest; it still stands, so he must say so.
        closing = {"seen": now["last_event"], "disposition": "cooking", "note": "<b>grill</b>"}
        refused = second.post(f"/api/incidents/{one}/close", closing)
        assert (refused.status_code, refused.json()["error"]) == (409, "still_standing")
        assert second.post(f"/api/incidents/{one}/close", {**closing, "still_standing": True}).ok
        again = first.post(f"/api/incidents/{one}/close", {**closing, "still_standing": True})
        assert (again.status_code, again.json()["error"]) == (409, "not_possible")
        row = next(r for r in first.get("/api/history").json()["incidents"] if r["id"] == one)
    assert (row["closed_by"], row["disposition"], row["note"]) == ("desk2", "cooking", "<b>grill</b>")
    assert ("desk1", "incident.ack") in audited(centre.data) and ("desk2", "incident.close") in audited(centre.data)


def test_what_a_command_does_is_shown_too(centre: Hall, address: str) -> None:
    from bongsu.receiver import desk

    one = alarm(centre, 4)
    with logged_in(address, "desk1") as client:
        stream = client.events()
        seen = next(i for i in next(stream)[1]["incidents"] if i["id"] == one)["last_event"]
        change(centre.data, lambda conn: desk.acknowledge(conn, one, seen_event_id=seen, by="cli", now_ms=1))
        for name, content in stream:  # pragma: no branch
            if name == "change" and [i for i in content["incidents"] if i["id"] == one and i["ack_by"] == "cli"]:
                break


# ---- the stream


def test_a_hundred_pages_are_told_within_a_second_and_memory_stays(centre: Hall, address: str) -> None:
    web = psutil.Process(_web_pid(centre))
    with logged_in(address, "desk1") as a, logged_in(address, "desk2") as b, logged_in(address, "guest") as c:
        people = [a, b, c]
        for _ in range(3):
            extra = Client(address)
            assert extra.login("desk1").ok
            people.append(extra)
        before = web.memory_info().rss
        seen: list[int] = []
        started = threading.Barrier(101)
        at: list[float] = []

        def watch(i: int) -> None:
            stream = people[i % len(people)].events()
            assert next(stream)[0] == "snapshot"
            started.wait(30)
            for name, content in stream:  # pragma: no branch
                if name == "change" and [x for x in content["incidents"] if x["subject"] == "unit:hannae/u-5"]:
                    at.append(time.time())
                    seen.append(i)
                    return

        threads = [threading.Thread(target=watch, args=(i,), daemon=True) for i in range(100)]
        for thread in threads:
            thread.start()
        started.wait(30)
        centre.nodes[5].alarm()
        for thread in threads:
            thread.join(DEADLINE_S)
        assert len(seen) == 100
        table = schema.event.c
        received = change(centre.data, lambda conn: conn.execute(select(table.received_ms).where(table.node_id == centre.nodes[5].node).limit(1)).scalar_one())  # fmt: skip  # noqa: E501
        assert max(at) - received / 1000 < 1.0
        assert web.memory_info().rss - before < 60 * 2**20
        for extra in people[3:]:
            extra.close()


def test_a_page_that_reads_nothing_is_let_go(tmp_path: Path) -> None:
    """Its connection may hang; what is kept for it is bounded, and others go on."""
    with hall(tmp_path / "hall", 1, console=True) as made:
        address = address_of(made)
        add_people(made.data, desk1="operator")
        with logged_in(address, "desk1") as client:
            host, port = address.removeprefix("http://").split(":")
            cookie = "; ".join(f"{c.name}={c.value}" for c in client.http.cookies)
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                deaf.connect((host, int(port)))
                deaf.sendall(f"GET /api/stream HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookie}\r\n\r\n".encode())
                alarm(made, 0)
                stream = client.events()
                states = sum(name == "state" for name, _ in (next(stream) for _ in range(6)))
                assert states >= 1


# ---- the process


def test_the_web_process_comes_back_and_alarms_do_not_wait_for_it(tmp_path: Path) -> None:
    with hall(tmp_path / "hall", 3, console=True) as made:
        address = address_of(made)
        add_people(made.data, desk1="operator")
        with logged_in(address, "desk1") as client:
            pid = _web_pid(made)
            assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, made.receiver.process.pid)
            os.kill(pid, signal.SIGSTOP)  # frozen: the feed fills
            number = made.nodes[0].alarm()
            assert made.nodes[0].wait_receipt(number, DEADLINE_S)
            lines = len(made.receiver.lines)
            os.kill(pid, signal.SIGKILL)
            number = made.nodes[1].alarm()
            assert made.nodes[1].wait_receipt(number, DEADLINE_S)
            assert address_of(made, since=lines) == address, "at the same port"
            content = _first(client, "snapshot")  # the session is still good
            assert {i["name"] for i in content["incidents"]} <= {"가게 0", "가게 1"}
            until(lambda: len(_first(client, "snapshot")["incidents"]) == 2)
            pid = _web_pid(made)
        made.kill_receiver()
        until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_off_loopback_it_is_served_by_https_with_the_receivers_certificate(tmp_path: Path) -> None:
    made = Hall.__new__(Hall)
    try:
        made.__init__(tmp_path / "hall", 0, console=True)  # type: ignore[misc]
        made.stop_receiver()
        toml = made.data / "receiver.toml"
        toml.write_text(toml.read_text().replace("[console]\n", "[console]\ntls = true\n"))
        made.start_receiver()
        address = address_of(made)
        assert address.startswith("https://")
        add_people(made.data, desk1="operator")
        ca = str(made.data / "ca" / "ca.crt")
        with logged_in(address, "desk1", verify=ca) as client:
            assert client.get("/api/me").json()["name"] == "desk1"
            (session,) = [
                c for c in client.http.cookies if c.name.startswith("__Host-bongsu-") and "form" not in c.name
            ]
            assert session.secure
        port = int(address.rpartition(":")[2])
        with pytest.raises((requests.ConnectionError, requests.exceptions.SSLError)):
            requests.get(f"http://127.0.0.1:{port}/login", timeout=5)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", port), 5) as raw, pytest.raises((ssl.SSLError, OSError)):
            old.wrap_socket(raw)
    finally:
        made.close()


def test_a_connection_that_brings_no_whole_request_is_let_go(address: str) -> None:
    host, port = address.removeprefix("http://").rstrip("/").rsplit(":", 1)
    half = (b"", b"GET /login HT", b"POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
    held = [socket.create_connection((host, int(port)), DEADLINE_S) for _ in half]
    for one, data in zip(held, half, strict=True):
        one.sendall(data)
    for one in held:
        one.settimeout(15)
        try:
            while one.recv(4096):
                pass
        except ConnectionResetError:
            pass
        one.close()


def test_large_numbers_are_no_fault_of_the_program(address: str) -> None:
    with logged_in(address, "desk1") as client:
        for path in (f"/api/incidents/{2**63}", f"/api/incidents/{'9' * 5000}", f"/api/history?before={2**63}-1"):
            assert client.get(path).status_code in (400, 404)


def test_the_air_of_a_unit_from_its_node_to_the_screen(centre: Hall, address: str) -> None:
    values = {kinds.Q_CO2_PPM: 612, kinds.Q_PM25_DUG: 184}

    def measured(client: Client) -> Any:
        centre.nodes[5].reading(values)
        return client.get("/api/air?unit=hannae/u-5").json()["air"]

    with logged_in(address, "guest") as client:
        found = until(lambda: measured(client), every_s=0.5)
        assert {r["quantity"]: (r["now"], r["measure"], r["level"]) for r in found} == {
            "pm25": (18.4, "ug/m3", None), "co2": (612, "ppm", None)}  # fmt: skip
        assert client.get("/api/air").json() == {"advisories": []}
        for unknown in ("hannae/nowhere", "nowhere", "/", "hannae/u-5/x", "%00/%00", "\udcff"):
            assert client.get("/api/air?unit=" + unknown.encode("utf-8", "replace").decode()).status_code == 404
