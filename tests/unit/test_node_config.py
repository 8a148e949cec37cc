"""/node.json: every error names its field, the last good document stands in, and defaults let the node sense."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from bongsu_node import config
from bongsu_node.sensing import limits

NODE = "a0b1c2d3e4f5"
GOOD: dict[str, Any] = {
    "v": 1,
    "node": NODE,
    "site": "hannae",
    "unit": "a-07",
    "wifi": [{"ssid": "market", "psk": "secret12"}, {"ssid": "open"}],
    "broker": {
        "ip": "10.0.0.2",
        "port": 8883,
        "tls": True,
        "server_hostname": "bongsu-broker",
        "user": f"n-{NODE}",
        "password": "pw",
        "client_id": "c" * 22,
        "more": [{"ip": "10.0.0.3", "port": 8883}, {"ip": "10.0.0.4", "port": 18883}],
    },
    "board": "esp32-devkitc",
    "pins": {"i2c_sda": 21, "i2c_scl": 22, "smoke_adc": 34, "siren": 25, "lamp": 26, "button": 27},
    "profile": "home",
    "detector": {"heat_alarm_dk": 3352, "heat_clear_dk": 3300, "smoke_alarm_e4": 700, "smoke_clear_e4": 520},
    "smoke_head": {"mv_clean": 500, "uv_per_e4": 900},
    "heartbeat_s": 30,
    "provisioned_s": 1_790_000_000,
}


DEFAULTS = dict(zip(limits.NAMES, limits.DEFAULTS, strict=True))


def limits_of(c: config.Config) -> dict[str, int]:
    return dict(zip(limits.NAMES, c.limits, strict=True))


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    *outer, last = path.split(".")
    inner: Any = document
    for key in outer:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[int(last) if last.isdigit() else last] = value
    return document


def test_a_good_document() -> None:
    c = config.parse(GOOD, NODE)
    assert c.errors == []
    assert (c.node, c.site, c.unit, c.heartbeat_s, c.provisioned_s) == (NODE, "hannae", "a-07", 30, 1_790_000_000)
    assert c.wifi == [{"ssid": "market", "psk": "secret12"}, {"ssid": "open", "psk": None}]
    assert c.broker == GOOD["broker"]
    assert limits_of(c) == DEFAULTS | GOOD["detector"] and c.profile == "home" and c.pins == GOOD["pins"]
    assert c.sensors == [{"type": "lm75"}, {"type": "smoke_head", "pin": 34, "mv_clean": 500, "uv_per_e4": 900}]


@pytest.mark.parametrize("role", ["node", "gateway"])
def test_a_role_is_carried(role: str) -> None:
    c = config.parse(changed("role", role), NODE)
    assert c.errors == [] and c.role == role
    assert config.parse(GOOD, NODE).role == "node"


def test_one_address_of_the_broker_is_enough() -> None:
    c = config.parse(changed("broker.more", ...), NODE)
    assert c.errors == [] and c.broker["more"] == []


def test_without_tls_every_address_is_on_loopback() -> None:
    document = changed("broker.tls", False)
    document["broker"] |= {"ip": "127.0.0.1", "more": [{"ip": "127.0.0.1", "port": 1}, {"ip": "10.0.0.4", "port": 2}]}
    assert config.parse(document, NODE).errors == ["broker.more[1].tls: may be false on loopback only"]


@pytest.mark.parametrize("absent", ["detector", "smoke_head", "pins", "heartbeat_s", "wifi", "site", "unit", "board"])
def test_what_may_be_left_out(absent: str) -> None:
    c = config.parse(changed(absent, ...), NODE)
    assert c.errors == [] and c.broker is not None
    if absent == "detector":
        assert limits_of(c) == DEFAULTS


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("v", 2, "v: must be a whole number from 1 to 1"),
        ("v", ..., "v: must be"),
        ("node", "a0b1c2d3e4f6", "node: is a0b1c2d3e4f6, but this board is a0b1c2d3e4f5"),
        ("node", 7, "node: must be a text of 12 to 12 characters"),
        ("site", "x" * 33, "site: must be a text"),
        ("role", "king", "role: must be one of node, gateway"),
        ("role", 1, "role: must be a text of 4 to 7 characters"),
        ("wifi", {}, "wifi: must be a list of at most 8 networks"),
        ("wifi", [{"ssid": "a"}] * 9, "wifi: must be a list"),
        ("wifi.1", "market", "wifi[1]: must be an object"),
        ("wifi.0.ssid", "", "wifi[0].ssid: must be a text of 1 to 32 characters"),
        ("wifi.0.psk", "short", "wifi[0].psk: must be a text of 8 to 63 characters"),
        ("wifi.1.psk", 12345678, "wifi[1].psk: must be a text"),
        ("broker", ..., "broker: must be an object"),
        ("broker", None, "broker: must be an object"),
        ("broker.ip", "broker.local", "broker.ip: must be an IPv4 address"),
        ("broker.ip", "10.0.0.256", "broker.ip: must be an IPv4 address"),
        ("broker.ip", "10.0.0.", "broker.ip: must be an IPv4 address"),
        ("broker.port", 0, "broker.port: must be a whole number from 1 to 65535"),
        ("broker.port", "8883", "broker.port: must be a whole number"),
        ("broker.port", True, "broker.port: must be a whole number"),
        ("broker.tls", "no", "broker.tls: must be true or false"),
        ("broker.tls", False, "broker.tls: may be false on loopback only"),
        ("broker.server_hostname", ..., "broker.server_hostname: must be a text"),
        ("broker.client_id", "guess", "broker.client_id: must be a text of 8 to 64 characters"),
        ("broker.password", None, "broker.password: must be a text"),
        ("broker.more", {}, "broker.more: must be a list of at most 3 addresses"),
        ("broker.more", [{"ip": "10.0.0.3"}] * 4, "broker.more: must be a list of at most 3 addresses"),
        ("broker.more.1", "10.0.0.4", "broker.more[1]: must be an object"),
        ("broker.more.1.ip", "n3.local", "broker.more[1].ip: must be an IPv4 address"),
        ("broker.more.0.port", 70_000, "broker.more[0].port: must be a whole number from 1 to 65535"),
        ("pins", [], "pins: must be an object"),
        ("pins.siren", -1, "pins.siren: must be a whole number from 0 to 48"),
        ("pins.siren", 26, "pins.siren: is the same pin as lamp"),
        ("detector.heat_alarm_dk", 570, "detector.heat_alarm_dk: must be a whole number from 3132 to 3632"),
        ("detector.heat_clear_dk", 3352, "detector.heat_clear_dk: must be below heat_alarm_dk"),
        ("detector.smoke_clear_e4", 701, "detector.smoke_clear_e4: must be below smoke_alarm_e4"),
        ("detector.smoke_alarm_e4", 0.06, "detector.smoke_alarm_e4: must be a whole number"),
        ("detector.smoke_limit", 500, "detector.smoke_limit: is no limit of this firmware"),
        ("detector.smoke_drift_e4", 421, "detector.smoke_drift_e4: must be at most 0.6 x smoke_alarm_e4"),
        ("profile", "", "profile: must be a text of 1 to 16"),
        ("sensors", [], "sensors: must be a list of 1 to 8 sensors"),
        ("sensors", [{"address": 72}], "sensors[0].type: must be a text"),
        ("reading_s", 3601, "reading_s: must be a whole number from 0 to 3600"),
        ("smoke_head.uv_per_e4", 0, "smoke_head.uv_per_e4: must be a whole number from 10"),
        ("heartbeat_s", 3600, "heartbeat_s: must be a whole number from 5 to 180"),
        ("provisioned_s", -5, "provisioned_s: must be a whole number"),
    ],
)
def test_every_error_names_its_field(path: str, value: Any, error: str) -> None:
    c = config.parse(changed(path, value), NODE)
    assert [e for e in c.errors if e.startswith(error)], c.errors
    assert all("pw" not in e and "secret" not in e for e in c.errors)
    # Whatever is wrong, the node can sense and sound.
    assert limits.problem(c.limits) == "" and c.sensors
    assert c.pins.keys() == config.DEFAULT_PINS.keys() and len(set(c.pins.values())) == 6
    if path.startswith(("broker", "wifi", "node")):
        assert c.broker is None
    else:
        assert c.broker is not None


@pytest.mark.parametrize("document", [None, 3, [], "x"])
def test_a_document_that_is_no_object(document: Any) -> None:
    c = config.parse(document, NODE)
    assert c.errors[0] == "node.json: must be an object"
    assert c.broker is None


class Flash:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "node.json"
        self.kept = folder / "kept"

    def load(self, content: str | None) -> config.Config:
        if content is None:
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_text(content)
        return config.load(str(self.path), str(self.kept), NODE)


def test_the_last_good_document_stands_in(tmp_path: Path) -> None:
    flash = Flash(tmp_path)
    assert flash.load(json.dumps(GOOD)).heartbeat_s == 30
    for bad in ("{", json.dumps(changed("broker.port", 0)), None, "[]"):
        c = flash.load(bad)
        assert c.last_good and c.errors and c.heartbeat_s == 30 and c.broker == GOOD["broker"]
    c = flash.load(json.dumps(changed("heartbeat_s", 60)))
    assert not c.last_good and not c.errors and c.heartbeat_s == 60
    assert flash.load("{").heartbeat_s == 60


def test_without_a_last_good_one_the_right_sections_are_used(tmp_path: Path) -> None:
    c = Flash(tmp_path).load(json.dumps(changed("broker.port", 0)))
    assert c.broker is None and not c.last_good
    assert limits_of(c) == DEFAULTS | GOOD["detector"]


def test_a_missing_or_unreadable_document_leaves_the_defaults(tmp_path: Path) -> None:
    for content, error in ((None, "missing"), ("{", "is not JSON"), ("\x00", "is not JSON")):
        c = Flash(tmp_path).load(content)
        assert c.errors[0].startswith("node.json: " + error)
        assert limits_of(c) == DEFAULTS and c.broker is None


def test_a_damaged_copy_is_not_used(tmp_path: Path) -> None:
    flash = Flash(tmp_path)
    flash.load(json.dumps(GOOD))
    flash.kept.write_bytes(flash.kept.read_bytes().replace(b"8883", b"8884"))
    c = flash.load("{")
    assert not c.last_good and c.broker is None


def test_the_copy_is_written_only_when_it_differs(tmp_path: Path) -> None:
    flash = Flash(tmp_path)
    flash.load(json.dumps(GOOD))
    flash.kept.chmod(0o400)
    stamp = flash.kept.stat().st_ino
    flash.load(json.dumps(GOOD))
    assert flash.kept.stat().st_ino == stamp
