"""esptool: what two of its versions print (tests/data/esptool, recorded in a pipe), and how it is run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from serial import rfc2217

from bongsu.install import esptool
from bongsu.install.esptool_output import (
    PRESS,
    Beginning,
    ChipFound,
    Erasing,
    FlashError,
    WritingAt,
    chip_found,
    event,
    failure,
    plain,
)
from bongsu.install.ports import PortBusy, PortError

RECORDED = Path(__file__).parents[1] / "data" / "esptool"
FAKE = Path(__file__).parents[1] / "data" / "fake_esptool.py"
VERSIONS = ["5.0.2", "5.6.0"]
PORT = "/dev/ttyUSB7"


def said(version: str, what: str) -> list[str]:
    text = (RECORDED / version / f"{what}.txt").read_text().replace("PORT", PORT)
    return [plain(line) for line in text.split("\n")]


# -- what it prints


@pytest.mark.parametrize(
    ("version", "chip", "title"),
    [
        ("5.6.0", "esp32", "ESP32-D0WD-V3 (revision v3.1)"),
        ("5.6.0", "esp32s3", "ESP32-S3 (QFN56) (revision v0.2)"),
        ("5.6.0", "esp32c3", "ESP32-C3 (QFN32) (revision v0.4)"),
        ("5.6.0", "esp32c6", "ESP32-C6 (QFN40) (revision v0.1)"),
        ("5.0.2", "esp32c6", "ESP32-C6 (QFN40) (revision v0.1)"),
    ],
)
def test_the_chip_is_read(version: str, chip: str, title: str) -> None:
    found = chip_found(said(version, f"chip_{chip}"))
    assert (found.chip, found.mac, found.flash_mb, found.title) == (chip, "a0b1c2d3e4f5", 4, title)
    assert any(feature.startswith("Wi-Fi") for feature in found.features)


def test_a_flash_that_does_not_tell_its_size() -> None:
    lines = [line.replace("flash size: 4MB", "flash size: Unknown") for line in said("5.6.0", "chip_esp32")]
    assert chip_found(lines).flash_mb is None


def test_output_that_is_not_understood_is_said_so() -> None:
    with pytest.raises(FlashError, match="does not say which chip") as e:
        chip_found(["esptool v9.0", "All is well."])
    assert "esptool>=5" in e.value.next_step


@pytest.mark.parametrize("version", VERSIONS)
def test_progress_is_read(version: str) -> None:
    events = [what for line in said(version, "write") if (what := event(line))]
    assert events[:3] == [Erasing(done=False), Erasing(done=True), Beginning()]
    written = [what.address for what in events[3:] if isinstance(what, WritingAt)]
    assert len(written) == len(events) - 3
    assert written == sorted(written)
    assert written[0] >= 0x1000 and written[-1] == 0x1000 + 1_702_240


def test_lines_lose_what_draws() -> None:
    assert plain("\x1b[1A\x1b[2K\x1b[1;31mA fatal error\x1b[0m ") == "A fatal error"


# -- what its failures mean

FAILURES = [
    ("wrong_chip", 2, "the chip is an ESP32-S3, not an ESP32", "--board"),
    ("silent", 2, "no chip answers", PRESS),
    ("flash_fails", 2, "the flash refuses to be written", "another board"),
    ("unplugged", 1, "the board was unplugged", "Plug it in again"),
    ("differs", 2, "does not hold what was written", "--baud 115200"),
    ("busy", 2, "is in use", "Close what has it open"),
    ("absent", 2, "there is no such port", "cable that carries data"),
    ("refused", 2, "nothing listens there", "host and port"),
]
NEWER = [
    ("wrong_md5", 2, "does not hold what was written", "--baud 115200"),
    ("bytes_lost", 2, "the line to the board is disturbed", "--baud 115200"),
    ("too_small", 2, "larger than the board's flash", "--board"),
]


@pytest.mark.parametrize(
    ("version", "what", "code", "message", "step"),
    [(version, *row) for version in VERSIONS for row in FAILURES] + [("5.6.0", *row) for row in NEWER],
)
def test_failures_say_what_is_wrong_and_what_to_do(version: str, what: str, code: int, message: str, step: str) -> None:
    err = failure(PORT, said(version, what), code)
    assert PORT in err.message and message in err.message
    assert step in err.next_step
    assert "\n" not in err.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Failed to connect to ESP32: Wrong boot mode detected (0x13)! The chip needs to be in download mode.",
            "started",
        ),
        (
            "Failed to connect to ESP32: Download mode successfully detected, but getting no sync reply: "
            "The serial TX path seems to be down.",
            "hears nothing",
        ),
        ("Failed to set baud rate 921600. The driver may not support this rate.", "cannot do 921600 baud"),
        ("The 'flash-id' command is not available in Secure Download Mode.", "locked by its fuses"),
        ("Guru Meditation Error detected (IllegalInstruction).", "crashed"),
        ("Serial data stream stopped: Possible serial noise or corruption.", "disturbed"),
        ("Packet content transfer stopped (received 8 bytes).", "disturbed"),
        ("Invalid head of packet (0x46): Possible serial noise or corruption.", "disturbed"),
        ("Failed to start stub flasher. There was no response.", "disturbed"),
        ("Unable to verify flash chip connection (No serial data received.).", "disturbed"),
        ("Unable to verify flash chip connection (SPI command did not complete in time).", "refuses"),
        (
            "Unable to verify flash chip connection (Failed to write target memory (result was C000: Bad data length))",
            "disturbed",
        ),
        ("Verification failed.", "does not hold what was written"),
        ("Write failed, the written flash region is empty.", "does not hold what was written"),
    ],
)
def test_what_else_esptool_may_say(text: str, message: str) -> None:
    err = failure(PORT, ["esptool v5.6.0", "", f"ERROR: A fatal error occurred: {text}", ""], 2)
    assert isinstance(err, FlashError)
    assert message in err.message


def test_a_failure_that_is_not_known_is_quoted() -> None:
    assert "a new one" in failure(PORT, ["ERROR: A fatal error occurred: a new one"], 2).message
    assert "exit code 3" in failure(PORT, [], 3).message
    assert "signal 9" in failure(PORT, ["Writing at 0x00010000"], -9).message
    assert "not installed" in failure(PORT, ["/usr/bin/python: No module named esptool"], 1).message


def test_a_port_over_the_network_that_is_lost() -> None:
    lines = ["Connecting...", "ERROR: A serial exception error occurred: connection failed (reader thread died)"]
    err = failure("rfc2217://rig:1", lines, 1)
    assert isinstance(err, PortError)
    assert "the connection was lost" in err.message


RECONNECTING = ["Connecting...", "Connected to ESP32 on rfc2217://rig:1:", "Lost connection, retrying..."]
LOST = "A serial exception error occurred: read failed: socket disconnected"


@pytest.mark.parametrize(
    ("url", "lines", "busy"),
    [
        ("rfc2217://rig:1", [], True),  # it says nothing more then
        ("socket://rig:1", ["Connecting...", LOST], True),
        ("socket://rig:1", ["Connecting...", "Connected to ESP32 on socket://rig:1:", LOST], False),
        ("rfc2217://rig:1", ["Connecting...", LOST], False),
        ("rfc2217://rig:1", [*RECONNECTING, "A serial exception error occurred: Remote does not seem to", ""], False),
        ("rfc2217://rig:1", [*RECONNECTING, "Waiting for the chip to reconnect......."], False),
    ],
)
def test_a_port_server_that_hangs_up_at_once_serves_another(url: str, lines: list[str], busy: bool) -> None:
    err = failure(url, ["esptool v5.6.0", f"Serial port {url}:", "", *lines], 1)
    assert isinstance(err, PortBusy) == busy
    assert ("is in use" if busy else "the connection was lost") in err.message


# -- as a process


def fake(what: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, str(FAKE), what, *words)


def test_each_line_comes_as_it_is_printed() -> None:
    heard: list[str] = []
    lines = esptool.run(PORT, fake("print"), heard.append)
    assert heard == lines == ["first", "second", "third", "no end"]


def test_a_failure_is_an_error_with_a_next_step() -> None:
    with pytest.raises(FlashError, match="no chip answers") as e:
        esptool.run(PORT, fake("fail"), lambda line: None)
    assert "Hold BOOT" in e.value.next_step


def test_a_port_that_is_in_use_for_a_moment_is_tried_again(tmp_path: Path) -> None:
    """Who had it may be ending."""
    assert esptool.run(PORT, fake("busy_once", str(tmp_path / "was")), lambda line: None) == ["esptool v5.6.0", "free"]


def test_a_port_that_stays_in_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(esptool, "BUSY_S", 0.0)
    with pytest.raises(PortBusy, match="is in use"):
        esptool.run(PORT, fake("busy_once", str(tmp_path / "was")), lambda line: None)


def test_its_own_settings_by_environment_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPTOOL_CHIP", "esp8266")
    monkeypatch.setenv("ESPTOOL_CFGFILE", "/etc/resets.cfg")
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = esptool.run(PORT, fake("environment"), lambda line: None)
    assert "ESPTOOL_CFGFILE=/etc/resets.cfg" in lines and "NO_COLOR=1" in lines
    assert not [line for line in lines if line.startswith(("ESPTOOL_CHIP", "FORCE_COLOR"))]


@pytest.mark.parametrize("what", ["patient", "deaf"])
def test_it_is_ended_when_we_are_interrupted(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By SIGINT, upon which it closes the port; by SIGKILL if it does not listen."""
    pids: list[int] = []

    def listen(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    if what == "deaf":
        monkeypatch.setattr(esptool, "STOP_S", 0.1)
    with pytest.raises(KeyboardInterrupt):
        esptool.run(PORT, fake(what, str(tmp_path / "end")), listen)
    assert not psutil.pid_exists(pids[0])
    assert (tmp_path / "end").exists() == (what == "patient")


def test_one_that_says_nothing_more_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(FlashError, match="said nothing"):
        esptool.run(
            PORT, fake("patient", str(tmp_path / "end")), lambda line: monkeypatch.setattr(esptool, "SILENCE_S", 0.01)
        )
    assert (tmp_path / "end").read_text() == "interrupted"


def test_it_ends_with_us_however_we_end(tmp_path: Path) -> None:
    """Else it would hold the port, and the next run would find it busy."""
    code = (
        "from bongsu.install import esptool\n"
        f"esptool.run('x', {fake('patient', str(tmp_path / 'end'))!r}, lambda line: print(line, flush=True))"
    )
    ours = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert ours.stdout is not None
    esptools = psutil.Process(int(ours.stdout.readline()))
    ours.kill()
    ours.communicate()
    psutil.wait_procs([esptools], timeout=10)
    assert not esptools.is_running()


def test_identify_is_one_call_of_flash_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(
        esptool, "PROGRAM", fake("play", str(RECORDED / "5.6.0" / "chip_esp32s3.txt"), str(tmp_path / "argv"))
    )
    found = esptool.identify("rfc2217://rig:4000")
    assert found == ChipFound("esp32s3", "a0b1c2d3e4f5", 4, "ESP32-S3 (QFN56) (revision v0.2)", found.features)
    words = (tmp_path / "argv").read_text().split("\n")
    assert words[-1] == "flash-id"
    assert words[words.index("--port") + 1] == "rfc2217://rig:4000"


def test_the_program_is_esptool_started_and_not_imported() -> None:
    """Its licence is the GPL (FACTS 5)."""
    assert (sys.executable, "-m", "esptool") == esptool.PROGRAM
    code = "import sys, bongsu.cli.device_flash, bongsu.install.flash; sys.exit('esptool' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("url", "quick"), [(PORT, False), ("rfc2217://rig:4000", True), ("socket://rig:4000", False)])
def test_only_ports_over_rfc_2217_are_made_quick(url: str, quick: bool) -> None:
    code = "import sys; print(sys.argv[1], hasattr(sys.modules.get('sitecustomize'), '_NEGOTIATED'))"
    (line,) = esptool.run(url, (sys.executable, "-c", code, url), lambda line: None)
    assert line == f"{url} {quick}"


def test_a_time_out_alone_is_not_negotiated(monkeypatch: pytest.MonkeyPatch) -> None:
    negotiated: list[int] = []
    monkeypatch.setattr(rfc2217.Serial, "_reconfigure_port", lambda port: negotiated.append(port._baudrate))
    spec = importlib.util.spec_from_file_location("quick", esptool._QUICK_SERIAL / "sitecustomize.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    port = rfc2217.Serial()
    port.is_open, port._socket = True, object()
    for timeout_s in (1, 2, 3):
        port.timeout = timeout_s
    port.baudrate = 460800
    port.timeout = 4
    port._socket = object()  # opened anew
    port.timeout = 5
    assert negotiated == [9600, 460800, 460800]
    port.is_open, port._socket = False, None


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("Could not configure port: (25, 'Inappropriate ioctl for device')", "/dev/null is not a serial port"),
        ("Could not open port /dev/null: [Errno -2] Name or service not known", "/dev/null: there is no such host"),
        ("something new", "/dev/null: Could not open /dev/null, the port is busy or doesn't exist. (something new)"),
    ],
)
def test_why_a_port_does_not_open_is_said_in_our_words(why: str, said: str) -> None:
    line = f"A fatal error occurred: Could not open /dev/null, the port is busy or doesn't exist. ({why})"
    assert failure("/dev/null", ["esptool v5.6.0", "Serial port /dev/null:", line], 2).message == said
