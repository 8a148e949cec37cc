"""The node's settings, as config.py has checked them; apart from it, so that the checks can leave the heap again."""

from array import array

DEFAULT_PINS = {"i2c_sda": 21, "i2c_scl": 22, "smoke_adc": 34, "siren": 25, "lamp": 26, "button": 27}
# The heads of the boards that this firmware knows: 0.4 V in clean air, 1 mV per 1e-4/m.
DEFAULT_SMOKE_HEAD = {"mv_clean": 400, "uv_per_e4": 1000}

DEFAULT_PROFILE = "market_dry"


def default_sensors(pins, smoke_head):
    """What a board carries when its settings name no sensors: an LM75 and an analogue smoke head."""
    head = {"type": "smoke_head", "pin": pins["smoke_adc"]}
    head.update(smoke_head)
    return [{"type": "lm75"}, head]


class Config:
    """The node's settings. broker, wifi: for link/, None and [] if the link must stay off; the others always usable.

    profile: name of the detection profile; limits: its numbers in the order of limits.NAMES; sensors: entries of what
    is fitted (sensing/fit.py); reading_s: interval of the readings, 0: none.
    errors: "field: problem" of the document in /node.json; last_good: the one before it is used instead.
    """

    def __init__(self) -> None:
        from bongsu_node.sensing import limits  # forgotten after the start

        self.node = ""
        self.site = ""
        self.unit = ""
        self.wifi = []
        self.broker = None
        self.pins = dict(DEFAULT_PINS)
        self.profile = DEFAULT_PROFILE
        self.limits = array("H", limits.DEFAULTS)
        self.sensors = default_sensors(DEFAULT_PINS, DEFAULT_SMOKE_HEAD)
        self.reading_s = 0
        self.heartbeat_s = 45
        self.provisioned_s = 0
        self.errors = []
        self.last_good = False
