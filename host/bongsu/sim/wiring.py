"""What hangs on a virtual board's pins and is in the air around it when it is made, and how each of it may fail."""

from typing import Any

from bongsu.install.sensors import TYPES
from bongsu.sim.supervisor import POWER_ON

# What set_values may hold.
AIR = ("temp_c", "smoke_od", "rh_pct", "co_ppm", "gas_index", "pm25_ug", "co2_ppm", "pressure_hpa", "voc")
_FAULTS = {
    "i2c": ("nak", "bus", "bit_error", "stuck", "unplugged"),
    "adc": ("open", "short", "stuck", "unplugged"),
    "onewire": ("open", "short", "bit_error", "unplugged"),
    "uart": ("silent", "bit_error", "bus", "unplugged"),
}
# Free heap of the ESP-IDF on a plain ESP32 with Wi-Fi up and no TLS session: 135 KB at the start of a stock image
# (micropython pull request 12952), less a Python heap that has doubled (+48) and Wi-Fi (38, issue 8940).
_IDF_FREE_BYTES = 49_000
_BEACON_TIMEOUT_MS = 1000


def first_state(node_id: str, thermometer: str) -> dict[str, Any]:
    """The state shared with the shims (`_board.state`) of a board in quiet air."""
    return {
        "node": node_id,
        "cause": POWER_ON,
        "flash_writes": 0,
        "cut_after": 0,
        "flash_full": False,
        "rtc": [0, 0],
        "rtc_memory": "",
        "run_to_us": 0,
        "air": {},
        "faults": {},
        "thermometer": thermometer,
        "sensors": usual_sensors({}, {}),
        "pins": {},
        "wifi": "up",
        "wifi_active": False,
        "networks": [["*", None, -60]],
        "beacon_timeout_ms": _BEACON_TIMEOUT_MS,
        "idf_free": _IDF_FREE_BYTES,
    }


def usual_sensors(pins: dict[str, int], smoke_head: dict[str, int]) -> list[dict[str, Any]]:
    """What a board carries if its node.json names no sensors."""
    head = {"mv_clean": 400, "uv_per_e4": 1000, **smoke_head}
    return [{"type": "lm75"}, {"type": "smoke_head", "pin": pins.get("smoke_adc", 34), **head}]


def faults_of(kind: str) -> tuple[str, ...]:
    """The faults that a sensor of a type can have."""
    return (*_FAULTS[TYPES[kind].bus], *(("heater",) if kind in ("mq2", "mq7") else ()))
