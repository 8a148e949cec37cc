"""The node's settings, as config.py has checked them; apart from it, so that the checks can leave the heap again."""

DEFAULT_PINS = {"i2c_sda": 21, "i2c_scl": 22, "smoke_adc": 34, "siren": 25, "lamp": 26, "button": 27}
# 57 degC: inside the static response of class A1, 54-65 degC (EN 54-5); cleared 7 K below. Smoke: 0.06/m.
DEFAULT_DETECTOR = {"heat_alarm_dk": 3302, "heat_clear_dk": 3232, "smoke_alarm_e4": 600, "smoke_clear_e4": 400}
DEFAULT_SMOKE_HEAD = {"mv_clean": 400, "uv_per_e4": 1000}


class Config:
    """The node's settings. broker, wifi: for link/, None and [] if the link must stay off; the others always usable.

    errors: "field: problem" of the document in /node.json; last_good: the one before it is used instead.
    """

    def __init__(self) -> None:
        self.node = ""
        self.site = ""
        self.unit = ""
        self.wifi = []
        self.broker = None
        self.pins = dict(DEFAULT_PINS)
        self.detector = dict(DEFAULT_DETECTOR)
        self.smoke_head = dict(DEFAULT_SMOKE_HEAD)
        self.heartbeat_s = 45
        self.provisioned_s = 0
        self.errors = []
        self.last_good = False
