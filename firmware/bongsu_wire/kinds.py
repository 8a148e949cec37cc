"""Code tables of the wire format. A number, once released, never changes its meaning.

Everything here is data: the frame kinds (who carries what), the event kinds (DESIGN section 1, "signal kinds"),
phenomena as bits, criteria (which rule fired), fault codes, command codes and answers. Names are looked up by code with
``NAMES.get(code)``; an unknown code is for the caller to refuse.
"""

# Frame kinds, 5 bits. Uplink and downlink kinds are disjoint; the direction bit in the header says the same once more.
UP_EVENT = 1
UP_HEARTBEAT = 2
UP_ANSWER = 3
UP_READING = 4
UP_HISTORY = 5
DOWN_RECEIPT = 16
DOWN_COMMAND = 17

# Event kinds, 4 bits.
ALARM = 1
PREALARM = 2
RESTORE = 3
FAULT = 4
FAULT_CLEAR = 5
TAMPER = 6
TEST = 7

EVENT_NAMES = {
    ALARM: "alarm",
    PREALARM: "prealarm",
    RESTORE: "restore",
    FAULT: "fault",
    FAULT_CLEAR: "fault_clear",
    TAMPER: "tamper",
    TEST: "test",
}

# Phenomena, bits of one byte.
HEAT = 0x01
SMOKE = 0x02
CO = 0x04
GAS = 0x08
AIR = 0x10

PHENOMENON_NAMES = {HEAT: "heat", SMOKE: "smoke", CO: "co", GAS: "gas", AIR: "air"}
PHENOMENA_KNOWN = HEAT | SMOKE | CO | GAS | AIR

# Criteria: which rule made the decision. 0 = none (faults, tests).
CRIT_NONE = 0
CRIT_HEAT_FIXED = 1
CRIT_SMOKE_FIXED = 2
CRIT_HEAT_RISE = 3
CRIT_SMOKE_RISE = 4
CRIT_FUSION = 5
CRIT_CO = 6
CRIT_GAS = 7
CRIT_BUTTON = 8
CRIT_HEAD = 9  # a certified detector head says so by its relay
CRIT_SMALL = 10  # one small change held: of prealarms
CRIT_HEAT_ALONE = 11  # degraded rules: the sensor that would have confirmed it is dead
CRIT_SMOKE_ALONE = 12

CRITERION_NAMES = {
    CRIT_NONE: "none",
    CRIT_HEAT_FIXED: "heat_fixed",
    CRIT_SMOKE_FIXED: "smoke_fixed",
    CRIT_HEAT_RISE: "heat_rise",
    CRIT_SMOKE_RISE: "smoke_rise",
    CRIT_FUSION: "fusion",
    CRIT_CO: "co",
    CRIT_GAS: "gas",
    CRIT_BUTTON: "button",
    CRIT_HEAD: "detector_head",
    CRIT_SMALL: "small_change",
    CRIT_HEAT_ALONE: "heat_alone",
    CRIT_SMOKE_ALONE: "smoke_alone",
}

# Fault codes; a fault's bit in the heartbeat is 1 << (code - 1).
FAULT_HEAT_SENSOR = 1
FAULT_SMOKE_SENSOR = 2
FAULT_DRIFT = 3
FAULT_BATTERY = 4
FAULT_TAMPER = 5
FAULT_CLOCK = 6
FAULT_CERTIFICATE = 7
FAULT_STORAGE = 8
FAULT_TASK = 9
FAULT_UNPROVISIONED = 10
FAULT_SAFE_MODE = 11
FAULT_CO_SENSOR = 12
FAULT_GAS_SENSOR = 13
FAULT_HUMIDITY_SENSOR = 14
FAULT_AIR_SENSOR = 15

FAULT_NAMES = {
    FAULT_HEAT_SENSOR: "heat_sensor",
    FAULT_SMOKE_SENSOR: "smoke_sensor",
    FAULT_DRIFT: "drift_limit",
    FAULT_BATTERY: "battery_low",
    FAULT_TAMPER: "tamper",
    FAULT_CLOCK: "clock",
    FAULT_CERTIFICATE: "certificate",
    FAULT_STORAGE: "storage",
    FAULT_TASK: "task_crash",
    FAULT_UNPROVISIONED: "unprovisioned",
    FAULT_SAFE_MODE: "safe_mode",
    FAULT_CO_SENSOR: "co_sensor",
    FAULT_GAS_SENSOR: "gas_sensor",
    FAULT_HUMIDITY_SENSOR: "humidity_sensor",
    FAULT_AIR_SENSOR: "air_sensor",
}

# Heartbeat flags, bits of one byte.
FLAG_SIREN = 0x01
FLAG_SILENCED = 0x02
FLAG_SAFE_MODE = 0x04
FLAG_CENTRE_KNOWS = 0x08
FLAG_ON_BATTERY = 0x10

# Reset causes as the heartbeat reports them.
RESET_NAMES = {0: "unknown", 1: "power_on", 2: "hard", 3: "watchdog", 4: "deep_sleep", 5: "soft"}

# Commands (downlink) and the node's answers.
CMD_TEST = 1
CMD_RESET = 2
CMD_SILENCE = 3
CMD_IDENTIFY = 4
CMD_SET_PARAMETER = 5
CMD_EVACUATE = 6
CMD_ROTATE_KEY = 7
CMD_UPDATE = 8

COMMAND_NAMES = {
    CMD_TEST: "test",
    CMD_RESET: "reset",
    CMD_SILENCE: "silence",
    CMD_IDENTIFY: "identify",
    CMD_SET_PARAMETER: "set_parameter",
    CMD_EVACUATE: "evacuate",
    CMD_ROTATE_KEY: "rotate_key",
    CMD_UPDATE: "update",
}

ANSWER_DONE = 0
ANSWER_UNSUPPORTED = 1
ANSWER_REFUSED = 2
ANSWER_FAILED = 3

ANSWER_NAMES = {
    ANSWER_DONE: "done",
    ANSWER_UNSUPPORTED: "unsupported",
    ANSWER_REFUSED: "refused",
    ANSWER_FAILED: "failed",
}


# Quantities that sensors give, each a whole number of 16 bits (0xFFFF = none): in readings and in an alarm's history.
Q_TEMP_DK = 1  # 0.1 K
Q_SMOKE_E4 = 2  # optical density, 1e-4/m, base 10
Q_HUMIDITY_HALF = 3  # 0.5 % relative humidity
Q_CO_DPPM = 4  # carbon monoxide, 0.1 ppm
Q_GAS_INDEX = 5  # 100 x resistance in clean air / resistance now: 100 = clean air
Q_PM25_DUG = 6  # 0.1 ug/m3
Q_PM10_DUG = 7
Q_CO2_PPM = 8
Q_VOC_INDEX = 9  # 1..500, 100 = the usual air of this place
Q_PRESSURE_DHPA = 10  # 0.1 hPa
Q_GAS_HOHM = 11  # raw resistance of a gas sensor, 100 ohm
Q_HEAD = 12  # a detector head's relay: 0 normal, 1 alarm
Q_PM1_DUG = 13

QUANTITY_NAMES = {
    Q_TEMP_DK: "temp_dk",
    Q_SMOKE_E4: "smoke_e4",
    Q_HUMIDITY_HALF: "humidity_half",
    Q_CO_DPPM: "co_dppm",
    Q_GAS_INDEX: "gas_index",
    Q_PM25_DUG: "pm25_dug",
    Q_PM10_DUG: "pm10_dug",
    Q_CO2_PPM: "co2_ppm",
    Q_VOC_INDEX: "voc_index",
    Q_PRESSURE_DHPA: "pressure_dhpa",
    Q_GAS_HOHM: "gas_hohm",
    Q_HEAD: "head",
    Q_PM1_DUG: "pm1_dug",
}


def phenomena_text(bits: int) -> str:
    """Names of the phenomena in `bits`, joined by "+" in bit order; "none" for 0. Unknown bits are left out."""
    names = [name for bit, name in sorted(PHENOMENON_NAMES.items()) if bits & bit]
    return "+".join(names) if names else "none"
