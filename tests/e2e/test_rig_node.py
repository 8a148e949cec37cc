"""A rig from blank to a running node, by programs that are not ours as far as they reach."""

import subprocess
import sys
from pathlib import Path

import pytest

from bongsu.install.boards import load_board
from bongsu.sim.rig import image
from tests.board_parts import KEY, NODE, bundle
from tests.rig_parts import SSID, Terminal, put_firmware, rig


@pytest.mark.timeout(
    240
)  # pyserial's RFC 2217 client waits 0.1 s for each change of a time-out, and esptool makes many
def test_esptool_resets_flashes_and_starts_a_blank_board(tmp_path: Path) -> None:
    parts: list[str] = []
    for offset, data in image.stock_image(load_board("esp32-devkitc")).items():
        file = tmp_path / f"{offset:x}.bin"
        file.write_bytes(data)
        parts += [hex(offset), str(file)]
    with rig(tmp_path) as board:
        assert board.mode == "blank"
        options = ["--chip", "esp32", "--port", board.url]
        done = subprocess.run(
            [sys.executable, "-m", "esptool", *options, "write-flash", *parts],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert done.stdout.count("Hash of data verified.") == 3 and "Hard resetting via RTS pin" in done.stdout
        with Terminal(board.url) as terminal:
            terminal.send(b"\r")
            terminal.until(b">>> ")
        assert board.mode == "running" and board.boots == ["power_on"]


def test_a_node_runs_on_it_and_its_line_is_open_for_service(tmp_path: Path) -> None:
    node = bundle().node_json | {"wifi": [{"ssid": SSID}]}
    put_firmware(tmp_path, node, b"", KEY)
    with rig(tmp_path, mac=NODE, speed=5, off=True) as board, Terminal(board.url) as terminal:
        board.say(power="on")
        terminal.until(b" I boot cause=power_on")
        terminal.until(b" I wifi ")
        board.say(air={"temp_c": 80.0, "smoke_od": 0.3})
        terminal.until(b" alarm event=")
        terminal.send(b"\x03")  # while its tasks run
        terminal.until(b">>> ")
        terminal.enter_raw()
        assert terminal.raw("import machine; print(machine.unique_id().hex())") == NODE.encode() + b"\r\n"
        terminal.send(b"import machine; machine.reset()\x04")
        terminal.until(b"3 s for service")
        terminal.send(b"\x03")
        terminal.until(b">>> ")
        terminal.send(b"print(service_mode)\r")
        terminal.until(b"True\r\n")
        assert board.boots == ["power_on", "hard"]
