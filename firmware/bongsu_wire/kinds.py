"""Code tables of the wire format. A number, once released, never changes its meaning.

Everything here is data: the frame kinds (who carries what), the event kinds (DESIGN section 1, "signal kinds"),
phenomena as bits, criteria (which rule fired), fault codes, command codes and answers; an unknown code is for the
caller to refuse. Names stand in the order of their codes from 0 ("-": a code without one), in one text, since
dictionaries of them would take 2 KB of a node's heap for its few log lines: a node calls name(), the host has the
..._NAMES.
"""


def name(names: str, code: int) -> str:
    """The name of `code` in one of the texts below; the number as text if it has none."""
    words = names.split()
    word = words[code] if 0 <= code < len(words) else "-"
    return str(code) if word == "-" else word


def _table(names: str) -> dict[int, str]:
    return {code: word for code, word in enumerate(names.split()) if word != "-"}


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

EVENTS = "- alarm prealarm restore fault fault_clear tamper test"
EVENT_NAMES = _table(EVENTS)

# Phenomena, bits of one byte.
HEAT = 0x01
SMOKE = 0x02
CO = 0x04
GAS = 0x08
AIR = 0x10

PHENOMENA = "heat smoke co gas air"
PHENOMENON_NAMES = {1 << bit: word for bit, word in enumerate(PHENOMENA.split())}
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
CRIT_SMOKE_LONG = 13  # less smoke than the full limit, for longer
CRIT_LAST = CRIT_SMOKE_LONG

CRITERIA = (
    "none heat_fixed smoke_fixed heat_rise smoke_rise fusion co gas button detector_head small_change "
    "heat_alone smoke_alone smoke_long"
)
CRITERION_NAMES = _table(CRITERIA)

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

FAULTS = (
    "- heat_sensor smoke_sensor drift_limit battery_low tamper clock certificate storage task_crash "
    "unprovisioned safe_mode co_sensor gas_sensor humidity_sensor air_sensor"
)
FAULT_NAMES = _table(FAULTS)

# Heartbeat flags, bits of one byte.
FLAG_SIREN = 0x01
FLAG_SILENCED = 0x02
FLAG_SAFE_MODE = 0x04
FLAG_CENTRE_KNOWS = 0x08
FLAG_ON_BATTERY = 0x10

# Reset causes as the heartbeat reports them.
RESETS = "unknown power_on hard watchdog deep_sleep soft"
RESET_NAMES = _table(RESETS)

# Commands (downlink) and the node's answers.
CMD_TEST = 1
CMD_RESET = 2
CMD_SILENCE = 3
CMD_IDENTIFY = 4
CMD_SET_PARAMETER = 5
CMD_EVACUATE = 6
CMD_ROTATE_KEY = 7
CMD_UPDATE = 8

COMMANDS = "- test reset silence identify set_parameter evacuate rotate_key update"
COMMAND_NAMES = _table(COMMANDS)

ANSWER_DONE = 0
ANSWER_UNSUPPORTED = 1
ANSWER_REFUSED = 2
ANSWER_FAILED = 3

ANSWERS = "done unsupported refused failed"
ANSWER_NAMES = _table(ANSWERS)


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

QUANTITIES = (
    "- temp_dk smoke_e4 humidity_half co_dppm gas_index pm25_dug pm10_dug co2_ppm voc_index pressure_dhpa "
    "gas_hohm head pm1_dug"
)
QUANTITY_NAMES = _table(QUANTITIES)


def phenomena_text(bits: int) -> str:
    """Names of the phenomena in `bits`, joined by "+" in bit order; "none" for 0. Unknown bits are left out."""
    names = [word for bit, word in enumerate(PHENOMENA.split()) if bits >> bit & 1]
    return "+".join(names) if names else "none"
