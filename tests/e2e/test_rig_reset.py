"""A rig's port as a devkit has it: resets by its control lines, the boot strap, the cable, and what can go wrong."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import serial
from mpremote.transport_serial import SerialTransport

from bongsu.install.boards import load_board
from bongsu.install.ports import PortError, open_serial
from bongsu.sim.rig import image
from tests.rig_parts import Rig, Terminal, put_files, rig

# pyserial does not close its socket if the other side has closed the connection before.
GONE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
BOARDS = ("esp32-devkitc", "esp32-s3-devkitc-1", "esp32-c3-devkitm-1", "esp32-c6-devkitc-1")


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Rig]:
    """A board that holds MicroPython and no program."""
    with rig(tmp_path, flashed=True) as made:
        yield made


def _into_loader(terminal: Terminal) -> None:
    """The order of line changes by which hosts enter the loader."""
    port = terminal.port
    port.dtr = False
    port.rts = True
    port.dtr = True
    port.rts = False


# -- resets


@pytest.mark.parametrize("kind", BOARDS)
def test_rts_resets_and_the_strap_leads_to_the_loader(tmp_path: Path, kind: str) -> None:
    with rig(tmp_path, flashed=True, board=kind) as board, Terminal(board.url) as terminal:
        _into_loader(terminal)
        assert b"DOWNLOAD" in terminal.until(b"waiting for download\r\n")
        assert board.mode == "download"
        terminal.port.dtr = False
        terminal.port.rts = True
        terminal.rest()
        terminal.port.rts = False
        assert b"SPI_FAST_FLASH_BOOT" in terminal.until(b">>> ")
        assert board.mode == "running"


def test_opening_and_closing_the_port_resets_nothing(board: Rig) -> None:
    for _ in range(3):
        transport = SerialTransport(board.url)
        transport.enter_raw_repl(soft_reset=False)
        transport.exec("n = globals().get('n', 0) + 1")
        count = transport.eval("n")
        transport.close()
    assert count == 3
    assert board.boots == ["power_on"]


def test_a_client_that_leaves_in_a_reset_leaves_a_board_that_runs(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.port.dtr = False
        terminal.port.rts = True
        assert board.mode == "reset"
    with Terminal(board.url) as terminal:
        terminal.send(b"\r")
        terminal.until(b">>> ")


def test_a_blank_chip_says_so_again_and_again(tmp_path: Path) -> None:
    with rig(tmp_path) as board, Terminal(board.url) as terminal:
        for _ in range(2):
            terminal.until(b"rst:")
            terminal.until(b"invalid header: 0xffffffff\r\n")
        assert board.mode == "blank"
        board.flashed()
        assert b"Performing initial setup\r\n" in terminal.until(b">>> ")


def test_an_image_without_a_whole_program_is_not_started(tmp_path: Path) -> None:
    (tmp_path / "rig").mkdir()
    kind = load_board("esp32-devkitc")
    chip = bytearray(b"\xff" * (kind.flash_mb << 20))
    for offset, data in image.stock_image(kind).items():
        chip[offset : offset + len(data)] = data
    chip[image.APP + 32] = 0
    (tmp_path / "rig" / "chip.bin").write_bytes(chip)
    with rig(tmp_path) as board, Terminal(board.url) as terminal:
        terminal.until(b"No bootable app partitions in the partition table\r\n")
        assert board.mode == "blank"


def test_a_corrupt_file_system_is_said_until_somebody_stops_it(tmp_path: Path) -> None:
    kind = load_board("esp32-devkitc")
    put_files(tmp_path, {"/main.py": b"print('main')\n"})
    with (tmp_path / "rig" / "chip.bin").open("r+b") as chip:
        chip.seek(kind.flash.vfs_offset)
        chip.write(bytes(2 * 4096))  # both copies of its first block
    with rig(tmp_path, speed=10) as board, Terminal(board.url) as terminal:
        for _ in range(2):
            terminal.until(b"The filesystem appears to be corrupted.")
        terminal.send(b"\x03")
        terminal.until(b">>> ")
        terminal.enter_raw()
        terminal.raw("import vfs\nfrom flashbdev import bdev\nvfs.VfsLfs2.mkfs(bdev)\nvfs.mount(bdev, '/')")
        assert terminal.raw("import os; print(os.listdir('/'))") == b"[]\r\n"
        terminal.raw("with open('/main.py', 'w') as f: f.write('print(\"mended\")')")
        board.say(reset="run")
        terminal.until(b"mended\r\n")


def test_files_and_nvs_last_over_power_and_rigs(tmp_path: Path) -> None:
    with rig(tmp_path, flashed=True) as board, Terminal(board.url) as terminal:
        terminal.enter_raw()
        terminal.raw("with open('/kept', 'w') as f: f.write('file')")
        terminal.raw("import esp32\nn = esp32.NVS('bongsu')\nn.set_blob('a', b'blob')\nn.commit()\nn.set_i32('b', 7)")
        board.say(power="off")
        board.say(power="on")
        terminal.until(b">>> ")
    with rig(tmp_path, flashed=True) as board, Terminal(board.url) as terminal:
        terminal.enter_raw()
        assert terminal.raw("print(open('/kept').read())") == b"file\r\n"
        code = "import esp32\nb = bytearray(9)\nn = esp32.NVS('bongsu').get_blob('a', b)\nprint(bytes(b[:n]))"
        assert terminal.raw(code) == b"b'blob'\r\n"


# -- the world around it


def test_the_board_sees_air_buttons_and_networks(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        board.say(air={"temp_c": 70.0})
        terminal.raw("from machine import ADC, I2C, Pin\ni2c = I2C(0, scl=Pin(22), sda=Pin(21))")
        assert terminal.raw("print(i2c.scan())") == b"[72]\r\n"
        assert terminal.raw("print(i2c.readfrom_mem(72, 0, 1)[0])") == b"70\r\n"
        assert terminal.raw("print(300 < ADC(Pin(34), atten=ADC.ATTN_11DB).read_uv() // 1000 < 500)") == b"True\r\n"
        terminal.raw("p = Pin(27, Pin.IN, Pin.PULL_UP)\nassert p() == 1")
        board.say(press=[27, 60_000])
        assert terminal.raw("print(p())") == b"0\r\n"
        code = "import network, time\nw = network.WLAN()\nw.active(True)\nw.connect('bongsu-rig')\n"
        code += "while not w.isconnected(): time.sleep_ms(50)\nprint(w.status('rssi'))"
        assert terminal.raw(code) == b"-55\r\n"
        board.say(wifi="down")
        assert terminal.raw("print(w.scan())") == b"[]\r\n"


def test_other_sensors_may_hang_on_it(tmp_path: Path) -> None:
    with rig(tmp_path, flashed=True, sensor=["sht4x"], only_sensors=True) as board, Terminal(board.url) as terminal:
        terminal.enter_raw()
        code = "from machine import I2C, Pin\nprint(I2C(0, scl=Pin(22), sda=Pin(21)).scan())"
        assert terminal.raw(code) == b"[68]\r\n"


def test_other_chips_have_other_pins(tmp_path: Path) -> None:
    with rig(tmp_path, flashed=True, board="esp32-s3-devkitc-1") as board, Terminal(board.url) as terminal:
        terminal.enter_raw()
        code = """
from machine import ADC, I2C, Pin, UART
print(I2C(0, scl=Pin(9), sda=Pin(8)).scan(), Pin(48)() in (0, 1))
print(ADC(Pin(4), atten=ADC.ATTN_11DB).read_uv() > 0)
for make in (lambda: Pin(22), lambda: Pin(49), lambda: ADC(Pin(34)), lambda: UART(3, rx=1)):
    try:
        make()
        print("made")
    except ValueError:
        print("refused")
"""
        assert terminal.raw(code).split() == [b"[72]", b"True", b"True"] + [b"refused"] * 4
    with rig(tmp_path / "c3", flashed=True, board="esp32-c3-devkitm-1") as board, Terminal(board.url) as terminal:
        terminal.enter_raw()
        assert terminal.raw("import os; print(os.uname().machine)") == b"Generic ESP32C3 module with ESP32C3\r\n"
        code = "from machine import UART\nUART(1, rx=1)\ntry:\n    UART(2, rx=1)\nexcept ValueError as e:\n    print(e)"
        assert terminal.raw(code) == b"UART(2) does not exist\r\n"


# -- faults


def _is_refused(url: str) -> bool:
    """The port lets us in and out again: what it is when somebody else has it."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as client:
        return client.recv(1) == b""


@GONE
def test_the_port_has_one_client(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        assert _is_refused(board.url) and _is_refused(board.bare_url)
        with pytest.raises(PortError):
            open_serial(board.url)
        terminal.enter_raw()
        assert terminal.raw("print(1)") == b"1\r\n"
    with Terminal(board.bare_url) as terminal:
        terminal.enter_raw()


def test_a_busy_port_lets_nobody_in(board: Rig) -> None:
    board.say(fault={"busy": True})
    assert _is_refused(board.url) and _is_refused(board.bare_url)
    board.say(fault={})
    with Terminal(board.url) as terminal:
        terminal.enter_raw()


@GONE
def test_a_pulled_cable_breaks_the_connection_and_takes_the_power(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        board.say(cable="pull")
        with pytest.raises((serial.SerialException, OSError)):
            terminal.until(b"never")
        assert board.mode == "off"
        assert _is_refused(board.url)
    board.say(cable="plug")
    with Terminal(board.url) as terminal:
        terminal.send(b"\r")
        terminal.until(b">>> ")
    assert board.boots == ["power_on", "power_on"]


@GONE
def test_the_cable_may_come_off_at_a_byte(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        board.say(fault={"unplug_after_bytes": 20})
        terminal.send(b"print('x' * 10)   # 26 bytes\x04")
        with pytest.raises((serial.SerialException, OSError)):
            terminal.until(b"xxxx")
    assert board.mode == "off"
    board.say(cable="plug")
    with Terminal(board.url) as terminal:
        terminal.enter_raw()  # it came off once
        assert terminal.raw("print('x' * 10)   # 26 bytes") == b"xxxxxxxxxx\r\n"


def test_a_silent_board_says_nothing(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        board.say(fault={"silent": True})
        terminal.send(b"print(1)\x04")
        assert terminal.rest() == b""
        board.say(fault={})
        assert terminal.raw("print(2)") == b"2\r\n"


def test_every_nth_byte_may_be_lost(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        board.say(fault={"drop_every": 9})
        assert terminal.raw("print(12345)") == b"1245\r\n"


def test_rubbish_is_heard_at_another_rate(board: Rig) -> None:
    with Terminal(board.url, baudrate=460_800) as terminal:
        board.say(reset="run")
        got = terminal.rest()
        assert got and b"rst:" not in got
        terminal.port.baudrate = 115_200
        terminal.enter_raw()


def test_a_slow_line_is_slow_both_ways(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        board.say(fault={"bytes_per_s": 2000})
        start = time.monotonic()
        assert len(terminal.raw("print('x' * 2000)  #" + "y" * 2000)) == 2002
        assert time.monotonic() - start > 1.5, "4 KB at 2 KB/s"


def test_a_full_flash_is_full_until_it_is_not(board: Rig) -> None:
    write = """
try:
    with open("/x", "w") as file:
        file.write("y" * 20000)
    print("ok")
except OSError as e:
    print(e.errno)
"""
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        board.say(fault={"full": True})
        assert terminal.raw(write) == b"28\r\n"
        assert terminal.raw("print(sum(open('/boot.py', 'rb').read()) > 0)") == b"True\r\n", "what was there stays"
        board.say(fault={})
        assert terminal.raw(write) == b"ok\r\n"


def test_power_may_fail_at_a_write_to_the_flash(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        terminal.raw("with open('/kept', 'w') as f: f.write('old')")
        board.say(cut_after_writes=2)
        terminal.send(b"with open('/kept', 'w') as f: f.write('new' * 9999)\x04")
        for _ in range(200):
            if board.mode == "off":
                break
            time.sleep(0.05)
        board.say(power="on")
        terminal.until(b">>> ")
        terminal.enter_raw()
        assert terminal.raw("print(open('/kept').read())") == b"old\r\n"
    assert board.boots == ["power_on", "power_on"]


def test_power_comes_back_while_the_port_holds_the_board_in_reset(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.port.dtr = False
        terminal.port.rts = True
        board.say(power="off")
        board.say(power="on")
        assert board.mode == "reset"
        terminal.port.rts = False
        terminal.until(b">>> ")


def test_a_crash_of_the_interpreter_is_told(board: Rig) -> None:
    with Terminal(board.url) as terminal:
        terminal.enter_raw()
        terminal.send(b"import uctypes\nuctypes.bytearray_at(1, 4)[0] = 1\x04")  # as writing to address 1 of a chip
        for _ in range(100):
            if (crash := board.say(state=True)["crash"]) is not None:
                break
            time.sleep(0.05)
    assert crash is not None and "the interpreter ended with code -11" in crash
