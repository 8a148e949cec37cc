"""What happens once, at the start of a node: its parts are made, in the order of the data path. The app forgets this
module afterwards, 2 KB of heap, so no part may keep anything of it.

A part that cannot be made is left out and said: without flash, NVS or settings a node still senses and sounds.
"""

from time import ticks_diff, ticks_ms

import machine

from bongsu_node import board, chip, config, flashfile, hardware, provisioned, version
from bongsu_node.alarm.journal import Journal
from bongsu_node.alarm.response import Response
from bongsu_node.alarm.siren import Siren
from bongsu_node.alarm.state import AlarmState
from bongsu_node.app import ALARM_FILE, SAFE_AFTER, STATE, Node
from bongsu_node.clock import Clock
from bongsu_node.sensing import fit, tuning
from bongsu_node.sensing.baseline import KeptBaseline
from bongsu_node.sensing.watch import Watch
from bongsu_node.settings import Config
from bongsu_node.upkeep.faults import Faults
from bongsu_wire import kinds
from bongsu_wire.topics import node_text

_JOURNAL = "/journal"


def make(node: Node) -> None:
    """Make the parts of `node` up to its sensing; it has its log already."""
    node.cause = machine.reset_cause()
    mac = machine.unique_id()
    node.part_failed = False
    nvs = _part(node, "nvs", _nvs)
    node.boots = board.BootRecord(nvs, node.cause)
    node.safe_mode = node.boots.unclean >= SAFE_AFTER
    node.log("I", "boot", _boot_text(node))
    _part(node, "flash", lambda: flashfile.make_folder(STATE))
    node.config = _part(node, "config", lambda: _load_config(node_text(mac))) or Config()
    for error in node.config.errors:
        node.log("E", "config", "last_good=%d err=%s" % (node.config.last_good, error.replace(" ", "_")))
    node.log("I", "node", "role=%s chip=%s" % (node.config.role, chip.name()))
    node.identity = _part(node, "identity", lambda: _identity(node, nvs, mac))
    node.clock = Clock(
        ticks_ms, ticks_diff, board.set_rtc, STATE + "/clock", version.BUILD_S, node.config.provisioned_s
    )
    _make_alarm(node)
    _make_sensing(node)


def _boot_text(node: Node) -> str:
    cause = kinds.name(kinds.RESETS, node.cause)
    return "cause=%s fw=%s boots=%d safe=%d" % (cause, version.TEXT, node.boots.count, node.safe_mode)


def _part(node: Node, tag: str, make_it):
    """make_it(); None if that fails: a node without this part still senses and sounds, and says FAULT_STORAGE."""
    try:
        return make_it()
    except Exception as e:
        node.part_failed = True
        node.log("E", tag, "state=failed err=%s" % repr(e).replace(" ", "_"))
        return None


def _nvs():
    import esp32

    return esp32.NVS(provisioned.NAMESPACE)


def _load_config(text: str) -> Config:
    return config.load("/node.json", STATE + "/node.json", text)


def _identity(node: Node, nvs, mac: bytes):
    try:
        return provisioned.load(nvs, mac)
    except provisioned.Unprovisioned as e:
        node.log("E", "unprovisioned", "missing=%s" % e.missing)
        return None


def _make_alarm(node: Node) -> None:
    """Alarm state, siren, journal; an alarm of before the restart sounds again from here."""
    pins = node.config.pins
    node.siren = Siren(board.output(pins["siren"]), board.output(pins["lamp"]), ticks_diff)
    node.alarms = AlarmState(fit.phenomena(node.config.sensors), ticks_diff)
    saved = flashfile.read(ALARM_FILE)
    node.alarms.resume(saved, ())
    if node.alarms.active:
        node.siren.alarm()
    node.journal = None
    if node.identity is not None:
        node.journal = _part(node, "journal", lambda: _make_journal(node))
    told = node.alarms.resume(saved, node.journal.events() if node.journal else ())
    node.response = Response(node.alarms, node.siren, node.identity, node.journal, node.save_state, ticks_ms, node.log)
    node.faults = Faults(told, node.response.fault, node.save_state)
    node.response.faults = node.faults
    if node.alarms.active:
        node.siren.alarm()
        phenomena = kinds.phenomena_text(node.alarms.active)
        node.log("W", "resume", "event=%d phen=%s" % (node.alarms.newest_event, phenomena))


def _make_sensing(node: Node) -> None:
    """Sensors, channels, judge, watch."""
    c = node.config
    tuning.resume(c, STATE, node.log)
    node.baseline = KeptBaseline(STATE + "/baseline", node.log)
    chip = hardware.Hardware(c.pins)
    fitted = fit.Outfit(
        [(entry, fit.sensor(entry, chip)) for entry in c.sensors],
        c.limits,
        ticks_diff,
        interval_s=c.reading_s,
        start_e4=node.baseline.e4,
        told=node.faults.has,
    )
    node.smoke = fitted.smoke
    node.watch = Watch(fitted.probes, fitted.judge, node.alarms, node.response, fitted.history, fitted.means, node.log)
    node.response.readings = node.readings
    c.sensors = c.errors = c.role = None  # needed once


def _make_journal(node: Node) -> Journal:
    identity = node.identity
    return Journal(_JOURNAL, identity.epoch, identity.next_event_number, node.clock.uptime_ms, node.log)
