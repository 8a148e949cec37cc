"""The virtual board: the unmodified firmware under the real MicroPython, in a process of its own, on a flash that is
a littlefs image in a file.

It behaves as an ESP32 where the unix port does not (see shims/): ticks wrap at 2^30, the epoch is 2000, NVS has i32
and blobs, the watchdog bites, power can fail at any flash write. Board time runs `speed` times as fast as the wall;
`speed=math.inf` is discrete: time jumps to the next task, without a network, and only while `run_for` lets it.

    with VirtualBoard(folder, node_id="a0b1c2d3e4f5") as board:
        board.flash(firmware)
        board.provision(bundle)
        board.power_on()
        board.wait_log("^[0-9]+ I boot ", timeout_s=5)
"""

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

from bongsu.errors import BongsuError
from bongsu.sim import flash
from bongsu.sim.console import Console
from bongsu.sim.link import LinkProxy
from bongsu.sim.serial_log import LogLine
from bongsu.sim.supervisor import POWER_ON, Supervisor
from bongsu.sim.track import Point, Track
from bongsu.sim.wiring import AIR, faults_of, first_state, usual_sensors

_NODE_ID = re.compile(r"^[0-9a-f]{12}$")
# Heap of the unix port: objects are twice as wide as on the chip, and the shims live in it too.
HEAP_KB = 1536
_DEFAULT_BUTTON = 27


class BoardError(BongsuError):
    """The board did not do what was waited for, or died; the message holds its last log lines."""


class BundleLike(Protocol):
    """What `provision` needs of an install.bundle.Bundle."""

    @property
    def key_epoch(self) -> int: ...
    @property
    def key(self) -> bytes: ...
    @property
    def node_json(self) -> dict[str, Any]: ...
    @property
    def ca_der(self) -> bytes: ...


class VirtualBoard:
    """One board. `folder`: its own, made if missing; `node_id`: MAC as 12 hex digits; `speed`: board seconds per wall
    second; `seed`: of torn writes and the like; `ticks_start`: value of ticks_ms at each boot; `thermometer`: lm75 (9
    bits), lm75b (11) or tmp102 (12). `image`: its flash, if that is not a file of its own in the folder; `console`: who
    sits at its serial line, which has a REPL then."""

    def __init__(
        self,
        folder: Path,
        *,
        node_id: str,
        speed: float = 1.0,
        seed: int = 0,
        ticks_start: int = 0,
        thermometer: Literal["lm75", "lm75b", "tmp102"] = "lm75b",
        heap_kb: int = HEAP_KB,
        image: flash.FlashImage | None = None,
        console: Console | None = None,
    ) -> None:
        if not _NODE_ID.match(node_id):
            raise ValueError(f"node id {node_id!r} is not 12 lower-case hex digits")
        if not speed > 0:
            raise ValueError(f"speed {speed} is not above 0")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # the flash holds keys
        self.folder = folder.resolve()
        self.node_id = node_id
        self.link: LinkProxy | None = None
        self.image = image or flash.FlashImage(self.folder / "flash.img")
        self._nvs = self.folder / "nvs.bin"
        self._discrete = math.isinf(speed)
        ratio = None if self._discrete else Fraction(speed).limit_denominator(1000)
        state = first_state(node_id, thermometer)
        self._supervisor = Supervisor(self.folder, self.image, state, ratio, seed, heap_kb, console)
        self._supervisor.ticks_start = ticks_start
        (self.folder / "scenario.csv").unlink(missing_ok=True)

    # -- before power

    def flash(self, firmware: Path, mpy: bool = False) -> None:
        """Format the flash and copy main.py, boot.py and the packages (into /lib) from `firmware`; `mpy`: compiled by
        mpy-cross."""
        self._must_be_off("flash")
        scratch = self.folder / "mpy" if mpy else None
        self.image.format(flash.firmware_files(firmware, mpy=mpy, scratch=scratch))

    def write_files(self, files: dict[str, bytes]) -> None:
        """Write files to the flash: path -> content; makes a file system if there is none."""
        self._must_be_off("write to")
        if not self.image.path.exists():
            self.image.format([])
        self.image.write(files)

    def read_file(self, path: str) -> bytes:
        """A file of the flash. Raises BongsuError if it is not there."""
        self._must_be_off("read")
        return self.image.read(path)

    def list_files(self) -> list[str]:
        """Paths of all files on the flash."""
        self._must_be_off("read")
        return self.image.list()

    def nvs(self) -> dict[str, bytes | int]:
        """The committed values of namespace `bongsu`."""
        return flash.read_nvs(self._nvs)

    def provision(self, bundle: BundleLike) -> None:
        """Write node.json, ca.der and the identity; wire sensors and Wi-Fi as node.json says."""
        self.write_files({"/node.json": json.dumps(bundle.node_json).encode(), "/ca.der": bundle.ca_der})
        self._nvs.with_suffix(".pending").unlink(missing_ok=True)
        flash.write_nvs(self._nvs, flash.identity_blobs(bundle.key_epoch, bundle.key))
        self.wire(bundle.node_json)

    def wire(self, node_json: dict[str, Any]) -> None:
        """Connect the sensors to the pins, and give the air the networks, that a node.json names."""
        pins = node_json.get("pins", {})
        networks = [[w["ssid"], w.get("psk"), -60] for w in node_json.get("wifi", [])]
        self._supervisor.set(
            pins=pins,
            sensors=node_json.get("sensors") or usual_sensors(pins, node_json.get("smoke_head", {})),
            networks=networks or [["*", None, -60]],
        )

    # -- the world around it

    def set_scenario(self, points: Iterable[Point] | Track, start_s: float = 0.0) -> None:
        """What the sensors see from now on: points (t_s, temperature degC, optical density 1/m), or a track with more
        columns; straight lines between the points, two points at one time are a step. Time counts from the first
        power-on, plus `start_s`; it goes on while the board is off."""
        track = points if isinstance(points, Track) else _track(list(points))
        lines = [",".join(["t_s", *track.columns])]
        for row in zip(track.t_s, *track.columns.values(), strict=True):
            lines.append(",".join([f"{row[0] + start_s:.3f}", *(f"{value:.6f}" for value in row[1:])]))
        temporary = self.folder / "scenario.tmp"
        temporary.write_text("\n".join(lines) + "\n")
        temporary.replace(self.folder / "scenario.csv")
        self._supervisor.set(air={}, scenario=time.monotonic_ns())

    def set_values(self, **air: float) -> None:
        """Hold values from now on (they replace the scenario's): temp_c degC, smoke_od 1/m, rh_pct %, co_ppm, gas_index
        (100 = clean air), pm25_ug ug/m3, co2_ppm, pressure_hpa, voc (1 = usual air)."""
        unknown = air.keys() - set(AIR)
        if unknown:
            raise ValueError(f"the air has {', '.join(AIR)}, not {', '.join(sorted(unknown))}")

        self._supervisor.set(air={**self._supervisor.state["air"], **air})

    def set_sensor_fault(self, sensor: str, fault: str | None) -> None:
        """A fault of all sensors of a type of node.json ("smoke": smoke_head), None heals it: on I2C "nak" (no answer),
        "bus" (SDA held low: nothing on the bus is heard), "bit_error", "stuck" (it never changes); on the ADC "open",
        "short" (supply), "stuck", an MQ's "heater"; on 1-Wire "open", "short", "bit_error"; on the UART "silent",
        "bit_error", "bus". "unplugged": see `unplug`."""
        kind = {"smoke": "smoke_head"}.get(sensor, sensor)
        if kind not in {entry["type"] for entry in self._supervisor.state["sensors"]}:
            raise ValueError(f"the board has no {kind}")
        allowed = faults_of(kind)
        if fault is not None and fault not in allowed:
            raise ValueError(f"{sensor} has the faults {', '.join(allowed)}, not {fault}")
        faults = {**self._supervisor.state["faults"], kind: fault}
        self._supervisor.set(faults={name: said for name, said in faults.items() if said is not None})

    def unplug(self, sensor: str) -> None:
        """Take the sensors of a type off the board."""
        self.set_sensor_fault(sensor, "unplugged")

    def plug(self, sensor: str) -> None:
        """Put them back; a chip comes from power-on."""
        self.set_sensor_fault(sensor, None)

    def dip(self, sensor: str) -> None:
        """The supply of the sensors of a type fails for a moment, while the board's own holds."""
        self._supervisor.order(dip={"smoke": "smoke_head"}.get(sensor, sensor))

    def set_wifi(self, up: bool) -> None:
        """The access point comes or goes. A link in `self.link` stalls with it, as TCP does over a dead radio."""
        self._supervisor.set(wifi="up" if up else "down")
        if self.link is not None:
            if up:
                self.link.restore()
            else:
                self.link.freeze()

    def set_wifi_stuck(self) -> None:
        """The interface fails until the firmware switches it off and on (and `set_wifi(True)` was called)."""
        self._supervisor.set(wifi="stuck")
        if self.link is not None:
            self.link.freeze()

    def set_networks(self, networks: Iterable[tuple[str, str | None, int]]) -> None:
        """The networks on the air: (ssid, psk, RSSI in dBm); ssid "*" accepts any."""
        self._supervisor.set(networks=[list(n) for n in networks])

    def set_beacon_timeout(self, ms: int) -> None:
        """How long a vanished access point goes unnoticed (an ESP32: 6000; here 1000)."""
        self._supervisor.set(beacon_timeout_ms=ms)

    def set_idf_heap_free(self, size: int) -> None:
        """What esp32.idf_heap_info reports as free, bytes."""
        self._supervisor.set(idf_free=size)

    def set_flash_full(self, full: bool) -> None:
        """The flash takes no new block: a file system on it is full."""
        self._supervisor.set(flash_full=full)

    def press_button(self, hold_ms: int, pin: int | None = None) -> None:
        """Press the button (node.json's pin, unless given) for `hold_ms` of board time."""
        if pin is None:
            pin = self._supervisor.state["pins"].get("button", _DEFAULT_BUTTON)
        self._supervisor.order(press=[pin, hold_ms])

    def type_in(self, data: bytes) -> None:
        """Bytes on the serial line of a board that has a console."""
        self._supervisor.type_in(data)

    def set_input(self, pin: int, level: int) -> None:
        """Drive a pin from outside."""
        self._supervisor.order(input=[pin, level])

    # -- power and time

    def power_on(self) -> None:
        """Start with cause power_on; scenario time starts with the first one. Does nothing if it is on."""
        if not self.image.path.exists():
            raise BoardError("the board has no firmware", "call flash() first")
        self._supervisor.call(lambda: None if self.powered else self._supervisor.boot(POWER_ON))

    def power_off(self) -> None:
        """Cut the power now."""
        self._supervisor.call(self._supervisor.stop)

    def cut_power_after_writes(self, writes: int) -> None:
        """Power fails during the `writes`-th flash write from now (or from the next boot): that one is torn. See
        `wait_off`."""
        if writes < 1:
            raise ValueError("the first write is 1")
        self._supervisor.set(cut_after=writes)

    def run_for(self, seconds: float, timeout_s: float = 60.0) -> None:
        """Discrete mode only: let `seconds` of board time pass and return when they have (at most `timeout_s` on the
        wall), or when power has failed."""
        if not self._discrete:
            raise BoardError("run_for needs a board of speed inf")

        def go() -> int:
            end = self._supervisor.now_us() + round(seconds * 1e6)
            self._supervisor.set(run_to_us=end)
            return end

        end = self._supervisor.call(go)
        board = self._supervisor
        self._wait(lambda: board.paused_us >= end or board.off or None, timeout_s, f"{seconds} s of board time")

    @property
    def powered(self) -> bool:
        """True while the interpreter runs."""
        return self._supervisor.life is not None

    @property
    def off(self) -> bool:
        """True without power; a board that sleeps, or is being reset, has it."""
        return self._supervisor.off

    @property
    def now_s(self) -> float:
        """Board time in s since the first power-on: the scenario's time."""
        return self._supervisor.now_us() / 1e6

    @property
    def pid(self) -> int | None:
        """Process id of the interpreter, to stop or kill it in a test."""
        life = self._supervisor.life
        return life.process.pid if life else None

    # -- what it does

    @property
    def log_lines(self) -> list[LogLine]:
        """All lines of the serial line so far, over all boots."""
        return list(self._supervisor.log.lines)

    def mark(self) -> int:
        """Index of the next log line, for `since`."""
        return len(self._supervisor.log.lines)

    def wait_log(self, pattern: str | re.Pattern[str], timeout_s: float, since: int | LogLine = 0) -> LogLine:
        """The first line in which `pattern` is found, at or after index `since` (after it, if it is a line).
        `timeout_s` is wall time. Raises BoardError."""
        compiled = re.compile(pattern)
        start = since.index + 1 if isinstance(since, LogLine) else since
        log = self._supervisor.log
        line: LogLine = self._wait(lambda: log.find(compiled, start), timeout_s, f"log line {compiled.pattern!r}")
        return line

    def wait_off(self, timeout_s: float) -> None:
        """Wait until the board has no power (after cut_power_after_writes). Raises BoardError."""
        self._wait(lambda: self._supervisor.off or None, timeout_s, "power off")

    def wait_boots(self, count: int, timeout_s: float) -> None:
        """Wait until the board has booted `count` times in all. Raises BoardError."""
        self._wait(lambda: len(self._supervisor.causes) >= count or None, timeout_s, f"boot {count}")

    def wait_pin(self, pin: int, level: int, timeout_s: float) -> None:
        """Wait until the firmware drives `pin` to `level`. Raises BoardError."""
        pins = self._supervisor.pins
        self._wait(lambda: pins.get(pin) == level or None, timeout_s, f"pin {pin} at {level}")

    def on_log(self, listener: Callable[[LogLine], None] | None) -> None:
        """Call `listener` for each new line, in the board's thread: it must be quick."""
        self._supervisor.log.listener = listener

    def pins(self) -> dict[int, int]:
        """Pins that the firmware drives -> level, since this boot."""
        with self._supervisor.changed:
            return dict(self._supervisor.pins)

    @property
    def pin_history(self) -> list[tuple[float, int, int]]:
        """(board time in s, pin, level) of every change of an output."""
        return list(self._supervisor.pin_history)

    @property
    def reset_causes(self) -> list[str]:
        """Cause of each boot so far: power_on, hard, watchdog, deep_sleep, soft."""
        return list(self._supervisor.causes)

    @property
    def flash_writes(self) -> int:
        """Flash programs, erases and NVS commits so far (as of the board's last idle moment)."""
        return int(self._supervisor.state["flash_writes"])

    @property
    def scans(self) -> int:
        """How often the firmware scanned for networks."""
        return self._supervisor.scans

    @property
    def failed_file(self) -> str | None:
        """ "boot.py" or "main.py" if it ended with an exception in this boot: the board then stands in its REPL."""
        return self._supervisor.failed_file

    @property
    def crash(self) -> str | None:
        """Why the interpreter ended by itself, with its last lines; None as long as it did not."""
        return self._supervisor.crash

    def _wait(self, look: Callable[[], Any], timeout_s: float, what: str) -> Any:
        end = time.monotonic() + timeout_s
        changed: threading.Condition = self._supervisor.changed
        with changed:
            while (found := look()) is None or found is False:
                if self._supervisor.crash is not None:
                    raise BoardError(f"board {self.node_id}: {self._supervisor.crash}")
                left = end - time.monotonic()
                if left <= 0:
                    tail = self._supervisor.log.tail()
                    raise BoardError(f"board {self.node_id}: no {what} in {timeout_s} s; its last lines:\n{tail}")
                changed.wait(left)
        return found

    def _must_be_off(self, verb: str) -> None:
        if self.powered:
            raise BoardError(f"cannot {verb} the flash of a running board", "call power_off() first")

    def close(self) -> None:
        """End the process and the thread. The folder stays."""
        self._supervisor.close()

    def __enter__(self) -> "VirtualBoard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _track(points: list[Point]) -> Track:
    if not points:
        raise ValueError("a scenario needs a point")
    return Track.of_points(points)
