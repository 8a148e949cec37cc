"""State running: the node senses, reports, obeys, and comes back, whatever is done to it and to the centre."""

import pytest

from bongsu_wire import payload
from tests.hil.bench import HEARTBEAT_S, Bench

# One board, one process; a chip takes minutes to be erased and written.
pytestmark = [pytest.mark.xdist_group("hil"), pytest.mark.timeout(900)]

# One heartbeat comes in 45 s; a command goes out with the next one at the latest.
ORDER_S = 100.0
ALARM_S = 60.0


def _test_events(bench: Bench) -> int:
    return len(bench.events("test"))


def _order(bench: Bench, name: str) -> None:
    done = bench.run("node", "order", bench.node, name, "--wait", str(ORDER_S))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_heartbeat_tells_of_the_board(bench: Bench) -> None:
    heard = bench.to("running").heard()
    # Before a collection little may be free; MicroPython counts what ESP-IDF could add. With PSRAM it is megabytes.
    assert 0 < heard["heap_free_kb"] <= 0xFFFF
    assert heard["rssi_dbm"] == payload.RSSI_UNKNOWN or -120 <= heard["rssi_dbm"] < 20  # an emulator's air has no loss
    if any(text.split(",")[0] == "lm75" for text in bench.options.sensors):
        assert -55 <= heard["temp_dk"] / 10 - 273.15 <= 125


def test_a_test_goes_to_the_centre_and_back(bench: Bench) -> None:
    bench.to("running")
    before = _test_events(bench)
    _order(bench, "test")
    bench.centre.until(lambda: _test_events(bench) > before, "its test event", ORDER_S)


def test_it_can_be_found(bench: Bench) -> None:
    _order(bench.to("running"), "identify")


def test_it_comes_back_after_a_reset_under_the_same_key(bench: Bench) -> None:
    """Counters go on above all that were used: else its frames would be refused as replays."""
    boots = bench.to("running").heard()["boot_count"]
    with bench.link():
        pass  # interrupted and started again
    bench.centre.until(lambda: bench.heard()["boot_count"] > boots, "a heartbeat after the reset", HEARTBEAT_S)
    assert bench.key_state(bench.provisioned["epoch"]) == "active"
    _order(bench, "identify")


def test_an_event_outlives_the_receiver(bench: Bench) -> None:
    """The receiver is killed, with its broker, right after the order: the test event waits on the node's flash."""
    bench.to("running")
    before = _test_events(bench)
    bench.run("node", "order", bench.node, "test", "--wait", "0")
    bench.centre.kill()
    bench.centre.start()
    bench.centre.until(lambda: _test_events(bench) > before, "its test event", 2 * ORDER_S)


def test_heat_that_lasts_is_an_alarm(bench: Bench) -> None:
    bench.to("running")
    if bench.heat is None:
        pytest.skip(
            "no program can warm the air at this port: hold a hair dryer to it and look at `bongsu incident list`"
        )
    bench.heat(75.0)
    bench.centre.until(lambda: bench.events("alarm"), "an alarm", ALARM_S)
    bench.heat(22.0)
