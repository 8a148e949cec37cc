"""network as on an ESP32: one station interface whose access points and troubles the host sets.

The driver's manners that firmware must know are kept: connect() while a connect is under way raises "Wifi Internal
State Error"; with `reconnects` left at its default the driver tries for ever and status() stays CONNECTING; a
vanished access point is noticed only after the beacon time-out; without memory there is no driver, which is a
RuntimeError.
"""

import _board

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_BEACON_TIMEOUT = 200
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202
STAT_ASSOC_FAIL = 203
STAT_HANDSHAKE_TIMEOUT = 204
STAT_CONNECT_FAIL = 205
AUTH_OPEN = 0
AUTH_WPA2_PSK = 3
PHY_MODE_B = 1

_JOIN_MS = 1500  # association and DHCP on a quiet channel
_TRY_MS = 2500  # a scan over all channels that finds nothing, or a handshake that fails
_SCAN_MS = 2200
_NOT_STARTED = "Wifi Not Started"
_DRIVER_BYTES = 10_000  # less free heap of the ESP-IDF than this, "with Wi-Fi up": the driver did not find its own

_hostname = "esp32"
_country = "XX"


def hostname(name=None):
    global _hostname
    if name is None:
        return _hostname
    _hostname = name


def country(code=None):
    global _country
    if code is None:
        return _country
    _country = code


class _Station:
    """The state machine of the interface; moved on whenever it is looked at."""

    def __init__(self):
        self.active = False
        self.wanted = None  # (ssid, key) while a connection is wanted
        self.connected = False
        self.reason = 0
        self.reconnects = 0
        self._failed = 0
        self._since = 0  # board time of the current try, us
        self._lost = None  # since when the access point is away, us
        self._stuck = False

    def set_active(self, on):
        if on != self.active:
            self.active = on
            self._stuck = False
            self._drop(0)
            self.wanted = None
        _board.state["wifi_active"] = self.active

    def connect(self, ssid, key):
        self.look()
        if not self.active:
            raise OSError(_NOT_STARTED)
        if self.wanted is not None and not self.connected and not self._gave_up():
            raise OSError("Wifi Internal State Error")
        if ssid is not None:
            self._config = (ssid, key)
        self.connected = False
        self.wanted = self._config
        self._failed = 0
        self._since = _board.vt_us()

    def disconnect(self):
        if not self.active:
            raise OSError(_NOT_STARTED)
        self.wanted = None
        self._drop(8)  # ASSOC_LEAVE

    def _drop(self, reason):
        self.connected = False
        self.reason = reason
        self._lost = None
        self._since = _board.vt_us()

    def _gave_up(self):
        return self.reconnects and self._failed >= self.reconnects

    def _access_point(self):
        """(key, rssi) of the wanted network if it is on the air."""
        if _board.state["wifi"] == "down":
            return None
        for ssid, key, rssi in _board.state["networks"]:
            if ssid == self.wanted[0] or ssid == "*":
                return (self.wanted[1] if ssid == "*" else key, rssi)
        return None

    def look(self):
        """Bring the state up to the present."""
        _board.pump()
        self.move()

    def move(self, _=None):
        """The same, without listening to the host: also called when the host changes the air."""
        if not self.active or self.wanted is None:
            return
        if _board.state["wifi"] == "stuck":
            self._stuck = True
        now = _board.vt_us()
        if self.connected:
            self._watch(now)
        elif not self._gave_up():
            self._try(now)

    def _watch(self, now):
        if self._access_point() is not None and not self._stuck:
            self._lost = None
        elif self._lost is None:
            self._lost = now
        elif now - self._lost >= _board.state["beacon_timeout_ms"] * 1000:
            self._drop(STAT_BEACON_TIMEOUT)

    def _try(self, now):
        if self._stuck:
            self.reason = STAT_ASSOC_FAIL
            return
        found = self._access_point()
        if found is not None and found[0] == self.wanted[1]:
            if now - self._since >= _JOIN_MS * 1000:
                self.connected = True
                self.reason = 0
                self._failed = 0
        elif now - self._since >= _TRY_MS * 1000:
            self.reason = STAT_NO_AP_FOUND if found is None else STAT_WRONG_PASSWORD
            self._failed += 1
            self._since = now

    def status(self):
        self.look()
        if self.connected:
            return STAT_GOT_IP
        if self.wanted is not None and not self._gave_up():
            return STAT_CONNECTING
        return self.reason or STAT_IDLE

    def rssi(self):
        self.look()
        found = self._access_point() if self.connected else None
        if found is None:
            raise OSError("Wifi Not Connected")
        return found[1]


_station = _Station()
_board.hooks["wifi"] = _station.move
_board.hooks["networks"] = _station.move


def up():
    """For the socket shim: does the station have an address?"""
    _station.look()
    return _station.connected


class WLAN:
    IF_STA = STA_IF
    IF_AP = AP_IF
    SEC_OPEN = 0
    SEC_WPA2 = 3
    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    def __init__(self, interface=STA_IF):
        if interface not in (STA_IF, AP_IF):
            raise ValueError("invalid WLAN interface identifier")
        if not _station.active and _board.state["idf_free"] < _DRIVER_BYTES:
            raise RuntimeError("Wifi Unknown Error 0x0101")
        self._ap = interface == AP_IF
        self._params = {"pm": 1, "txpower": 20, "channel": 6, "hostname": None, "protocol": 7}

    def active(self, on=None):
        if on is not None and not self._ap:
            _station.set_active(bool(on))
        return _station.active and not self._ap

    def connect(self, ssid=None, key=None, *, bssid=None):
        _station.connect(ssid, key)

    def disconnect(self):
        _station.disconnect()

    def isconnected(self):
        _station.look()
        return _station.connected and not self._ap

    def status(self, what=None):
        if what is None:
            return _station.status()
        if what == "rssi":
            return _station.rssi()
        raise ValueError("unknown status param")

    def scan(self):
        if not _station.active:
            raise OSError("STA must be active")
        _board.tell("s")
        _board.sleep_us(_SCAN_MS * 1000)
        if _board.state["wifi"] == "down":
            return []
        return [
            (ssid.encode(), b"\x02\x00\x00\x00\x00\x01", 6, rssi, AUTH_WPA2_PSK if key else AUTH_OPEN, False)
            for ssid, key, rssi in _board.state["networks"]
        ]

    def config(self, *names, **values):
        if names and values:
            raise TypeError("either pos or kw args are allowed")
        for name, value in values.items():
            if name == "reconnects":
                # As the driver: -1 = for ever, n = n tries after the first.
                _station.reconnects = 0 if value == -1 else value + 1
            elif name in self._params:
                self._params[name] = value
            else:
                raise ValueError("unknown config param")
        if not names:
            return None
        name = names[0]
        if name == "mac":
            return _board.unhex(_board.state["node"])
        if name in ("ssid", "essid"):
            return _station.wanted[0] if _station.wanted else ""
        if name == "reconnects":
            return _station.reconnects - 1
        if name in self._params:
            return self._params[name]
        raise ValueError("unknown config param")

    def ifconfig(self, fields=None):
        if fields is None:
            address = "192.168.4.2" if self.isconnected() else "0.0.0.0"
            return (address, "255.255.255.0", "192.168.4.1", "192.168.4.1")
        return None

    def ipconfig(self, *names, **values):
        if not names:
            return None
        if names[0] == "addr4":
            return self.ifconfig()[:2]
        if names[0] == "has_dhcp4":
            return self.isconnected()
        raise ValueError("unknown config param")
