"""The virtual board behaves as an ESP32 where the unix port does not: clock, memory, pins, buses, resets."""

import calendar
import random

import pytest

from bongsu.sim.board import BoardError
from tests.board_parts import NODE, MakeBoard, output
from tests.board_parts import make_board as make_board  # noqa: PLC0414  # a fixture: used by its name

DAY_S = 86400


def test_ticks_wrap_at_2_to_the_30_and_asyncio_goes_on(make_board: MakeBoard) -> None:
    board = make_board(
        """
import asyncio, time
async def main():
    start = last = time.ticks_ms()
    print("start", start)
    for i in range(8):
        await asyncio.sleep_ms(250)
        now = time.ticks_ms()
        print(now < last, time.ticks_diff(now, last), time.ticks_diff(now, start))
        last = now
asyncio.run(main())
print(time.ticks_add(2**30 - 1, 2), time.ticks_diff(1, 2**30 - 1))
try:
    time.ticks_add(0, 2**29)
except OverflowError:
    print("overflow")
""",
        ticks_start=2**30 - 1000,
    )
    lines = output(board)
    assert lines[0] == f"start {2**30 - 1000}"
    assert [line.split() for line in lines[1:9]] == [[str(i == 4), "250", str(250 * i)] for i in range(1, 9)]
    assert lines[9:] == ["1 2", "overflow"]


def test_the_epoch_is_2000_and_time_is_whole_seconds(make_board: MakeBoard) -> None:
    board = make_board(
        """
import time, machine
print(time.time(), time.gmtime(), machine.RTC().datetime())
time.sleep(5)
print(time.time(), type(time.time()) is int)
"""
    )
    assert output(board) == ["0 (2000, 1, 1, 0, 0, 0, 5, 1) (2000, 1, 1, 5, 0, 0, 0, 0)", "5 True"]


def test_calendar_agrees_with_cpython(make_board: MakeBoard) -> None:
    dice = random.Random(7)
    seconds = [0, 59 * DAY_S, 60 * DAY_S, 366 * DAY_S, 2**31 - 1, *(dice.randrange(2**31) for _ in range(60))]
    board = make_board(f"import time\nfor s in {seconds}:\n    t = time.gmtime(s)\n    print(s, time.mktime(t), *t)\n")
    lines = output(board)
    assert len(lines) == len(seconds)
    for line in lines:
        given, back, *fields = (int(word) for word in line.split())
        assert back == given
        year, month, day, hour, minute, second, weekday, yearday = fields
        epoch = calendar.timegm((2000, 1, 1, 0, 0, 0))
        assert calendar.timegm((year, month, day, hour, minute, second)) == given + epoch
        assert weekday == calendar.weekday(year, month, day)
        assert yearday == (given - calendar.timegm((year, 1, 1, 0, 0, 0)) + epoch) // DAY_S + 1


def test_rtc_survives_a_reset_but_not_a_power_cut(make_board: MakeBoard) -> None:
    board = make_board(
        """
import machine, time
rtc = machine.RTC()
print(machine.reset_cause(), time.time() > 800000000, rtc.memory())
if machine.reset_cause() == machine.PWRON_RESET:
    rtc.datetime((2026, 5, 4, 0, 3, 2, 1, 0))
    rtc.memory(b"kept")
    time.sleep(10)
    machine.reset()
print(rtc.datetime()[:7])
"""
    )
    assert output(board, 30) == ["1 False b''", "5 True b'kept'", "(2026, 5, 4, 0, 3, 2, 11)"]
    board.power_off()
    assert output(board, 5)[0] == "1 False b''"
    assert board.reset_causes == ["power_on", "soft", "power_on"]


def test_what_an_esp32_does_not_have_is_not_there(make_board: MakeBoard) -> None:
    board = make_board(
        """
import os, sys, time, machine
print([hasattr(os, n) for n in ("system", "getenv", "putenv")], hasattr(time, "clock"), hasattr(machine, "mem8"))
print(os.listdir("/"), sys.path, os.uname()[0], machine.unique_id())
try:
    open("/etc/passwd")
except OSError as e:
    print(e.errno)
"""
    )
    assert output(board) == [
        "[False, False, False] False False",
        "['main.py'] ['', '.frozen', '/lib'] esp32 " + repr(bytes.fromhex(NODE)),
        "2",
    ]


def test_nvs_has_i32_and_blobs(make_board: MakeBoard) -> None:
    board = make_board(
        """
import esp32
nvs = esp32.NVS("bongsu")
nvs.set_i32("n", -5)
nvs.set_blob("b", b"\\x00\\xff\\x10")
nvs.commit()
buffer = bytearray(8)
print(nvs.get_i32("n"), nvs.get_blob("b", buffer), bytes(buffer[:3]))
def err(f, *args):
    try:
        f(*args)
    except (OSError, OverflowError) as e:
        print(e.args[-1])
err(nvs.get_i32, "none")
err(nvs.get_blob, "n", buffer)
err(nvs.get_blob, "b", bytearray(2))
err(nvs.set_blob, "a_name_of_16_chr", b"")
err(nvs.set_i32, "n", 2**31)
nvs.erase_key("n")
nvs.commit()
err(nvs.get_i32, "n")
print(hasattr(nvs, "set_str"), hasattr(nvs, "set_u32"))
"""
    )
    assert output(board) == [
        "-5 3 b'\\x00\\xff\\x10'",
        "ESP_ERR_NVS_NOT_FOUND",
        "ESP_ERR_NVS_NOT_FOUND",
        "ESP_ERR_NVS_INVALID_LENGTH",
        "ESP_ERR_NVS_INVALID_NAME",
        "overflow converting long int to machine word",
        "ESP_ERR_NVS_NOT_FOUND",
        "False False",
    ]
    assert board.nvs() == {"b": b"\x00\xff\x10"}


def test_thermometer_registers_and_faults(make_board: MakeBoard) -> None:
    board = make_board(
        """
import time
from machine import I2C, Pin
i2c = I2C(0, scl=Pin(22), sda=Pin(21))
i2c.writeto_mem(0x48, 3, b"\\x37\\x80")
print(i2c.scan(), i2c.readfrom_mem(0x48, 3, 2), i2c.readfrom_mem(0x48, 2, 2))
try:
    i2c.readfrom(0x49, 1)
except OSError as e:
    print("absent", e.errno)
i2c.writeto(0x48, b"\\x00")
while True:
    try:
        print(i2c.readfrom(0x48, 2))
    except OSError as e:
        print("error", e.errno)
    time.sleep(1)
"""
    )
    board.set_values(temp_c=25.3)
    assert output(board, 0.5) == ["[72] b'7\\x80' b'K\\x00'", "absent 19", r"b'\x19@'"]  # 25.25: 1/8 degC
    board.set_values(temp_c=-0.5)
    assert output(board, 1) == [r"b'\xff\x80'"]
    board.set_sensor_fault("lm75", "stuck")
    board.set_values(temp_c=80)
    assert output(board, 1) == [r"b'\xff\x80'"]
    board.set_sensor_fault("lm75", "nak")
    assert output(board, 1) == ["error 19"]
    board.set_sensor_fault("lm75", "bus")
    assert output(board, 1) == ["error 110"]
    board.set_sensor_fault("lm75", None)
    assert output(board, 1) == [r"b'P\x00'"]


@pytest.mark.parametrize(("thermometer", "word"), [("lm75", 0x1980), ("lm75b", 0x19A0), ("tmp102", 0x19B0)])
def test_thermometer_resolution(make_board: MakeBoard, thermometer: str, word: int) -> None:
    board = make_board("import machine\nprint(machine.I2C(0).readfrom_mem(0x48, 0, 2).hex())", thermometer=thermometer)
    board.set_values(temp_c=25.699)
    assert output(board, 1) == [f"{word:04x}"]


def test_smoke_head_on_the_adc(make_board: MakeBoard) -> None:
    board = make_board(
        """
import time
from machine import ADC, Pin
adc = ADC(Pin(34), atten=ADC.ATTN_11DB)
while True:
    print(adc.read_uv(), adc.read_u16() > 0)
    time.sleep(1)
"""
    )
    board.set_values(smoke_od=0.06)
    assert output(board, 0.5) == ["1000000 True"]
    board.set_sensor_fault("smoke", "open")
    assert output(board, 1) == ["142000 True"]
    board.set_sensor_fault("smoke", "short")
    assert output(board, 1) == ["3300000 True"]


def test_pins_as_on_the_chip(make_board: MakeBoard) -> None:
    board = make_board(
        """
from machine import ADC, Pin, PWM, Signal
import network
def err(f):
    try:
        f()
        print("ok")
    except (ValueError, OSError) as e:
        print(e.args[0])
err(lambda: Pin(34, Pin.OUT))
err(lambda: Pin(20))
err(lambda: ADC(Pin(23)))
network.WLAN(network.STA_IF).active(True)
err(lambda: ADC(Pin(4)).read_uv())
Pin(25, Pin.OUT, value=1)
PWM(Pin(26), freq=2000, duty_u16=32768)
Signal(Pin(33, Pin.OUT), invert=True).off()
"""
    )
    assert output(board) == ["pin can only be input", "invalid pin", "invalid pin", "110"]
    assert board.pins() == {25: 1, 26: 1, 33: 1}


def test_button_reaches_its_interrupt_handler(make_board: MakeBoard) -> None:
    board = make_board(
        """
import asyncio, time
from machine import Pin
flag = asyncio.ThreadSafeFlag()
def edge(pin):
    print("edge", pin.value(), time.ticks_ms())
    flag.set()
button = Pin(27, Pin.IN, Pin.PULL_UP)
button.irq(edge, Pin.IRQ_FALLING | Pin.IRQ_RISING)
async def main():
    while True:
        await flag.wait()
        print("woken", time.ticks_ms())
asyncio.run(main())
"""
    )
    assert output(board, 5) == []
    mark = board.mark()
    board.press_button(300)
    assert output(board, 5, since=mark) == ["edge 0 5000", "woken 5000", "edge 1 5300", "woken 5300"]


def test_scenario_runs_in_board_time_over_reboots(make_board: MakeBoard) -> None:
    board = make_board(
        """
import machine, time
adc = machine.ADC(machine.Pin(34), atten=machine.ADC.ATTN_11DB)
for i in range(4):
    print(adc.read_uv() // 1000 - 400)
    time.sleep_ms(1000)
machine.reset()
"""
    )
    board.set_scenario([(0, 20, 0), (4, 20, 0.0400), (6, 20, 0.0400), (6, 20, 0.1000)])
    values = [int(text) for text in output(board, 7.5)]
    assert values == [0, 100, 200, 300, 400, 400, 1000, 1000]


def test_reset_causes(make_board: MakeBoard) -> None:
    board = make_board(
        """
import machine, time
cause = machine.reset_cause()
print("cause", cause)
if cause == machine.PWRON_RESET:
    time.sleep(1)
    machine.reset()
elif cause == machine.SOFT_RESET:
    machine.deepsleep(2000)
elif cause == machine.DEEPSLEEP_RESET:
    wdt = machine.WDT(timeout=3000)
    for i in range(5):
        time.sleep(2)
        wdt.feed()
    print("hanging", time.time())
    while True:
        time.sleep(1)
time.sleep(1000)
"""
    )
    assert output(board, 60) == ["cause 1", "cause 5", "cause 4", "hanging 13", "cause 3"]
    assert board.reset_causes == ["power_on", "soft", "deep_sleep", "watchdog"]


def test_uncaught_exceptions_leave_the_repl(make_board: MakeBoard) -> None:
    board = make_board("print('main runs')\n1 / 0\n", files={"/boot.py": b"raise ValueError('boot broke')\n"})
    lines = output(board, 1)
    assert [line for line in lines if line.startswith(("ValueError", "main", "ZeroDivision"))] == [
        "ValueError: boot broke",
        "main runs",
        "ZeroDivisionError: divide by zero",
    ]
    assert '  File "main.py", line 2, in <module>' in lines
    assert board.failed_file == "main.py"
    assert board.powered


def test_a_dead_main_is_ended_by_its_watchdog(make_board: MakeBoard) -> None:
    board = make_board("import machine\nprint('up', machine.reset_cause())\nmachine.WDT(timeout=30000)\n1 / 0\n")
    lines = output(board, 95)
    assert [line for line in lines if line.startswith("up")] == ["up 1", "up 3", "up 3", "up 3"]


def test_twenty_four_hours_in_seconds(make_board: MakeBoard) -> None:
    board = make_board(
        """
import asyncio, time, machine
adc = machine.ADC(machine.Pin(34), atten=machine.ADC.ATTN_11DB)
async def sample():
    n = 0
    while True:
        adc.read_uv()
        n += 1
        if n % 4000 == 0:
            print(n, time.time())
        await asyncio.sleep_ms(1000)
asyncio.run(sample())
"""
    )
    lines = output(board, DAY_S + 1)
    assert lines[-1] == f"84000 {84000 - 1}"


def test_a_discrete_board_without_a_yield_still_ends_a_busy_wait(make_board: MakeBoard) -> None:
    board = make_board(
        """
import time
start = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), start) < 100:
    pass
print("waited")
"""
    )
    assert output(board, 1) == ["waited"]


def test_waiting_for_what_does_not_come_shows_the_last_lines(make_board: MakeBoard) -> None:
    board = make_board("print('only this')")
    output(board, 1)
    with pytest.raises(BoardError, match=r"(?s)no log line 'never' in 0.01 s.*only this"):
        board.wait_log("never", 0.01)
