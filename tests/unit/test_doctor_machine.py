"""`bongsu doctor` on what installers need: serial ports with their drivers and rights, and the channels' credentials.
Each finding says what to do.
"""

import base64
import json
import os
from pathlib import Path

import pytest

from bongsu.install import ports
from bongsu.install.ports import Port
from bongsu.receiver.config import Config, load
from bongsu.receiver.doctor import FAIL, OK, WARN, Finding, credentials, network, running, serial_ports
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.release import this_version
from tests.registry_parts import bongsu

CP210X = Port("/dev/ttyUSB0", "CP2102", "10c4:ea60", "0001")
SMS = """
[sms]
url = "https://sms.example/send"
token_file = "secrets/sms"
headers = {authorization = "B {token}"}
"""
SECRET = "Zq8-tr5v_0pKx2"


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> list[Port]:
    """The ports that are there: none, until the test puts some."""
    found: list[Port] = []
    monkeypatch.setattr(ports, "found", lambda: found)
    monkeypatch.setattr(ports, "holders", lambda url: "")
    return found


def _look(devices: Path) -> list[tuple[str, str, str]]:
    found = list(serial_ports.look(devices))
    assert all(one.next for one in found if one.level != OK)
    return [(one.level, one.what, one.next) for one in found]


def _usb(devices: Path, name: str, usb: str, tty: str | None = None) -> None:
    folder = devices / name
    (folder / f"{name}:1.0" / (tty or "power")).mkdir(parents=True)
    for file, text in zip(("idVendor", "idProduct"), usb.split(":"), strict=True):
        (folder / file).write_text(f"{text}\n")


# ---- serial ports


def test_no_board_is_no_fault(tmp_path: Path, plugged: list[Port]) -> None:
    (tmp_path / "1-0:1.0").mkdir()
    _usb(tmp_path, "1-2", "046d:c077")  # a mouse
    assert _look(tmp_path) == [(OK, "no board is plugged in", "")]
    assert _look(tmp_path / "none") == [(OK, "no board is plugged in", "")]


def test_a_port_that_can_be_opened(tmp_path: Path, plugged: list[Port], monkeypatch: pytest.MonkeyPatch) -> None:
    plugged.append(CP210X)
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    _usb(tmp_path, "1-1", "10c4:ea60", "ttyUSB0")
    ((level, what, _),) = _look(tmp_path)
    assert level == OK and "/dev/ttyUSB0" in what and "10c4:ea60" in what


def test_a_port_of_another_names_the_command(
    tmp_path: Path, plugged: list[Port], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugged.append(Port(str(tmp_path), "CP2102", "10c4:ea60"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(ports, "how_to_open", lambda url: f"this opens {url}")
    ((level, what, step),) = _look(tmp_path / "none")
    assert level == WARN and "may not be opened" in what and step == f"this opens {tmp_path}"


def test_a_port_that_is_gone_meanwhile(plugged: list[Port], tmp_path: Path) -> None:
    plugged.append(Port(str(tmp_path / "ttyUSB9"), "CP2102", "10c4:ea60"))
    ((level, _, step),) = _look(tmp_path)
    assert level == WARN and "dialout" in step


def test_who_has_a_port_open_is_named(tmp_path: Path, plugged: list[Port], monkeypatch: pytest.MonkeyPatch) -> None:
    plugged.append(CP210X)
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    monkeypatch.setattr(ports, "holders", lambda url: " by picocom (process 123)")
    ((level, what, _),) = _look(tmp_path)
    assert level == WARN and "in use by picocom (process 123)" in what


@pytest.mark.parametrize(
    ("usb", "said"),
    [("10c4:ea60", "modprobe cp210x"), ("1a86:7523", "brltty"), ("1a86:55d4", "cdc_acm"), ("303a:1001", "cdc_acm")],
)
def test_a_board_without_a_port_names_its_driver(tmp_path: Path, plugged: list[Port], usb: str, said: str) -> None:
    _usb(tmp_path, "1-1", usb)
    ((level, what, step),) = _look(tmp_path)
    assert level == WARN and usb in what and said in step


# ---- credentials


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    data = tmp_path / "m"
    monkeypatch.setenv("BONGSU_DATA", str(data))
    assert bongsu("init").code == 0
    path = data / "receiver.toml"
    path.write_text(path.read_text() + SMS)
    (data / "secrets").mkdir(exist_ok=True)
    (data / "secrets").chmod(0o700)
    _secret(data, SECRET)
    return load(path)


def _secret(data: Path, text: str, mode: int = 0o600) -> Path:
    path = data / "secrets" / "sms"
    path.write_text(text)
    path.chmod(mode)
    return path


def _files(config: Config) -> list[Finding]:
    found = list(credentials.files(config))
    assert all(one.next for one in found if one.level != OK)
    assert SECRET not in str(found) and "hunter2" not in str(found)
    return found


def test_a_secret_of_ones_own_is_well(config: Config) -> None:
    assert [(one.level, one.check) for one in _files(config)] == [(OK, "sms gateway")]


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        ("changeme\n", FAIL, "default"),
        ("Your-Token", FAIL, "default"),
        ("PASSWORD123", FAIL, "default"),
        ("00000000000000", FAIL, "default"),
        ("hunter2", WARN, "less than"),
    ],
)
def test_a_secret_that_everybody_knows_is_named(config: Config, text: str, level: str, said: str) -> None:
    _secret(config.data_dir, text)
    (found,) = _files(config)
    assert found.level == level and said in found.what


def test_a_secret_that_others_may_read(config: Config) -> None:
    path = _secret(config.data_dir, SECRET, 0o644)
    (found,) = _files(config)
    assert found.level == FAIL and f"chmod 600 {path}" in found.next


def test_a_secret_that_is_missing(config: Config) -> None:
    (config.data_dir / "secrets" / "sms").unlink()
    (found,) = _files(config)
    assert found.level == FAIL and "cannot read" in found.what
    ran = json.loads(bongsu("doctor", "--offline", "--json").out)
    assert [one["level"] for one in ran if "secrets/sms" in one["what"]] == ["fail"]


def test_settings_of_the_gateway_that_do_not_fit_together(config: Config) -> None:
    path = config.data_dir / "receiver.toml"
    path.write_text(path.read_text().replace("B {token}", "B {tocken}"))
    assert [one.level for one in _files(load(path))] == [OK, FAIL]


def test_a_secret_within_the_settings(config: Config) -> None:
    path = config.data_dir / "receiver.toml"
    path.write_text(path.read_text().replace("B {token}", "Bearer hunter2"))
    found = _files(load(path))
    assert [one.level for one in found] == [OK, WARN] and "receiver.toml" in found[1].what


def test_signing_secrets_open_and_are_random(config: Config, tmp_path: Path) -> None:
    weak = tmp_path / "weak"
    weak.write_text("whsec_" + base64.b64encode(b"ab" * 12).decode())
    weak.chmod(0o600)
    add = ("responder", "add", "--kind", "station", "--name", "S", "--url", "http://127.0.0.1:9/")
    assert bongsu(*add, "fire-1").code == 0
    assert bongsu(*add, "fire-2", "--secret-file", weak).code == 0
    found = json.loads(bongsu("doctor", "--offline", "--json").out)
    said = {(one["level"], one["what"]) for one in found if one["check"] == "responders"}
    assert (OK, "1 signing secrets open, and are random") in said
    assert (WARN, "the signing secrets of fire-2 are not random") in said
    key = config.data_dir / MASTER_KEY_NAME
    key.write_bytes(bytes(32))
    load_master(key)
    found = json.loads(bongsu("doctor", "--offline", "--json").out)
    assert any(one["level"] == FAIL and "fire-1, fire-2 do not open" in one["what"] for one in found)


# ---- the receiver


@pytest.mark.parametrize(("more", "warns"), [("", False), (".1", True)])
def test_a_receiver_of_another_version_than_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, warns: bool
) -> None:
    """It was not started again after an update."""
    state = {"ok": False, "reasons": [], "faults": [], "counters": {"log_dropped": 0}, "version": this_version() + more}
    monkeypatch.setattr(running, "ask_state", lambda folder: state)
    _, found = running.ask(tmp_path)
    assert [one.level for one in found] == [WARN] * warns
    assert not warns or (f"{this_version()}.1" in found[0].what and "Restart it" in found[0].next)


# ---- the command


def test_offline_connects_to_nothing_but_this_machine(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(network, "_reach", lambda host, *_: asked.append(host) or "")
    assert bongsu("doctor", "--offline").code == 1
    assert asked == []
    bongsu("doctor")
    assert asked == ["sms.example"]


def test_ports_are_looked_at_without_a_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BONGSU_DATA", str(tmp_path / "none"))
    found = json.loads(bongsu("doctor", "--json").out)
    assert [one["check"] for one in found][:2] == ["data folder", "serial ports"]
