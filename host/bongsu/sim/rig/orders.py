"""What a rig is told while it runs: one JSON object a line, each answered by one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bongsu.errors import BongsuError
from bongsu.sim import scenario_csv
from bongsu.sim.rig.rig import Rig

Answer = dict[str, Any] | None


class Orders:
    """Orders to `rig`, by name; an object with several is carried out in its own order."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._known: dict[str, Callable[[Any], Answer]] = {
            "air": self._air,
            "cable": self._cable,
            "cut_after_writes": self._cut,
            "fault": self._fault,
            "flashed": self._flashed,
            "networks": self._networks,
            "power": self._power,
            "press": self._press,
            "reset": self._reset,
            "scenario": self._scenario,
            "sensor": self._sensor,
            "state": self._state,
            "wifi": self._wifi,
        }

    def obey(self, line: str) -> str:
        """Carry out a line of JSON; the answer, a line too: {"ok": true, ...} or {"error": why}."""
        try:
            orders = json.loads(line)
            answer: dict[str, Any] = {"ok": True}
            for name, value in orders.items():
                answer.update(self._one(name, value) or {})
        except (BongsuError, ValueError, TypeError, AttributeError, KeyError) as err:
            return json.dumps({"error": str(err) or repr(err)})
        return json.dumps(answer)

    def _one(self, name: str, value: Any) -> Answer:
        if name not in self._known:
            raise BongsuError(f"no order {name!r}; there are {', '.join(self._known)}")
        return self._known[name](value)

    def _air(self, values: dict[str, float]) -> Answer:
        self._rig.board.set_values(**values)
        return None

    def _cable(self, state: str) -> Answer:
        self._rig.cable(_choice(state, "pull", "plug") == "plug")
        return None

    def _cut(self, writes: int) -> Answer:
        self._rig.board.cut_power_after_writes(writes)
        return None

    def _fault(self, faults: dict[str, Any]) -> Answer:
        self._rig.set_faults(faults)
        return None

    def _flashed(self, _: Any) -> Answer:
        self._rig.flashed()
        return None

    def _networks(self, networks: list[list[Any]]) -> Answer:
        self._rig.board.set_networks([(ssid, psk, rssi) for ssid, psk, rssi in networks])
        return None

    def _power(self, state: str) -> Answer:
        self._rig.power(_choice(state, "on", "off") == "on")
        return None

    def _press(self, order: list[Any]) -> Answer:
        pin, hold_ms = order
        self._rig.board.press_button(hold_ms, pin)
        return None

    def _reset(self, mode: str) -> Answer:
        self._rig.reset(download=_choice(mode, "run", "download") == "download")
        return None

    def _scenario(self, path: str) -> Answer:
        self._rig.board.set_scenario(scenario_csv.read_track(Path(path)))
        return None

    def _sensor(self, faults: dict[str, str | None]) -> Answer:
        for sensor, fault in faults.items():
            self._rig.board.set_sensor_fault(sensor, fault)
        return None

    def _state(self, _: Any) -> Answer:
        return {
            "mode": self._rig.mode,
            "boots": self._rig.board.reset_causes,
            "crash": self._rig.board.crash,
            "pins": {str(pin): level for pin, level in self._rig.board.pins().items()},
        }

    def _wifi(self, state: str) -> Answer:
        if _choice(state, "up", "down", "stuck") == "stuck":
            self._rig.board.set_wifi_stuck()
        else:
            self._rig.board.set_wifi(state == "up")
        return None


def _choice(value: Any, *choices: str) -> str:
    if value not in choices:
        raise BongsuError(f"{value!r} is none of {', '.join(choices)}")
    return str(value)
