"""Scripts of tests/hil in MicroPython as an ESP32 has it: on the chip what is missing is found too late."""

import json
import subprocess
import sys

from tests import mpy
from tests.hil import network

_RADIO = """
import sys
class Radio:
    STA_IF = 0
    looks = 0
    def WLAN(self, which):
        return self
    def active(self, on):
        pass
    def scan(self):
        self.looks += 1
        return FOUND if self.looks > 1 else []
sys.modules['network'] = Radio()
"""


def _seen(found: object) -> object:
    return json.loads(mpy.run(f"{_RADIO}FOUND = {found!r}\n{network._SCAN}"))


def test_open_networks_are_found_among_hidden_and_foreign_ones() -> None:
    bssid = b"\x02\x00\x00\x00\x00\x01"
    found = [
        (b"far", bssid, 6, -80, 0, False),
        (b"", bssid, 6, -20, 0, True),
        (b"\xbd\xc3\xc0\xe5", bssid, 6, -30, 0, False),  # a name in EUC-KR
        (b"closed", bssid, 6, -30, 3, False),
        (b"near", bssid, 6, -40, 0, False),
    ]
    assert _seen(found) == [["near", -40], ["far", -80]]
    assert _seen([]) == []


def test_the_first_address_that_answers_is_taken() -> None:
    with network.socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = network._TRY.format(seconds=1, port=port, hosts=["127.0.0.2", "127.0.0.1"])
        refused = network._TRY.format(seconds=1, port=port, hosts=["127.0.0.2"])
        assert json.loads(mpy.run(code)) == "127.0.0.1"
    assert json.loads(mpy.run(refused)) is None


def test_no_script_needs_what_stock_images_may_lack() -> None:
    """next() with a default is there from one level of features on, and that level has changed."""
    assert not [name for name in ("_SCAN", "_JOIN", "_TRY") if "next(" in getattr(network, name)]


def test_a_signal_without_words_is_unknown() -> None:
    """RuntimeError is what MicroPython makes of an ESP-IDF error that it does not know; an alarm needs no signal."""
    code = """
import sys
sys.modules['machine'] = sys
from bongsu_node import board
class Wlan:
    def status(self, what):
        raise RuntimeError('Wifi Unknown Error 0x300f')
print(board.rssi(Wlan()))
"""
    assert mpy.run(code) == "0\n"


def test_a_board_that_there_is_not_is_said_once() -> None:
    words = [sys.executable, "-m", "pytest", "--hil", "--board", "esp32-devkit", "--collect-only", "-q"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 4 and "there is no board 'esp32-devkit'" in ran.stderr, ran.stdout
    assert "esp32-devkitc" in ran.stderr and "Traceback" not in ran.stderr
