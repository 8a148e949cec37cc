"""The virtual board's station interface: states, manners of the driver, troubles."""

from tests.board_parts import MakeBoard, output
from tests.board_parts import make_board as make_board  # noqa: PLC0414  # a fixture: used by its name

_JOIN = """
import network, time
wlan = network.WLAN(network.STA_IF)
def show(what):
    print(time.ticks_ms(), what, wlan.isconnected(), wlan.status())
"""


def test_joining_a_known_network(make_board: MakeBoard) -> None:
    board = make_board(
        _JOIN
        + """
try:
    wlan.connect("market", "secret12")
except OSError as e:
    print(e)
wlan.active(True)
show("idle")
wlan.connect("market", "secret12")
show("asked")
try:
    wlan.connect("market", "secret12")
except OSError as e:
    print(e)
while not wlan.isconnected():
    time.sleep_ms(100)
show("joined")
print(wlan.status("rssi"), wlan.ifconfig()[0], wlan.config("mac").hex())
wlan.disconnect()
show("left")
"""
    )
    board.set_networks([("market", "secret12", -71)])
    assert output(board) == [
        "Wifi Not Started",
        "0 idle False 1000",
        "0 asked False 1001",
        "Wifi Internal State Error",
        "1500 joined True 1010",
        "-71 192.168.4.2 a0b1c2d3e4f5",
        "1500 left False 8",
    ]


def test_wrong_key_and_missing_network(make_board: MakeBoard) -> None:
    board = make_board(
        _JOIN
        + """
wlan.active(True)
for ssid, tries in (("market", 0), ("nowhere", 1)):
    wlan.config(reconnects=tries)
    wlan.connect(ssid, "wrong123")
    for i in range(4):
        time.sleep(3)
        show(ssid)
    wlan.disconnect()
wlan.config(reconnects=-1)
wlan.connect("market", "wrong123")
time.sleep(20)
show("for ever")
"""
    )
    board.set_networks([("market", "secret12", -71)])
    assert [line.split()[1:] for line in output(board, 60)] == [
        *[["market", "False", "202"]] * 4,
        ["nowhere", "False", "1001"],
        *[["nowhere", "False", "201"]] * 3,
        ["for", "ever", "False", "1001"],
    ]


def test_a_vanished_access_point_is_noticed_late_and_rejoined(make_board: MakeBoard) -> None:
    board = make_board(
        _JOIN
        + """
import socket
wlan.active(True)
wlan.connect("market", "secret12")
last = None
while True:
    if wlan.isconnected() != last:
        last = wlan.isconnected()
        show("change")
        try:
            socket.getaddrinfo("127.0.0.1", 1)
        except OSError as e:
            print("net", e.errno)
    time.sleep_ms(100)
"""
    )
    board.set_beacon_timeout(6000)
    assert output(board, 5) == ["0 change False 1001", "net 113", "1500 change True 1010"]
    board.set_wifi(False)
    first, error = output(board, 20)
    assert first.split()[1:] == ["change", "False", "1001"] and 11000 <= int(first.split()[0]) <= 11100
    assert error == "net 113"
    board.set_wifi(True)
    assert output(board, 5)[0].endswith("change True 1010")


def test_a_stuck_interface_needs_switching_off_and_on(make_board: MakeBoard) -> None:
    board = make_board(
        _JOIN
        + """
wlan.active(True)
wlan.connect("market", "secret12")
time.sleep(3)
show("joined")
time.sleep(5)
show("stuck")
wlan.disconnect()
wlan.connect("market", "secret12")
time.sleep(5)
show("still")
wlan.active(False)
wlan.active(True)
wlan.connect("market", "secret12")
time.sleep(5)
show("again")
"""
    )
    assert output(board, 4)[-1].endswith("joined True 1010")
    board.set_wifi_stuck()
    assert output(board, 6)[-1].endswith("stuck False 1001")
    board.set_wifi(True)
    assert [line.split()[1:] for line in output(board, 20)] == [["still", "False", "1001"], ["again", "True", "1010"]]


def test_without_memory_there_is_no_driver(make_board: MakeBoard) -> None:
    board = make_board("import network\ntry:\n    network.WLAN()\nexcept RuntimeError as e:\n    print(e)\n")
    board.set_idf_heap_free(5_000)
    assert output(board, 1) == ["Wifi Unknown Error 0x0101"]


def test_a_scan_blocks_and_is_counted(make_board: MakeBoard) -> None:
    board = make_board(_JOIN + "wlan.active(True)\nfound = wlan.scan()\nshow(found[0][0])\n")
    board.set_networks([("market", "secret12", -71)])
    assert output(board, 10) == ["2200 b'market' False 1000"]
    assert board.scans == 1
