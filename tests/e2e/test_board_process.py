"""The virtual board as a process: speed, hangs, crashes, its end, and its link."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bongsu.sim import watchdog
from bongsu.sim.board import BoardError
from bongsu.sim.link import LinkProxy
from tests.board_parts import NODE, MakeBoard
from tests.board_parts import make_board as make_board  # noqa: PLC0414  # a fixture: used by its name

HOST = Path(__file__).resolve().parents[2] / "host"

_BEATS = """
import asyncio, time
async def main():
    while True:
        print(time.ticks_ms(), "I beat n=%d" % (time.ticks_ms() // 1000))
        await asyncio.sleep_ms(1000)
asyncio.run(main())
"""


def test_board_time_runs_at_the_given_speed(make_board: MakeBoard) -> None:
    board = make_board(_BEATS, speed=20.0)
    board.power_on()
    first = board.wait_log("beat n=1$", 10)
    last = board.wait_log("beat n=20$", 10)
    assert first.tag == "beat" and first.fields == {"n": "1"} and first.level == "I"
    board_s = (last.ticks_ms or 0) / 1000 - (first.ticks_ms or 0) / 1000
    wall_s = last.wall_s - first.wall_s
    # A loaded computer delays a line, but not by half the distance.
    assert 0.5 * board_s < wall_s * 20 < 1.5 * board_s


def test_a_hung_program_is_bitten_by_the_watchdog(make_board: MakeBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "MIN_WALL_S", 0.2)
    board = make_board(
        "import machine\nprint('cause', machine.reset_cause())\nmachine.WDT(timeout=10000)\nwhile True:\n    pass\n",
        speed=50.0,
    )
    board.power_on()
    board.wait_boots(3, 20)
    board.power_off()
    assert board.reset_causes[:3] == ["power_on", "watchdog", "watchdog"]


def test_a_fed_watchdog_does_not_bite(make_board: MakeBoard) -> None:
    source = _BEATS.replace("async def main():", "import machine\nwdt = machine.WDT(timeout=3000)\nasync def main():")
    board = make_board(source.replace("        print", "        wdt.feed()\n        print"), speed=5.0)
    board.power_on()
    board.wait_log("beat n=15$", 20)
    assert board.reset_causes == ["power_on"]


def test_a_killed_interpreter_is_not_hidden(make_board: MakeBoard) -> None:
    board = make_board(_BEATS, speed=1.0)
    board.power_on()
    board.wait_log("beat", 10)
    assert board.pid is not None
    os.kill(board.pid, signal.SIGKILL)
    with pytest.raises(BoardError, match="the interpreter ended with code -9"):
        board.wait_log("never", 10)


def test_closing_ends_the_process_and_twice_is_fine(make_board: MakeBoard) -> None:
    board = make_board(_BEATS, speed=1.0)
    board.power_on()
    board.wait_log("beat", 10)
    pid = board.pid
    assert pid is not None
    board.close()
    board.close()
    assert not psutil.pid_exists(pid)
    with pytest.raises(RuntimeError):
        board.power_on()


def test_boards_die_with_their_killed_parent(make_board: MakeBoard, tmp_path: Path) -> None:
    program = f"""
        from pathlib import Path
        from bongsu.sim.board import VirtualBoard
        board = VirtualBoard(Path({str(tmp_path / "orphan")!r}), node_id={NODE!r})
        board.write_files({{"/main.py": b"print('up')\\nwhile True: pass"}})
        board.power_on()
        board.wait_log("up", 10)
        print(board.pid, flush=True)
        input()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(HOST)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
        # init reaps it: gone, or in a container without init a zombie that runs no more
        gone, alive = psutil.wait_procs([child], timeout=10)
        assert gone or alive[0].status() == psutil.STATUS_ZOMBIE


# -- the link


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                while data := client.recv(65536):
                    client.sendall(data)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


def _ask(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        got += client.recv(65536)
    return got


def _silent(client: socket.socket) -> bool:
    """True if nothing comes for a moment."""
    client.settimeout(0.1)
    try:
        client.recv(1)
    except TimeoutError:
        client.settimeout(10)
        return True
    return False


def test_link_relays_and_counts(echo: tuple[str, int]) -> None:
    with LinkProxy(*echo) as link, socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
        data = os.urandom(1_000_000)
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        got = b""
        while len(got) < len(data):
            got += client.recv(65536)
        sender.join()
        assert got == data
        assert (link.connections, link.bytes_up, link.bytes_down) == (1, len(data), len(data))


def test_frozen_link_goes_on_with_the_same_connection(echo: tuple[str, int]) -> None:
    with LinkProxy(*echo) as link, socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
        assert _ask(client, b"one") == b"one"
        link.freeze()
        client.sendall(b"two")
        assert _silent(client)
        link.restore()
        assert client.recv(10) == b"two"


def test_cut_link_resets_what_was_open_and_takes_new_ones(echo: tuple[str, int]) -> None:
    with LinkProxy(*echo) as link, socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
        assert _ask(client, b"one") == b"one"
        link.cut()
        client.sendall(b"two")
        assert _silent(client)
        with socket.create_connection(("127.0.0.1", link.port), timeout=10) as late:
            late.sendall(b"late")
            assert _silent(late)
            link.restore()
            assert late.recv(10) == b"late"
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_refusing_link_keeps_its_port(echo: tuple[str, int]) -> None:
    with LinkProxy(*echo) as link:
        port = link.port
        link.cut(refuse=True)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)
        link.restore()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            assert _ask(client, b"back") == b"back"


def test_dropped_connections_are_reset(echo: tuple[str, int]) -> None:
    with LinkProxy(*echo) as link, socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
        assert _ask(client, b"one") == b"one"
        link.drop()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_delay_holds_each_way_in_order(echo: tuple[str, int]) -> None:
    with LinkProxy(*echo) as link, socket.create_connection(("127.0.0.1", link.port), timeout=10) as client:
        link.delay_ms = 50
        start = time.monotonic()
        assert _ask(client, b"first") == b"first"
        assert time.monotonic() - start >= 0.1
        client.sendall(b"a")
        link.delay_ms = 0
        client.sendall(b"b")
        assert client.recv(1) + client.recv(1) == b"ab"


def test_nobody_upstream_is_a_reset(echo: tuple[str, int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with LinkProxy("127.0.0.1", port) as link:
        # It may come so early that connect() itself sees it.
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", link.port), 10) as client:
            client.recv(1)


_TALKER = """
import asyncio, network, time, machine, select, errno
import socket
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect("market", "secret12")
async def main():
    while not wlan.isconnected():
        await asyncio.sleep_ms(100)
    print(time.ticks_ms(), "I wifi state=up")
    reader, writer = await asyncio.open_connection("127.0.0.1", {port})
    n = 0
    while True:
        n += 1
        writer.write(b"%06d" % n)
        await writer.drain()
        try:
            got = await asyncio.wait_for(reader.readexactly(6), 5)
        except asyncio.TimeoutError:
            print(time.ticks_ms(), "W echo state=late")
            got = await reader.readexactly(6)
        print(time.ticks_ms(), "I echo n=%d" % int(got))
        await asyncio.sleep_ms(500)
asyncio.run(main())
"""


def test_a_board_talks_through_its_link_and_rides_out_a_wifi_cut(make_board: MakeBoard, echo: tuple[str, int]) -> None:
    with LinkProxy(*echo) as link:
        board = make_board(_TALKER.format(port=link.port), speed=10.0)
        board.link = link
        board.power_on()
        board.wait_log("echo n=3$", 10)
        board.set_wifi(False)
        late = board.wait_log("echo state=late", 10)
        board.set_wifi(True)
        after = board.wait_log("echo n=", 10, since=late)
        board.wait_log(f"echo n={int(after.fields['n']) + 3}$", 10)
        assert link.connections == 1
        board.close()
