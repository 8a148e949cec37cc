"""The node: wires the path from the sensors to the link and starts its tasks.

sensing/watch -> alarm/response (siren, journal) -> link/uplink -> receipt -> journal
"""

import asyncio
import gc
import sys
from time import ticks_add, ticks_diff, ticks_ms

import machine

from bongsu_node import board, counters, flashfile, log, version
from bongsu_node.alarm.journal import Journal
from bongsu_node.alarm.response import Response
from bongsu_node.alarm.siren import Siren
from bongsu_node.alarm.state import AlarmState
from bongsu_node.clock import Clock
from bongsu_node.sensing.detector import Detector
from bongsu_node.sensing.probe import Probe
from bongsu_node.sensing.watch import Watch
from bongsu_node.settings import Config
from bongsu_node.supervisor import Supervisor
from bongsu_node.upkeep import health
from bongsu_node.upkeep.button import LONG, SHORT, Button
from bongsu_node.upkeep.faults import Faults
from bongsu_wire import kinds, payload
from bongsu_wire.topics import node_text

_STATE = "/state"
_JOURNAL = "/journal"
_ALARM_FILE = _STATE + "/alarm"
# Restarts in a row, not by power, that did not last _LASTING_MS: then only what senses, sounds and reports is started.
_SAFE_AFTER = 4
_LASTING_MS = 600_000
# In safe mode the link starts late, and later with each restart: should it be what brings the node down, the sensing
# stands meanwhile.
_SAFE_LINK_MS = 20_000
_SAFE_LINK_MOST_MS = 1_800_000
_PANEL_MS = 50
_UPKEEP_S = 10


class Node:
    """Everything that one node consists of, made in the order of the data path."""

    def __init__(self) -> None:
        self.log = log.make(ticks_ms)
        self.cause = machine.reset_cause()
        mac = machine.unique_id()
        self.part_failed = False
        nvs = self._part("nvs", _nvs)
        self.boots = board.BootRecord(nvs, self.cause)
        self.safe_mode = self.boots.unclean >= _SAFE_AFTER
        self.log("I", "boot", self._boot_text())
        self._part("flash", lambda: flashfile.make_folder(_STATE))
        self.config = self._part("config", lambda: _load_config(node_text(mac))) or Config()
        for error in self.config.errors:
            self.log("E", "config", "last_good=%d err=%s" % (self.config.last_good, error.replace(" ", "_")))
        self.identity = self._part("identity", lambda: self._identity(nvs, mac))
        self.clock = Clock(
            ticks_ms, ticks_diff, board.set_rtc, _STATE + "/clock", version.BUILD_S, self.config.provisioned_s
        )
        self._make_alarm()
        self._make_sensing()
        self.wlan = None
        self.state_failed = False
        self.link_due_ms = 0
        if self.safe_mode:
            self.link_due_ms = min(_SAFE_LINK_MS << min(self.boots.unclean - _SAFE_AFTER, 8), _SAFE_LINK_MOST_MS)

    def _boot_text(self) -> str:
        cause = kinds.name(kinds.RESETS, self.cause)
        return "cause=%s fw=%s boots=%d safe=%d" % (cause, version.TEXT, self.boots.count, self.safe_mode)

    def _part(self, tag: str, make):
        """make(); None if that fails: a node without this part still senses and sounds, and says FAULT_STORAGE."""
        try:
            return make()
        except Exception as e:
            self.part_failed = True
            self.log("E", tag, "state=failed err=%s" % repr(e).replace(" ", "_"))
            return None

    def _identity(self, nvs, mac: bytes):
        try:
            return counters.load(nvs, mac)
        except counters.Unprovisioned as e:
            self.log("E", "unprovisioned", "missing=%s" % e.missing)
            return None

    def _make_alarm(self) -> None:
        """Alarm state, siren, journal; an alarm of before the restart sounds again from here."""
        pins = self.config.pins
        self.siren = Siren(board.output(pins["siren"]), board.output(pins["lamp"]), ticks_diff)
        self.alarms = AlarmState((kinds.HEAT, kinds.SMOKE), ticks_diff)
        saved = flashfile.read(_ALARM_FILE)
        self.alarms.resume(saved, ())
        if self.alarms.active:
            self.siren.alarm()
        self.journal = None
        if self.identity is not None:
            self.journal = self._part("journal", self._make_journal)
        told = self.alarms.resume(saved, self.journal.events() if self.journal else ())
        self.response = Response(
            self.alarms, self.siren, self.identity, self.journal, self.save_state, ticks_ms, self.log
        )
        self.faults = Faults(told, self.response.fault, self.save_state)
        self.response.faults = self.faults
        if self.alarms.active:
            self.siren.alarm()
            phenomena = kinds.phenomena_text(self.alarms.active)
            self.log("W", "resume", "event=%d phen=%s" % (self.alarms.newest_event, phenomena))

    def _make_journal(self):
        identity = self.identity
        return Journal(_JOURNAL, identity.epoch, identity.next_event_number, self.clock.uptime_ms, self.log)

    def _make_sensing(self) -> None:
        """Sensors, detectors, watch."""
        limits, pins = self.config.detector, self.config.pins
        heat = Detector(kinds.HEAT, kinds.CRIT_HEAT_FIXED, limits["heat_alarm_dk"], limits["heat_clear_dk"], ticks_diff)
        smoke = Detector(
            kinds.SMOKE, kinds.CRIT_SMOKE_FIXED, limits["smoke_alarm_e4"], limits["smoke_clear_e4"], ticks_diff
        )
        probes = []
        for sensor, detector, fault in (
            (board.thermometer(pins), heat, kinds.FAULT_HEAT_SENSOR),
            (board.smoke_head(pins, self.config.smoke_head), smoke, kinds.FAULT_SMOKE_SENSOR),
        ):
            probes.append(Probe(sensor, detector, fault, ticks_diff, self.faults.has(fault)))
        self.watch = Watch(probes, self.alarms, self.response, self.log)
        self.response.readings = self.readings

    # -- what the parts ask of the node

    def save_state(self) -> None:
        """Standing alarms and faults to flash."""
        try:
            flashfile.write(_ALARM_FILE, self.alarms.pack(self.faults.bits))
            self.state_failed = False
        except Exception as e:
            self.state_failed = True
            self.log("E", "flash", "err=%r" % e)

    def readings(self):
        """Present values, as keyword arguments of payload.Event."""
        values = self.watch.readings()
        values["rssi_dbm"] = board.rssi(self.wlan) if self.wlan is not None else payload.RSSI_UNKNOWN
        return values

    def centre_knows(self) -> bool:
        """Every alarm has its receipt."""
        return self.journal is not None and not self.journal.holds_alarm()

    def reset(self) -> bool:
        """The command: end alarms whose cause is over."""
        return self.response.reset(self.watch.end_hold, self._is_high)

    def _is_high(self, bit: int) -> bool:
        for probe in self.watch.probes:
            if probe.detector.phenomenon == bit and not probe.faulty and not probe.detector.below:
                return True
        return False

    def status(self) -> payload.Heartbeat:
        """The heartbeat of now."""
        active = self.alarms.active
        silenced = self.alarms.silenced(ticks_ms())
        echo_ms, echo_age_ms = self.clock.echo()
        return payload.Heartbeat(
            uptime_s=self.clock.uptime_ms() // 1000,
            flags=health.flags(active != 0, silenced, self.safe_mode, active != 0 and self.centre_knows()),
            active=active,
            active_event=self.alarms.newest_event,
            heap_free_kb=gc.mem_free() // 1024,
            idf_free_kb=health.idf_free_kb(),
            echo_server_ms=echo_ms,
            echo_age_ms=echo_age_ms,
            journal_depth=self.journal.depth if self.journal else 0,
            boot_count=self.boots.count,
            reset_cause=self.cause,
            task_restarts=self.supervisor.restarts,
            faults=self.faults.bits | (0 if self.identity else 1 << (kinds.FAULT_UNPROVISIONED - 1)),
            fw=version.MAJOR << 8 | version.MINOR,
            **self.readings(),
        )

    # -- tasks

    async def run(self) -> None:
        """Start all tasks and supervise them for ever."""
        watchdog = machine.WDT(timeout=board.WATCHDOG_MS)
        self.supervisor = Supervisor(watchdog.feed, self.log, ticks_ms, ticks_diff, self._task_failed)
        start = self.supervisor.start
        start("watch", lambda beat: self.watch.run(beat, ticks_ms, ticks_add, ticks_diff), 5_000, essential=True)
        start("panel", self._panel, 10_000)
        start("upkeep", self._upkeep, 60_000)
        await self.supervisor.run()

    def _start_link_when_due(self) -> None:
        if self.link_due_ms is None or self.clock.uptime_ms() < self.link_due_ms:
            return
        self.link_due_ms = None
        try:
            self._start_link()
        except Exception as e:  # without its link a node still senses and sounds
            self.log("E", "link", "state=off err=%s" % repr(e).replace(" ", "_"))

    def _start_link(self) -> None:
        if self.journal is None or self.config.broker is None:
            self.log("E", "link", "state=off why=%s" % ("config" if self.journal else "unprovisioned"))
            return
        from bongsu_node.centre import Centre

        centre = Centre(self)
        self.wlan = centre.wlan
        self.response.wake = centre.uplink.wake
        centre.start(self.supervisor.start)

    async def _panel(self, beat) -> None:
        """Siren, lamp and button."""
        pressed = board.button(self.config.pins["button"])
        button = Button(ticks_diff)
        while True:
            now = ticks_ms()
            press = 0 if self.safe_mode else button.step(now, pressed())
            if press == SHORT:
                self.response.test(kinds.CRIT_BUTTON)
            elif press == LONG:
                self.response.silence()
            alarm = self.alarms.active != 0
            self.siren.show(now, alarm, self.alarms.silenced(now), alarm and self.centre_knows())
            beat()
            await asyncio.sleep_ms(_PANEL_MS)

    async def _upkeep(self, beat) -> None:
        """What needs a look every ten seconds."""
        while True:
            self._start_link_when_due()
            self._look_after()
            beat()
            await asyncio.sleep(_UPKEEP_S)

    def _look_after(self) -> None:
        up_ms = self.clock.uptime_ms()
        self.clock.save()
        if self.identity and self.identity.failed:
            self.identity.reserve()
        self.response.look_after()
        if self.state_failed:
            self.save_state()
        if up_ms >= _LASTING_MS:
            self.boots.lasted()
        self.faults.set(kinds.FAULT_STORAGE, self._storage_failed())
        self.faults.set(kinds.FAULT_SAFE_MODE, self.safe_mode)
        if self.supervisor.since_failure_ms >= _LASTING_MS or not self.supervisor.restarts:
            self.faults.set(kinds.FAULT_TASK, False)
        if not self.watch.rising:
            gc.collect()

    def _storage_failed(self) -> bool:
        broken, self.response.broken = self.response.broken, False
        kept = self.journal is None or not (self.journal.failed or self.journal.damaged)
        promised = self.identity is None or not self.identity.failed
        return broken or self.part_failed or self.state_failed or self.clock.failed or not kept or not promised

    def _task_failed(self, name: str) -> None:
        self.faults.set(kinds.FAULT_TASK, True)


def _load_config(node: str):
    """The settings. What checks them is needed once: its 5 KB of heap are given back."""
    import bongsu_node
    from bongsu_node import config

    settings = config.load("/node.json", _STATE + "/node.json", node)
    del sys.modules["bongsu_node.config"]
    del bongsu_node.config
    return settings


def _nvs():
    import esp32

    return esp32.NVS(counters.NAMESPACE)


def main() -> None:
    """Build the node and run it; returns never."""
    asyncio.run(Node().run())
