"""Which Wi-Fi network the board under test joins, and under which address it then finds this machine."""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bongsu.install.link import BoardLink

JOIN_S = 40
_CONNECT_S = 5
_SLOW_S = 60.0  # a radio that starts, and looks for networks; nothing is printed meanwhile

# On the board. Open networks, strongest first: [[ssid, RSSI in dBm], ...]. A neighbour's name may be no UTF-8, or
# hidden; a first look may come too early for a beacon.
_SCAN = """
import network, json
w = network.WLAN(network.STA_IF)
w.active(True)
found = []
for _ in range(3):
    for n in [] if found else w.scan():
        try:
            if n[4] == 0 and n[0]:
                found.append((n[0].decode(), n[3]))
        except ValueError:
            pass
print(json.dumps(sorted(found, key=lambda n: -n[1])))
"""
# Joins, and prints [own address, gateway] or null.
_JOIN = """
import network, json, time
w = network.WLAN(network.STA_IF)
w.active(True)
if not w.isconnected():
    try:
        w.disconnect()
    except Exception:
        pass
    w.connect({ssid!r}, {psk!r})
end = time.ticks_add(time.ticks_ms(), {ms})
while not w.isconnected() and time.ticks_diff(end, time.ticks_ms()) > 0:
    time.sleep_ms(100)
a = w.ifconfig()
print(json.dumps([a[0], a[2]] if w.isconnected() else None))
"""
# The first of the addresses at which a TCP port answers, or null.
_TRY = """
import socket, json
def reaches(host):
    s = socket.socket()
    try:
        s.settimeout({seconds})
        s.connect(socket.getaddrinfo(host, {port})[0][-1])
        return True
    except OSError:
        return False
    finally:
        s.close()
found = None
for h in {hosts!r}:
    if reaches(h):
        found = h
        break
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Way:
    """wifi: arguments of --wifi; host: this machine as the board sees it."""

    wifi: tuple[str, ...]
    host: str


def find_way(link: BoardLink, wifi: str | None, host: str | None, bind: str) -> Way:
    """Join the board to a network and find this machine from there. Fails with what is missing."""
    wifi = wifi if wifi is not None else _open_network(link)
    ssid, _, file = wifi.partition("=")
    psk = Path(file).read_text(encoding="utf-8").rstrip("\r\n") if file else None
    code = _JOIN.format(ssid=ssid, psk=psk, ms=JOIN_S * 1000)
    addresses = link.value(code, secret=psk is not None, timeout_s=JOIN_S + _SLOW_S)
    if addresses is None:
        pytest.fail(f"the board did not join {ssid!r} within {JOIN_S} s; another network: --hil-wifi SSID[=FILE]")
    return Way((wifi,), host or _this_machine(link, addresses, bind))


def _open_network(link: BoardLink) -> str:
    found = link.value(_SCAN, timeout_s=_SLOW_S)
    if not found:
        pytest.fail("the board sees no open Wi-Fi network; name one: --hil-wifi SSID=FILE")
    return str(found[0][0])


def _this_machine(link: BoardLink, addresses: Sequence[str], bind: str) -> str:
    """Behind an emulator's network this machine is the gateway; on a desk it has addresses of its own."""
    hosts = [address for address in (addresses[1], *_own_addresses(bind)) if address != "0.0.0.0"]
    with socket.create_server((bind, 0)) as server:
        port = server.getsockname()[1]
        code = _TRY.format(seconds=_CONNECT_S, port=port, hosts=hosts)
        found = link.value(code, timeout_s=_CONNECT_S * len(hosts) + _SLOW_S)
    if found is None:
        pytest.fail(
            f"the board reaches this machine at none of {', '.join(hosts)}; "
            "name it: --hil-host ADDRESS, and let the receiver listen there: --hil-bind 0.0.0.0"
        )
    return str(found)


def _own_addresses(bind: str) -> list[str]:
    if not ipaddress.ip_address(bind).is_unspecified:
        return [bind]
    found = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    return sorted(found) + ["127.0.0.1"]
