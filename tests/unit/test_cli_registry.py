"""The registry's commands as people and scripts use them: tables, JSON, errors with a next step, exit codes."""

import base64
import io
import json
import os
import socket
import sqlite3
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from bongsu.install.bundle import Bundle, BundleError
from bongsu.receiver import service
from bongsu.receiver.keys import load_master, usable_keys
from bongsu.receiver.store import engine, schema
from tests import postgres_parts
from tests.registry_parts import (
    NODE,
    NOW_MS,
    Ran,
    bongsu,
    bongsu_process,
    fill,
    new_store,
    on_this_engine,
    open_incident,
)

SHOPS = Path(__file__).parents[1] / "data" / "shops"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one market."""
    folder = tmp_path / "data"
    assert bongsu("init", "--data", folder, *on_this_engine(folder)).code == 0
    with new_store(folder) as store:
        fill(store)
    return folder


def _json(ran: Ran) -> object:
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def _count(data: Path, table: str) -> int:
    with new_store(data) as store, store.read() as conn:
        return int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_whole_registry_by_hand(tmp_path: Path) -> None:
    data = tmp_path / "d"
    for words in (
        ("init", *on_this_engine(data)),
        ("site", "add", "hannae", "--name", "한내시장", "--address", "한내로 12"),
        ("unit", "add", "hannae/A-07", "--name", "봉수 떡집", "--place", "A동 7호"),
        ("contact", "add", "owner-1", "--name", "점주", "--phone", "010-1234-5678", "--unit", "hannae/a-07"),
        ("contact", "add", "dep-1", "--name", "Deputy", "--phone", "01098765432", "--lang", "en"),
        ("contact", "assign", "dep-1", "hannae/a-07", "--role", "deputy"),
        ("node", "add", "A0:B1:C2:D3:E4:F5", "--unit", "hannae/a-07", "--label", "above the oven"),
        ("responder", "add", "119", "--kind", "station", "--name", "한내소방서", "--url", "https://119.example/in"),
    ):
        ran = bongsu("--data", data, *words)
        assert (ran.code, ran.err) == (0, ""), ran
    shown = bongsu("unit", "show", "hannae/a-07", "--data", data).out
    assert "010-****-5678" in shown and "010-****-5432" in shown and NODE in shown
    assert _json(bongsu("site", "list", "--json", "--data", data)) == [
        {
            "id": "hannae",
            "name": "한내시장",
            "kind": "market",
            "address": "한내로 12",
            "tz": "Asia/Seoul",
            "area": "",
            "dispatch_policy": "on_alarm",
            "unverified_after_s": 15,
            "units": 1,
            "stations": ["119"],
        }
    ]


LISTS = ("site", "unit", "contact", "node", "responder", "incident")


@pytest.mark.parametrize("group", LISTS)
def test_empty_lists(tmp_path: Path, group: str) -> None:
    assert bongsu("init", "--data", tmp_path / "d", *on_this_engine(tmp_path / "d")).code == 0
    plain = bongsu(group, "list", "--data", tmp_path / "d")
    assert (plain.code, plain.out) == (0, "") and plain.err.startswith("No ")
    assert _json(bongsu(group, "list", "--json", "--data", tmp_path / "d")) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["site", "add", "hannae", "--name", "x"], "site hannae is already registered"),
        (["site", "show", "nowhere"], "there is no site"),
        (["unit", "add", "hannae/a-07", "--name", "x"], "hannae/a-07 is already registered"),
        (["unit", "add", "nowhere/a-07", "--name", "x"], "there is no site"),
        (["unit", "show", "hannae/zz"], "there is no unit hannae/zz"),
        (["unit", "list", "--site", "nowhere"], "there is no site"),
        (
            ["contact", "add", "owner-1", "--name", "x", "--phone", "010-2222-3333"],
            "contact owner-1 is already registered",
        ),
        (["contact", "add", "dep-1", "--name", "x", "--phone", "010-1234-5678"], "already that of contact owner-1"),
        (
            ["contact", "add", "dep-1", "--name", "x", "--phone", "010-2222-3333", "--unit", "hannae/a-07"],
            "has an owner already",
        ),
        (["contact", "assign", "owner-1", "hannae/a-07"], "belongs to hannae/a-07 already"),
        (["contact", "assign", "nobody", "hannae/a-08"], "there is no contact"),
        (["contact", "show", "nobody"], "there is no contact"),
        (["node", "add", NODE], f"node {NODE} is already registered"),
        (["node", "show", "fefefefefefe"], "is not registered"),
        (["node", "assign", NODE, "hannae/zz"], "there is no unit"),
        (
            ["responder", "add", "x", "--kind", "centre", "--name", "x", "--url", "https://x", "--site", "zz"],
            "there is no site",
        ),
        (["responder", "show", "x"], "there is no responder"),
        (["import", "missing.csv", "--site", "hannae"], "cannot read missing.csv"),
    ],
)
def test_failures(data: Path, words: list[str], says: str) -> None:
    before = [_count(data, t) for t in ("site", "unit", "contact", "unit_contact", "node", "responder")]
    ran = bongsu(*words, "--data", data)
    assert ran.code == 1 and says in ran.err and "next:" in ran.err and ran.out == ""
    assert [_count(data, t) for t in ("site", "unit", "contact", "unit_contact", "node", "responder")] == before
    assert not list((data / "secrets").glob("*")) if (data / "secrets").exists() else True


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["site", "add", "한내", "--name", "x"], "is no id"),
        (["site", "add", "x", "--name", " "], "name is empty"),
        (["site", "add", "x", "--name", "x", "--tz", "KST"], "time zone"),
        (["unit", "add", "a-07", "--name", "x"], "names no site"),
        (["unit", "show", "a-07"], "names no site"),
        (["contact", "add", "dep-1", "--name", "x", "--phone", "12345"], "phone number"),
        (["node", "add", "xyz"], "is not 12 hex digits"),
        (["node", "add", "ffffffffffff"], "no board's MAC"),
        (["node", "add", "000000000000"], "no board's MAC"),
        (["node", "add", "01005e000001"], "no board's MAC"),
        (["node", "retire", "xyz"], "is not 12 hex digits"),
        (["node", "provision", "xyz", "--out", "x"], "is not 12 hex digits"),
        (["node", "order", "xyz", "test"], "is not 12 hex digits"),
        (["responder", "add", "x", "--kind", "centre", "--name", "x", "--url", "x"], "not a web address"),
        (["responder", "add", "x", "--kind", "centre", "--name", "x", "--url", "http://a.example/"], "plain http"),
    ],
)
def test_values_that_can_never_be_right(data: Path, words: list[str], says: str) -> None:
    """Wrong usage, like an unknown option: a script that repeats such a command will not succeed."""
    before = (data / "bongsu.db").read_bytes()
    ran = bongsu(*words, "--data", data)
    assert ran.code == 2 and says in ran.err and "next:" in ran.err and ran.out == ""
    assert (data / "bongsu.db").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["site", "add"],
        ["site", "nonsense"],
        ["incident", "close", "1"],
        ["incident", "ack", "x", "--seen", "1"],
    ],
)
def test_usage_errors(data: Path, words: list[str]) -> None:
    ran = bongsu("--data", data, *words)
    assert ran.code == 2 and "Usage:" in ran.err


def test_help_and_version() -> None:
    ran = bongsu("--help")
    assert ran.code == 0 and "Examples:" in ran.out and "incident" in ran.out and "2 wrong usage" in ran.out
    assert bongsu("--version").out.startswith("bongsu")
    for group in LISTS:
        assert bongsu(group, "--help").code == 0


def test_missing_data_folder(tmp_path: Path) -> None:
    ran = bongsu("site", "list", "--data", tmp_path / "none")
    assert ran.code == 1 and f"bongsu init --data {tmp_path / 'none'}" in ran.err


EVERY_KIND = [["site", "list"], ["receiver", "run"], ["receiver", "run", "--config", "{data}/receiver.toml"]]


@pytest.fixture
def no_receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """`receiver run` ends before it starts; the umask that it would have run under is kept."""
    masks: list[int] = []

    def run(_config: object, _log_format: str) -> int:
        masks.append(os.umask(0o022))
        return 0

    monkeypatch.setattr(service, "run", run)
    before = os.umask(0o022)
    yield masks
    os.umask(before)


def _run_kind(data: Path, words: list[str]) -> Ran:
    return bongsu("--data", data, *(w.replace("{data}", str(data)) for w in words))


@pytest.mark.sqlite
@pytest.mark.parametrize("words", EVERY_KIND)
@pytest.mark.parametrize("empty", [False, True])
def test_missing_database_is_not_made_anew(data: Path, no_receiver: list[int], words: list[str], empty: bool) -> None:
    """A new one would be an empty registry: every node's alarm refused, and nobody the wiser."""
    (data / "bongsu.db").unlink()
    if empty:
        (data / "bongsu.db").write_bytes(b"")
    ran = _run_kind(data, words)
    assert ran.code == 1 and f"the database {data}/bongsu.db is missing" in ran.err and "Restore the backup" in ran.err
    assert not no_receiver and (data / "bongsu.db").exists() == empty


@pytest.mark.sqlite
@pytest.mark.parametrize("words", EVERY_KIND)
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:///bongus.db", "bongus.db is missing"),
        ("sqlite:///bongsu.db/x", "cannot be opened"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("nonsense", "not usable"),
        ("postgresql://h/d", "postgresql is not supported, PostgreSQL is postgresql+psycopg://"),
        ("postgresql+psycopg://127.0.0.1:1/d", "the database server does not answer"),
    ],
)
def test_mistyped_store_url(data: Path, no_receiver: list[int], words: list[str], url: str, says: str) -> None:
    (data / "receiver.toml").write_text(f'[store]\nurl = "{url}"\n')
    ran = _run_kind(data, words)
    assert ran.code == 1 and says in ran.err and "[store] url" in ran.err
    assert not no_receiver and not (data / "bongus.db").exists()


@pytest.mark.parametrize("words", EVERY_KIND)
@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701])
def test_data_folder_open_to_others(data: Path, no_receiver: list[int], words: list[str], mode: int) -> None:
    data.chmod(mode)
    ran = _run_kind(data, words)
    assert ran.code == 1 and "open to other users" in ran.err and f"chmod 700 {data}" in ran.err
    assert not no_receiver


def test_what_the_receiver_writes_is_for_its_user_only(data: Path, no_receiver: list[int]) -> None:
    assert bongsu("receiver", "run", "--data", data).code == 0 and no_receiver == [0o077]


def test_broken_settings_are_named(data: Path) -> None:
    (data / "receiver.toml").write_text("[broker]\nport = 'x'\n")
    ran = bongsu("site", "list", "--data", data)
    assert ran.code == 1 and "[broker] port" in ran.err


def test_data_folder_by_environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONGSU_DATA", str(data))
    assert bongsu("site", "list").code == 0


def test_unmasking_is_audited(data: Path) -> None:
    assert "010-****-5678" in bongsu("contact", "show", "owner-1", "--data", data).out
    assert _count(data, "audit") == 0
    assert "+821012345678" in bongsu("contact", "show", "owner-1", "--unmask", "--data", data).out
    with new_store(data) as store, store.read() as conn:
        rows = conn.execute(select(schema.audit.c.action, schema.audit.c.subject)).all()
    assert [tuple(row) for row in rows] == [("phone.unmasked", "contact:owner-1")]


def test_provisioning_writes_a_bundle(data: Path, tmp_path: Path) -> None:
    psk = tmp_path / "psk"
    psk.write_text("passphrase 1\n")
    out = tmp_path / "bundle"
    ran = bongsu("node", "provision", NODE, "--out", out, "--wifi", f"market={psk}", "--data", data)
    assert ran.code == 0, ran.err
    bundle = Bundle.load(out)
    assert (bundle.node_id, bundle.key_epoch, len(bundle.key)) == (NODE, 1, 16)
    node = bundle.node_json
    assert node["wifi"] == [{"ssid": "market", "psk": "passphrase 1"}] and (node["site"], node["unit"]) == (
        "hannae",
        "a-07",
    )
    assert node["broker"]["ip"] == "127.0.0.1" and node["broker"]["user"] == f"n-{NODE}" and node["broker"]["tls"]
    assert set(node["pins"]) >= {"i2c_sda", "smoke_adc", "siren"} and node["provisioned_s"] * 1000 > NOW_MS
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in out.iterdir()} == {0o600}
    with new_store(data) as store, store.read() as conn:
        assert usable_keys(conn, load_master(data / "master.key"), 0)[0].key == bundle.key
    for secret in (bundle.key.hex(), node["broker"]["password"], "passphrase 1"):
        assert secret not in ran.out + ran.err + repr(bundle)


def test_several_networks_open_ones_too(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-: a line of what is piped in. An open network has no passphrase, and no such entry."""
    monkeypatch.setattr("sys.stdin", io.StringIO("piped secret\n"))
    out = tmp_path / "bundle"
    wifi = ["--wifi", "market=-", "--wifi", "한내 guests"]
    ran = bongsu("node", "provision", NODE, "--out", out, *wifi, "--data", data)
    assert ran.code == 0, ran.err
    assert Bundle.load(out).node_json["wifi"] == [{"ssid": "market", "psk": "piped secret"}, {"ssid": "한내 guests"}]
    assert "piped" not in ran.out + ran.err


def test_provisioning_again_makes_a_new_epoch_and_keeps_the_login(data: Path, tmp_path: Path) -> None:
    bundles = []
    for name in ("one", "two"):
        assert bongsu("node", "provision", NODE, "--out", tmp_path / name, "--data", data).code == 0
        bundles.append(Bundle.load(tmp_path / name))
    first, second = bundles
    assert (first.key_epoch, second.key_epoch) == (1, 2) and first.key != second.key
    assert first.node_json["broker"] == second.node_json["broker"]


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (["--broker-ip", "broker.example"], "is no IP address", 2),
        (["--broker-ip", "0.0.0.0"], "cannot connect", 2),
        (["--board", "nonsense"], "no board", 1),  # a file of that name may come
        (["--wifi", "market="], "SSID=FILE", 2),
        (["--wifi", ""], "SSID=FILE", 2),
        (["--wifi", "x" * 33], "1 to 32 bytes", 2),
        (["--wifi", "a", "--wifi", "b"] * 5, "10 networks are too many", 2),
        (["--wifi", "market=/no/such"], "cannot read the Wi-Fi passphrase", 1),
        (["--out", "{full}"], "is there already", 1),
    ],
)
def test_provisioning_failures_use_no_epoch(data: Path, tmp_path: Path, words: list[str], says: str, code: int) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    out = [] if "--out" in words else ["--out", str(tmp_path / "bundle")]
    ran = bongsu(
        "node", "provision", NODE, *out, *(w.replace("{full}", str(tmp_path / "full")) for w in words), "--data", data
    )
    assert ran.code == code and says in ran.err
    assert _count(data, "node_key") == 0


def test_retired_node(data: Path, tmp_path: Path) -> None:
    assert bongsu("node", "provision", NODE, "--out", tmp_path / "b", "--data", data).code == 0
    assert bongsu("node", "retire", NODE, "--data", data).code == 0
    row = _json(bongsu("node", "show", NODE, "--json", "--data", data))
    assert (
        isinstance(row, dict)
        and row["state"] == "retired"
        and row["unit"] is None
        and row["keys"][0]["state"] == "retired"
    )
    assert "retired" in bongsu("node", "provision", NODE, "--out", tmp_path / "c", "--data", data).err
    assert "retired" in bongsu("node", "assign", NODE, "hannae/a-08", "--data", data).err


def test_node_with_an_open_alarm_is_retired_and_its_incident_stays(data: Path) -> None:
    """A stolen node that goes on alarming must not hinder its own end."""
    with new_store(data) as store:
        incident_id = open_incident(store)
    assert bongsu("node", "assign", NODE, "hannae/a-08", "--data", data).code == 1
    ran = bongsu("node", "retire", NODE, "--data", data)
    assert ran.code == 0 and f"Incident {incident_id} stays open" in ran.out, ran.err
    row = _json(bongsu("node", "show", NODE, "--json", "--data", data))
    assert isinstance(row, dict) and row["state"] == "retired"
    assert [i["state"] for i in _json(bongsu("incident", "list", "--json", "--data", data))] == ["open"]  # type: ignore[attr-defined]
    assert "is retired" in bongsu("node", "retire", NODE, "--data", data).err


@pytest.mark.parametrize("peer", ["station", "phone"])
def test_peer_on_a_taken_port(tmp_path: Path, peer: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + base64.b64encode(b"k" * 24).decode())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        more = ["--secret-file", secret] if peer == "station" else []
        ran = bongsu("sim", peer, "--port", taken.getsockname()[1], *more)
    assert ran.code == 1 and "in use" in ran.err and "next:" in ran.err and "another port" in ran.err


def test_responder_secrets(data: Path, tmp_path: Path) -> None:
    words = [
        "responder",
        "add",
        "119",
        "--kind",
        "station",
        "--name",
        "S",
        "--url",
        "http://127.0.0.1:1/",
        "--data",
        data,
    ]
    ran = bongsu(*words)
    written = data / "secrets" / "119.whsec"
    secret = written.read_text().strip()
    assert ran.code == 0 and str(written) in ran.out and stat.S_IMODE(written.stat().st_mode) == 0o600
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    with new_store(data) as store, store.read() as conn:
        stored = str(conn.execute(select(schema.responder)).all())
    assert secret not in ran.out + bongsu("responder", "show", "119", "--data", data).out + stored
    mine = tmp_path / "mine"
    mine.write_text("whsec_" + base64.b64encode(b"k" * 24).decode())
    words[2] = "own"
    assert bongsu(*words, "--secret-file", mine).code == 0 and not (data / "secrets" / "own.whsec").exists()
    mine.write_text("whsec_dG9vIHNob3J0")
    words[2] = "other"
    ran = bongsu(*words, "--secret-file", mine)
    assert ran.code == 1 and "whsec_ +" in ran.err and "dG9v" not in ran.err


def test_existing_secret_file_is_not_touched(data: Path) -> None:
    (data / "secrets").mkdir()
    (data / "secrets" / "119.whsec").write_text("theirs")
    ran = bongsu("responder", "add", "119", "--kind", "station", "--name", "S", "--url", "https://x/", "--data", data)
    assert ran.code == 1 and (data / "secrets" / "119.whsec").read_text() == "theirs"
    assert _count(data, "responder") == 0


def test_import_dry_run_and_real(data: Path) -> None:
    words = ("import", SHOPS / "market_en.csv", "--site", "hannae", "--data", data)
    dry = bongsu(*words, "--dry-run")
    assert dry.code == 0 and "Would import 4 units" in dry.out and "no mobile number" in dry.out
    assert _count(data, "unit") == 2
    ran = bongsu(*words)
    assert ran.code == 0 and "Imported 4 units, 4 new contacts, 2 nodes" in ran.out
    assert _count(data, "unit") == 6


@pytest.mark.parametrize("dry", [True, False])
def test_import_of_a_faulty_file(data: Path, dry: bool) -> None:
    words = ["import", SHOPS / "faulty.csv", "--site", "hannae", "--data", data, *(["--dry-run"] if dry else [])]
    ran = bongsu(*words)
    assert ran.code == 1 and "18 faults, nothing was imported" in ran.err
    assert [line.split()[0] for line in ran.out.splitlines()[2:7]] == ["3", "4", "5", "6", "7"]
    result = json.loads(bongsu(*words, "--json").out)
    assert not result["ok"] and not result["imported"] and len(result["faults"]) == 18
    assert _count(data, "unit") == 2


def test_running_receiver_is_woken(data: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(data / "control.sock"))
        listener.settimeout(5)
        assert bongsu("site", "add", "dongbu", "--name", "동부시장", "--data", data).code == 0
        assert listener.recv(64) == b"registry"
        listener.setblocking(False)
        bongsu("site", "add", "dongbu", "--name", "again", "--data", data)  # fails: nothing to tell
        with pytest.raises(BlockingIOError):
            listener.recv(64)


def test_control_socket_of_a_dead_receiver(data: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(data / "control.sock"))
    assert bongsu("site", "add", "dongbu", "--name", "동부시장", "--data", data).code == 0


def test_two_commands_at_once(data: Path) -> None:
    words = [("unit", "add", f"hannae/c-{n}", "--name", "x", "--data", data) for n in range(2)]
    running = [bongsu_process(*w) for w in (*words, words[0])]
    ended = [(p.wait(30), p.communicate()) for p in running]
    assert sorted(code for code, _ in ended) == [0, 0, 1]
    assert _count(data, "unit") == 4
    assert sum("already registered" in err for _, (_, err) in ended) == 1


@pytest.mark.sqlite
def test_locked_database(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 50)
    other = sqlite3.connect(data / "bongsu.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ran = bongsu("site", "add", "x", "--name", "x", "--data", data)
    other.execute("ROLLBACK")
    other.close()
    assert ran.code == 1 and "write lock" in ran.err and "next:" in ran.err


def test_reader_that_goes_away_and_odd_terminals(data: Path) -> None:
    process = bongsu_process(
        "unit", "list", "--json", "--data", data, env={**os.environ, "PYTHONIOENCODING": "latin-1"}
    )
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "\\ubd09" in out and err == ""
    closed = bongsu_process("unit", "list", "--data", data)
    assert closed.stdout is not None and closed.stderr is not None
    closed.stdout.close()
    assert closed.wait(30) in (0, 1) and "Traceback" not in closed.stderr.read()
    closed.stderr.close()


@pytest.mark.parametrize("change", ["node.json", "ident.json", "ca.der"])
def test_damaged_bundles(data: Path, tmp_path: Path, change: str) -> None:
    assert bongsu("node", "provision", NODE, "--out", tmp_path / "b", "--data", data).code == 0
    if change == "ca.der":
        (tmp_path / "b" / change).unlink()
    else:
        (tmp_path / "b" / change).write_text('{"node": "other"')
    with pytest.raises(BundleError) as caught:
        Bundle.load(tmp_path / "b")
    assert caught.value.next_step


def test_nothing_secret_in_arguments() -> None:
    """No option takes a secret itself: arguments are visible to every user of the machine."""
    for words in (["responder", "add"], ["node", "provision"], ["init"]):
        text = bongsu(*words, "--help").out
        assert "--secret " not in text and "--password" not in text and "--psk" not in text


def test_unexpected_errors_are_one_line(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_conn: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr("bongsu.receiver.registry.list_sites", broken)
    ran = bongsu("site", "list", "--data", data)
    assert ran.code == 1 and "fault of this program: RuntimeError: oops" in ran.err and "Traceback" not in ran.err


def test_entry_point_runs_as_a_module(data: Path) -> None:
    process = bongsu_process("nonsense")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2 and "No such command" in err
    assert isinstance(process, subprocess.Popen)


def test_provisioning_for_an_external_broker_takes_its_name_and_ca(data: Path, tmp_path: Path) -> None:
    assert bongsu("init", "--data", tmp_path / "other").code == 0  # another CA
    (data / "their.crt").write_bytes((tmp_path / "other" / "ca" / "ca.crt").read_bytes())
    (data / "receiver.toml").write_text(
        f'[store]\nurl = "{postgres_parts.store_url(data)}"\n[broker]\nmode = "external"\nurl = "mqtts://192.0.2.7"\n'
        'server_hostname = "broker.example"\nca_file = "their.crt"\n'
    )
    assert bongsu("node", "add", "a0b1c2d3e4f0", "--data", data).code == 0
    out = tmp_path / "bundle"
    assert bongsu("node", "provision", "a0b1c2d3e4f0", "--out", out, "--data", data).code == 0
    made = Bundle.load(out)
    broker = made.node_json["broker"]
    assert (broker["ip"], broker["port"], broker["server_hostname"]) == ("192.0.2.7", 8883, "broker.example")
    assert made.ca_der == ssl.PEM_cert_to_DER_cert((data / "their.crt").read_text())
