"""/node.json: what provisioning wrote. Every problem names its field; none stops a node from sensing and sounding.

A document with an error is not used: the last good one (kept in /state) stands in for it. Without one, each section
that is right is used, and what is wrong falls back to defaults; the link stays off if its own part is wrong.
"""

import json
from array import array

from bongsu_node import chip, flashfile
from bongsu_node.sensing import limits
from bongsu_node.settings import Config

# Of a plain ESP32. Another chip has none by default: there these may be lines of its flash.
DEFAULT_PINS = {"i2c_sda": 21, "i2c_scl": 22, "smoke_adc": 34, "siren": 25, "lamp": 26, "button": 27}
# The heads of the boards that this firmware knows: 0.4 V in clean air, 1 mV per 1e-4/m.
DEFAULT_SMOKE_HEAD = {"mv_clean": 400, "uv_per_e4": 1000}

DEFAULT_PROFILE = "market_dry"
_PIN_MAX = 48
_NO_PIN = -1
ROLES = ("node", "gateway")
_SMOKE_HEAD_RANGE = {"mv_clean": (300, 2500), "uv_per_e4": (10, 100_000)}
_WIFI_MAX = 8
_MORE_MAX = 3  # further addresses of the broker (host/bongsu/receiver/config.py: four in all)
# The fields' own limits: IEEE 802.11 (SSID 32 octets), WPA (8..63 characters), DNS.
_SSID_MAX = 32
_PSK = (8, 63)
_TEXT_MAX = 128
_HEARTBEAT = (5, 180)
_SENSORS_MOST = 8
_READING_MOST_S = 3600


class _Reader:
    """Fields of one JSON object; notes what is wrong with them under their full name."""

    def __init__(self, values, name: str, errors) -> None:
        self.values = values if isinstance(values, dict) else {}
        self.name = name
        self.errors = errors
        if not isinstance(values, dict):
            self.wrong("", "must be an object")

    def wrong(self, field: str, problem: str) -> None:
        name = ".".join([part for part in (self.name, field) if part])
        self.errors.append("%s: %s" % (name or "node.json", problem))

    def integer(self, field: str, low: int, high: int, default: int) -> int:
        value = self.values.get(field, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.wrong(field, "must be a whole number from %d to %d" % (low, high))
            return default
        return value

    def text(self, field: str, low: int, high: int, default=None) -> str:
        value = self.values.get(field, default)
        if not isinstance(value, str) or not low <= len(value) <= high:
            self.wrong(field, "must be a text of %d to %d characters" % (low, high))
            return ""
        return value

    def section(self, field: str, default=None):
        return _Reader(self.values.get(field, default), ".".join([p for p in (self.name, field) if p]), self.errors)


def parse(document, node: str) -> Config:
    """Check a decoded node.json for the node with id text `node` (12 hex digits)."""
    c = Config()
    top = _Reader(document, "", c.errors)
    top.integer("v", 1, 1, 0)
    c.node = top.text("node", 12, 12)
    if c.node and c.node != node:
        top.wrong("node", "is %s, but this board is %s" % (c.node, node))
    c.site = top.text("site", 0, 32, "")
    c.unit = top.text("unit", 0, 32, "")
    c.heartbeat_s = top.integer("heartbeat_s", _HEARTBEAT[0], _HEARTBEAT[1], c.heartbeat_s)
    c.provisioned_s = top.integer("provisioned_s", 0, 0xFFFFFFFF, 0)
    c.pins = _pins(top.section("pins", {}))
    c.role = top.text("role", 4, 7, ROLES[0])
    if c.role not in ROLES:
        top.wrong("role", "must be one of %s" % ", ".join(ROLES))
    c.profile = top.text("profile", 1, limits.NAME_MAX, DEFAULT_PROFILE)
    c.limits = _limits(top.section("detector", {}))
    smoke_head = _ranges(top.section("smoke_head", {}), _SMOKE_HEAD_RANGE, DEFAULT_SMOKE_HEAD)
    c.sensors = _sensors(top, default_sensors(c.pins, smoke_head))
    c.reading_s = top.integer("reading_s", 0, _READING_MOST_S, 0)
    before = len(c.errors)
    c.wifi = _wifi(top)
    broker = _broker(top.section("broker"))
    if len(c.errors) == before and c.node == node:
        c.broker = broker
    return c


def _ranges(reader: _Reader, ranges, defaults):
    return {name: reader.integer(name, low, high, defaults[name]) for name, (low, high) in ranges.items()}


def _pins(reader: _Reader):
    pins = {name: reader.integer(name, 0, _PIN_MAX, pin) for name, pin in default_pins().items()}
    users = {}
    for name in sorted(pins):
        other = users.setdefault(pins[name], name)
        if other != name and pins[name] != _NO_PIN:
            reader.wrong(name, "is the same pin as %s" % other)
            return default_pins()
    return pins


def default_pins():
    """What stands in for pins that the settings do not name."""
    return dict(DEFAULT_PINS) if chip.name() == "ESP32" else dict.fromkeys(DEFAULT_PINS, _NO_PIN)


def _limits(reader: _Reader):
    """The profile's numbers; all of them or the defaults: half a profile is none."""
    unknown = [name for name in sorted(reader.values) if name not in limits.NAMES]
    if unknown:
        reader.wrong(unknown[0], "is no limit of this firmware")
    before = len(reader.errors)
    values = []
    for i in range(len(limits.NAMES)):
        low, high = limits.RANGES[i]
        values.append(reader.integer(limits.NAMES[i], low, high, limits.DEFAULTS[i]))
    wrong = limits.problem(values) if len(reader.errors) == before else ""
    if wrong:
        field, problem = wrong.split(": ", 1)
        reader.wrong(field, problem)
    return array("H", limits.DEFAULTS if len(reader.errors) > before else values)


def _sensors(top: _Reader, default):
    """Entries of the fitted sensors. What one lacks for its type is found when it is made, and is its own fault."""
    entries = top.values.get("sensors", default)
    if not isinstance(entries, list) or not 1 <= len(entries) <= _SENSORS_MOST:
        top.wrong("sensors", "must be a list of 1 to %d sensors" % _SENSORS_MOST)
        return default
    for i, entry in enumerate(entries):
        reader = _Reader(entry, "sensors[%d]" % i, top.errors)
        if not reader.text("type", 2, 12):
            return default
    return entries


def _wifi(top: _Reader):
    networks = top.values.get("wifi", [])
    if not isinstance(networks, list) or len(networks) > _WIFI_MAX:
        top.wrong("wifi", "must be a list of at most %d networks" % _WIFI_MAX)
        return []
    found = []
    for i, network in enumerate(networks):
        reader = _Reader(network, "wifi[%d]" % i, top.errors)
        psk = reader.values.get("psk")
        if psk is not None and psk != "":
            psk = reader.text("psk", _PSK[0], _PSK[1])
        found.append({"ssid": reader.text("ssid", 1, _SSID_MAX), "psk": psk or None})
    return found


def _broker(reader: _Reader):
    tls = reader.values.get("tls", True)
    broker = _address(reader, tls)
    broker["tls"] = tls
    broker["server_hostname"] = reader.text("server_hostname", 1 if tls else 0, _TEXT_MAX, None if tls else "")
    for field in ("user", "password"):
        broker[field] = reader.text(field, 0, _TEXT_MAX, "")
    broker["client_id"] = reader.text("client_id", 8, 64)  # secret: a short one could be guessed
    more = reader.values.get("more", [])
    if not isinstance(more, list) or len(more) > _MORE_MAX:
        reader.wrong("more", "must be a list of at most %d addresses" % _MORE_MAX)
        more = []
    broker["more"] = [_address(_Reader(a, "broker.more[%d]" % i, reader.errors), tls) for i, a in enumerate(more)]
    if not isinstance(tls, bool):
        reader.wrong("tls", "must be true or false")
    return broker


def _address(reader: _Reader, tls):
    ip = reader.text("ip", 7, 15)
    if ip and not _is_ipv4(ip):
        reader.wrong("ip", "must be an IPv4 address: looking a name up blocks the node")
    if tls is False and not ip.startswith("127."):
        reader.wrong("tls", "may be false on loopback only")
    return {"ip": ip, "port": reader.integer("port", 1, 65535, 8883)}


def _is_ipv4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all([part.isdigit() and int(part) <= 255 for part in parts])


def load(path: str, good_path: str, node: str) -> Config:
    """The settings in the file `path`, checked; if it has an error, those of `good_path`, where good ones are kept."""
    text = _read(path)
    config = _decode(text, node)
    if not config.errors:
        kept = flashfile.read(good_path)
        if kept != text:
            try:
                flashfile.write(good_path, text)
            except OSError:  # it works without the copy
                pass
        return config
    kept = flashfile.read(good_path)
    older = _decode(kept, node) if kept is not None else None
    if older is None or older.errors:
        return config
    older.errors = config.errors
    older.last_good = True
    return older


def _read(path: str):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _decode(text, node: str) -> Config:
    if text is None:
        config = Config()
        config.errors.append("node.json: missing, so this node is not provisioned")
        return config
    try:
        document = json.loads(text)
    except ValueError:
        config = Config()
        config.errors.append("node.json: is not JSON")
        return config
    return parse(document, node)


def default_sensors(pins, smoke_head):
    """What a board carries when its settings name no sensors: an LM75 and an analogue smoke head."""
    head = {"type": "smoke_head", "pin": pins["smoke_adc"]}
    head.update(smoke_head)
    return [{"type": "lm75"}, head]


def set_defaults(c: Config) -> None:
    """The settings of a node that has none: it senses and sounds, and its link stays off."""
    c.node = ""
    c.site = ""
    c.unit = ""
    c.role = ROLES[0]
    c.wifi = []
    c.broker = None
    c.pins = default_pins()
    c.profile = DEFAULT_PROFILE
    c.limits = array("H", limits.DEFAULTS)
    c.sensors = default_sensors(c.pins, DEFAULT_SMOKE_HEAD)
    c.reading_s = 0
    c.heartbeat_s = 45
    c.provisioned_s = 0
    c.errors = []
    c.last_good = False
