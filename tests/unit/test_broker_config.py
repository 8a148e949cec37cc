"""The files for a broker of one's own: each user's rights, no plaintext where the broker takes hashes, unchanged
files for an unchanged registry; what the command refuses; and what nodes and receivers take from the settings.
"""

import base64
import csv
import errno
import hashlib
import io
import os
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from bongsu.cli.broker import config as command
from bongsu.cli.context import Installation
from bongsu.cli.node import provision
from bongsu.errors import BongsuError, UsageFault
from bongsu.install.bundle import Bundle
from bongsu.receiver import broker_config, broker_emqx, broker_files, broker_mosquitto, broker_nats, registry_nodes
from bongsu.receiver.broker import find_executable
from bongsu.receiver.broker_access import Access, node_access, receiver_access
from bongsu.receiver.broker_config import Wanted
from bongsu.receiver.broker_link import external_login
from bongsu.receiver.broker_nats import Member
from bongsu.receiver.config import ConfigError, load
from bongsu.receiver.init_data import init_data
from bongsu.receiver.keys import BrokerLogin, MasterKey
from bongsu.receiver.store import open_store
from bongsu_node import config as node_config

NODE = "a0b1c2d3e4f5"
MASTER = MasterKey(bytes(32))
USERS = [
    receiver_access("r-7", "pw-of-r", "r-id", 7),
    node_access(BrokerLogin(NODE, f"n-{NODE}", "pw-of-n", "c-id")),
]
MEMBERS = tuple(Member(f"n{i}", f"192.0.2.1{i}", 8883, 6222) for i in (1, 2, 3))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, for its CA."""
    folder = tmp_path_factory.mktemp("made") / "data"
    init_data(folder, now_ms=1_790_000_000_000)
    return folder


def made(wanted: Wanted, data: Path, out: Path) -> dict[str, str]:
    """The files, written and as text."""
    files = broker_config.make_files(wanted, USERS, MASTER, data / "ca", out)
    broker_files.write_files(out, files)
    return {name: (out / name).read_text() for name in files}


def test_rights_of_a_node_and_of_a_receiver() -> None:
    receiver, node = USERS
    assert node.publish == (f"bongsu/v1/up/{NODE}/e", f"bongsu/v1/up/{NODE}/h")
    assert node.subscribe == (f"bongsu/v1/down/{NODE}",)
    assert receiver.publish == ("bongsu/v1/down/+", "bongsu/v1/canary/7")
    assert receiver.subscribe == ("bongsu/v1/up/+/e", "bongsu/v1/up/+/h", "bongsu/v1/canary/7")
    assert "pw-of" not in repr(receiver) and "r-id" not in repr(receiver)


@pytest.mark.parametrize("kind", broker_config.KINDS)
def test_the_same_registry_gives_the_same_files_and_they_are_private(tmp_path: Path, data: Path, kind: str) -> None:
    wanted = Wanted(kind=kind, names=("192.0.2.10",))  # type: ignore[arg-type]
    first = made(wanted, data, tmp_path)
    again = broker_config.make_files(wanted, USERS, MASTER, data / "ca", tmp_path)
    assert broker_files.write_files(tmp_path, again) == []
    for name, text in first.items():
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        assert kind == "nats" or ("pw-of" not in text)
    assert not list(tmp_path.glob(".*.new"))


def test_mosquittos_passwords_are_salted_hashes_that_it_accepts(tmp_path: Path, data: Path) -> None:
    files = made(Wanted(kind="mosquitto"), data, tmp_path)
    for line, access in zip(files[broker_mosquitto.PASSWORDS].splitlines(), USERS, strict=True):
        user, _, hashed = line.partition(":")
        _, version, rounds, salt, digest = hashed.split("$")
        expected = hashlib.pbkdf2_hmac("sha512", access.password.encode(), base64.b64decode(salt), int(rounds), 64)
        assert (user, version) == (access.user, "7") and base64.b64decode(digest) == expected
    assert files[broker_mosquitto.ACL].split("\n\n")[1].splitlines() == [
        "user r-7",
        "topic write bongsu/v1/down/+",
        "topic readwrite bongsu/v1/canary/7",
        "topic read bongsu/v1/up/+/e",
        "topic read bongsu/v1/up/+/h",
    ]


def test_emqxs_users_are_salted_hashes_and_its_acl_does_not_grow_with_the_nodes(tmp_path: Path, data: Path) -> None:
    files = made(Wanted(kind="emqx"), data, tmp_path)
    rows = list(csv.DictReader(io.StringIO(files[broker_emqx.USERS])))
    assert list(rows[0]) == ["user_id", "password_hash", "salt", "is_superuser"]
    for row, access in zip(rows, USERS, strict=True):
        assert row["user_id"] == access.user and row["is_superuser"] == "false"
        assert row["password_hash"] == hashlib.sha256((access.password + row["salt"]).encode()).hexdigest()
    rules = [line for line in files[broker_emqx.ACL].splitlines() if not line.startswith("%%")]
    assert rules[0] == '{allow, {username, "r-7"}, publish, ["bongsu/v1/down/+", "bongsu/v1/canary/7"]}.'
    assert rules[-1] == "{deny, all}." and len(rules) == 5 and NODE not in files[broker_emqx.ACL]
    assert "no_match = deny" in files[broker_emqx.CONF]


def test_a_clusters_members_are_bound_to_each_other_and_replicate(tmp_path: Path, data: Path) -> None:
    files = made(Wanted(kind="nats", members=MEMBERS), data, tmp_path)
    conf = files["n2/nats.conf"]
    assert "stream_replicas: 3" in conf and "verify: true" in conf and "consumer_inactive_threshold" not in conf
    assert "@192.0.2.11:6222" in conf and "@192.0.2.13:6222" in conf and "@192.0.2.12:6222" not in conf
    cert = x509.load_pem_x509_certificate(files["n2/server.crt"].encode())
    uses = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert "192.0.2.12" in map(str, names.get_values_for_type(x509.IPAddress))


@pytest.mark.parametrize("members", [(), MEMBERS])
def test_nats_takes_its_configuration(tmp_path: Path, data: Path, members: tuple[Member, ...]) -> None:
    made(Wanted(kind="nats", members=members), data, tmp_path)
    folder = tmp_path / "n1" if members else tmp_path
    done = subprocess.run([find_executable(), "-t", "-c", "nats.conf"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_certificate_that_lacks_a_name_is_made_anew_and_another_kept(tmp_path: Path, data: Path) -> None:
    first = made(Wanted(kind="nats", names=("192.0.2.10",)), data, tmp_path)
    assert made(Wanted(kind="nats"), data, tmp_path)["server.crt"] == first["server.crt"]
    assert made(Wanted(kind="nats", names=("192.0.2.99",)), data, tmp_path)["server.crt"] != first["server.crt"]


def test_a_file_that_cannot_be_written_is_said_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acl").write_text("old")
    (tmp_path / "acl").chmod(0o600)

    def refuse(_new: str, path: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(broker_files.os, "replace", refuse)
    with pytest.raises(broker_files.BrokerFilesError, match=r"cannot write .*acl"):
        broker_files.write_files(tmp_path, {"acl": "new"})
    assert (tmp_path / "acl").read_text() == "old"


@pytest.mark.parametrize("text", ["", "0", "1", "-4", "x"])
def test_a_pid_file_that_names_no_broker_signals_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    with pytest.raises(broker_files.BrokerFilesError, match="holds no process id"):
        broker_files.reload(tmp_path / "pid")


def test_reload_says_it_to_the_process(tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _frame: heard.append(number))
    try:
        (tmp_path / "pid").write_text(f"{os.getpid()}\n")
        assert broker_files.reload(tmp_path / "pid") == os.getpid()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert heard == [signal.SIGHUP]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["mosquitto", "--cluster", "n1=192.0.2.1"], "--cluster is for nats"),
        (["nats", "--cluster", "n1=192.0.2.1"], "a cluster has three members"),
        (["nats", *(f"--cluster=n1=192.0.2.{i}" for i in (1, 2, 3))], "two members of the cluster have one name"),
        (["nats", "--cluster", "192.0.2.1"], "is no member"),
        (["nats", "--cluster", "n1=192.0.2.1:1:2:3"], "is no address"),
        (["nats", "--cluster", "n1=192.0.2.1:0"], "is no port"),
        (["nats", "--cluster", "N 1=192.0.2.1"], "member"),
        (["emqx", "--reload", "pid"], "EMQX takes no SIGHUP"),
        (["nats", "--plain"], "--plain is for loopback only"),
        (["nats", "--listen", "0.0.0.0"], "is not ADDRESS:PORT"),
        (["nats", "--listen", "0.0.0.0:x"], "is no port"),
    ],
)
def test_wrong_usage_writes_nothing(tmp_path: Path, data: Path, args: list[str], said: str) -> None:
    done = CliRunner().invoke(command, [*args, "--out", str(tmp_path / "out")], obj=Installation(data))
    assert isinstance(done.exception, UsageFault | BongsuError) and said in done.exception.message
    assert done.exception.next_step and not (tmp_path / "out").exists()


def test_the_command_says_what_the_receiver_needs(tmp_path: Path, data: Path) -> None:
    members = [f"--cluster=n{i}=192.0.2.1{i}" for i in (1, 2, 3)]
    done = CliRunner().invoke(command, ["nats", "--out", str(tmp_path / "out"), *members], obj=Installation(data))
    assert done.exit_code == 0, done.output
    assert 'url = ["mqtts://192.0.2.11:8883", "mqtts://192.0.2.12:8883", "mqtts://192.0.2.13:8883"]' in done.output
    assert 'server_hostname = "bongsu-broker"' in done.output


def test_names_with_quotes_stay_one_word_in_natss_file(tmp_path: Path) -> None:
    odd = Access('a"b\\c', 'p"w', "id", ("x/y",), ("x/+",))
    place = broker_nats.Place("::1", 1, "s", "l", None)
    (tmp_path / "nats.conf").write_text(broker_nats.configuration("one", place, [odd], max_store_mb=16))
    command_line = [find_executable(), "-t", "-c", str(tmp_path / "nats.conf")]
    done = subprocess.run(command_line, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- what is taken from the settings


def settings(data: Path, broker: str) -> None:
    """Write receiver.toml with this section [broker]."""
    (data / "receiver.toml").write_text(f'[broker]\nmode = "external"\n{broker}\n')


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """A data folder with one registered node."""
    init_data(tmp_path / "data", now_ms=1_790_000_000_000)
    store = open_store(f"sqlite:///{tmp_path / 'data' / 'bongsu.db'}")
    with store.write() as conn:
        registry_nodes.add_node(conn, node_id=NODE, unit=None, label="", now_ms=1)
    store.close()
    return tmp_path / "data"


def test_a_node_is_given_every_address_of_the_broker(market: Path, tmp_path: Path) -> None:
    settings(market, 'url = ["mqtts://192.0.2.11", "mqtts://192.0.2.12:18883"]\nca_file = "ca/ca.crt"')
    args = [NODE, "--out", str(tmp_path / "bundle")]
    done = CliRunner().invoke(provision, args, obj=Installation(market))
    assert done.exit_code == 0, done.output or done.exception
    document = Bundle.load(tmp_path / "bundle").node_json
    place = document["broker"]
    assert (place["ip"], place["port"]) == ("192.0.2.11", 8883)
    assert place["more"] == [{"ip": "192.0.2.12", "port": 18883}]
    assert node_config.parse(document, NODE).errors == []
    named = [NODE, "--out", str(tmp_path / "other"), "--broker-ip", "198.51.100.1"]
    assert CliRunner().invoke(provision, named, obj=Installation(market)).exit_code == 0
    place = Bundle.load(tmp_path / "other").node_json["broker"]
    assert place["ip"] == "198.51.100.1" and "more" not in place


def test_each_receiver_has_a_login_of_its_own_unless_one_is_named(market: Path) -> None:
    settings(market, 'url = ["mqtt://127.0.0.1:1", "mqtt://[::1]:2"]')
    config = load(market / "receiver.toml")
    one, two = (external_login(config, MASTER, sender, "c") for sender in (1, 2))
    assert (one.user, two.user) == ("r-1", "r-2") and one.password != two.password and len(one.password) >= 32
    assert ((one.host, one.port), *one.more) == (("127.0.0.1", 1), ("::1", 2))
    (market / "pw").write_text("named\n")
    settings(market, 'url = "mqtt://127.0.0.1"\nuser = "central"\npassword_file = "pw"')
    named = external_login(load(market / "receiver.toml"), MASTER, 1, "c")
    assert (named.user, named.password, named.port, named.more) == ("central", "named", 1883, ())


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("url = []", "[broker] url: missing"),
        ('url = ["mqtts://a", "http://b"]', "[broker] url: must begin with mqtt:// or mqtts://"),
        ('url = ["mqtts://a", "mqtt://127.0.0.1"]', "some addresses are mqtt://, others mqtts://"),
        ('url = ["mqtts://a", "mqtt://192.0.2.1"]', "without TLS is only allowed on loopback"),
        ('url = ["mqtts://a", "mqtts://b", "mqtts://c", "mqtts://d", "mqtts://e"]', "more than 4 addresses"),
        ('url = ["mqtts://a", 7]', "[broker] url"),
        ('url = "mqtts://u:p@a"', "holds a password"),
        ('url = "mqtts://a"\npassword_file = "pw"', "there is no user"),
    ],
)
def test_wrong_addresses_are_said(market: Path, broker: str, said: str) -> None:
    settings(market, broker)
    with pytest.raises(ConfigError) as raised:
        load(market / "receiver.toml")
    assert said in raised.value.message and raised.value.next_step
