"""The node's settings, as config.py has checked them; apart from it, so that the checks can leave the heap again."""

from array import array


class Config:
    """The node's settings. broker, wifi: for link/, None and [] if the link must stay off; the others always usable.

    role: "node" or "gateway", as the log says it; pins: by function, -1: there is none;
    profile: name of the detection profile; limits: its numbers in the order of limits.NAMES; sensors: entries of what
    is fitted (sensing/fit.py); reading_s: interval of the readings, 0: none.
    errors: "field: problem" of the document in /node.json; last_good: the one before it is used instead.
    """

    node: str
    site: str
    unit: str
    role: str
    wifi: list
    broker: dict
    pins: dict
    profile: str
    limits: array
    sensors: list
    reading_s: int
    heartbeat_s: int
    provisioned_s: int
    errors: list
    last_good: bool

    def __init__(self) -> None:
        from bongsu_node import config  # forgotten after the start

        config.set_defaults(self)
