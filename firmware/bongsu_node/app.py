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
from bongsu_node.sensing.baseline import KeptBaseline
from bongsu_node.sensing.channel import SmokeChannel
from bongsu_node.sensing.watch import Watch
from bongsu_node.settings import Config
from bongsu_node.supervisor import Supervisor
from bongsu_node.upkeep import health
from bongsu_node.upkeep.button import LONG, SHORT, Button
from bongsu_node.upkeep.faults import Faults
from bongsu_wire import kinds, payload

STATE = "/state"
ALARM_FILE = STATE + "/alarm"
# Restarts in a row, not by power, that did not last _LASTING_MS: then only what senses, sounds and reports is started.
SAFE_AFTER = 4
_LASTING_MS = 600_000
# In safe mode the link starts late, and later with each restart: should it be what brings the node down, the sensing
# stands meanwhile.
_SAFE_LINK_MS = 20_000
_SAFE_LINK_MOST_MS = 1_800_000
_LINK_AGAIN_MS = 60_000
_PANEL_MS = 50
_UPKEEP_S = 10
# Modules that are needed at the start only, or now and then.
_FORGOTTEN = "start chip config hardware provisioned rotation sensing.entry sensing.fit sensing.limits sensing.tuning"


class Node:
    """Everything that one node consists of."""

    # Made by start.py; identity and journal are None if they cannot be had.
    cause: int
    boots: board.BootRecord
    safe_mode: bool
    part_failed: bool
    config: Config
    identity: counters.Identity | None
    clock: Clock
    siren: Siren
    alarms: AlarmState
    journal: Journal | None
    response: Response
    faults: Faults
    baseline: KeptBaseline
    watch: Watch
    smoke: SmokeChannel | None  # the one whose baseline is kept

    def __init__(self) -> None:
        self.log = log.make(ticks_ms)
        _start(self)
        self.wlan = None
        self.link_idle = None  # asks whether the link has nothing to send
        self.state_failed = False
        gc.collect()
        self.log("I", "heap", "free=%d used=%d" % (gc.mem_free(), gc.mem_alloc()))
        self.link_due_ms = 0
        if self.safe_mode:
            self.link_due_ms = min(_SAFE_LINK_MS << min(self.boots.unclean - SAFE_AFTER, 8), _SAFE_LINK_MOST_MS)

    # -- what the parts ask of the node

    def save_state(self) -> None:
        """Standing alarms and faults to flash."""
        try:
            flashfile.write(ALARM_FILE, self.alarms.pack(self.faults.bits))
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
        judge = self.watch.judge
        return self.response.reset(judge.end_hold, judge.is_high)

    def set_profile(self, args: bytes) -> bool:
        """The command: decide by another profile from now on; False if it is not one."""
        from bongsu_node.sensing import tuning

        try:
            if not tuning.set_profile(self.config, STATE, args, self.log):
                return False
        finally:
            _forget()
        self.watch.judge.apply()
        return True

    def rotate_key(self, args: bytes) -> bool:
        """The command: take this key, to go over to it at the next quiet moment; False if it is not one."""
        from bongsu_node import rotation

        try:
            taken = rotation.take(self.identity.nvs, args)
        finally:
            _forget()
        self.identity.next_waits = self.identity.next_waits or taken
        return taken

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
        up_ms = self.clock.uptime_ms()
        if self.link_due_ms is None or up_ms < self.link_due_ms:
            return
        self.link_due_ms = None
        gc.collect()  # an ESP32 gives Wi-Fi what this heap does not hold
        try:
            self._start_link()
        except Exception as e:  # without its link a node still senses and sounds; there may be memory for it later
            self.link_due_ms = up_ms + _LINK_AGAIN_MS
            self.log("E", "link", "state=off err=%s" % repr(e).replace(" ", "_"))

    def _start_link(self) -> None:
        if self.journal is None or self.config.broker is None:
            self.log("E", "link", "state=off why=%s" % ("config" if self.journal else "unprovisioned"))
            return
        from bongsu_node.centre import Centre

        centre = Centre(self)
        self.wlan = centre.wlan
        self.response.wake = centre.uplink.wake
        self.response.remember = lambda number: centre.uplink.keep_minute(
            number, self.watch.history.parts(number, self.watch.judge)
        )
        self.watch.on_reading = centre.uplink.send_reading
        self.link_idle = centre.mqtt.idle
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
        if self.smoke is not None:
            self.faults.set(kinds.FAULT_DRIFT, self.smoke.baseline.at_limit)
            self.baseline.keep(self.smoke.baseline.level_e4)
        if self.supervisor.since_failure_ms >= _LASTING_MS or not self.supervisor.restarts:
            self.faults.set(kinds.FAULT_TASK, False)
        if self.identity and self.identity.next_waits:
            self._change_key()
        if not self.watch.judge.rising:
            gc.collect()

    def _change_key(self) -> None:
        """Go over to the key that waits, by a restart: when no alarm stands or may come up, and nothing waits for its
        receipt, for it would get another number under the new key.
        """
        if not self.watch.judge.quiet or self.alarms.active or self.journal is None or self.journal.depth:
            return
        if self.link_idle is not None and not self.link_idle():
            return
        from bongsu_node import rotation

        self.identity.next_waits = False  # if NVS refuses it now, it is tried again after the next restart
        try:
            rotation.move(self.identity.nvs)
        except Exception as e:
            self.log("E", "key", "state=refused err=%s" % repr(e).replace(" ", "_"))
            self.identity.reserve()  # the old key's numbers are in force, whatever NVS took
            _forget()
            return
        self.log("I", "key", "state=changed")
        self.boots.lasted()  # this restart is part of no crash loop
        machine.reset()

    def _storage_failed(self) -> bool:
        broken, self.response.broken = self.response.broken, False
        kept = self.journal is None or not (self.journal.failed or self.journal.damaged)
        promised = self.identity is None or not self.identity.failed
        flash = self.part_failed or self.state_failed or self.baseline.failed or self.clock.failed
        return broken or flash or not kept or not promised

    def _task_failed(self, name: str) -> None:
        self.faults.set(kinds.FAULT_TASK, True)


def _start(node: Node) -> None:
    """Make the parts of the node. What does it, and checks the settings, is needed once: its heap is given back."""
    from bongsu_node import start

    start.make(node)
    _forget()


def _forget() -> None:
    for short in _FORGOTTEN.split():
        name = "bongsu_node." + short
        if name in sys.modules:
            del sys.modules[name]
            package, module = name.rsplit(".", 1)
            delattr(sys.modules[package], module)


def main() -> None:
    """Build the node and run it; returns never."""
    asyncio.run(Node().run())
