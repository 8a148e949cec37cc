"""A sensor's entry in node.json: its fields, checked before a driver is made of them. All raise ValueError, the field
first.
"""

from bongsu_node.sensing.stuck import LIMIT_MIN

_MOST_PIN = 48  # of any ESP32; board data know better
_MOST_STUCK_H = 24 * 365


def whole(entry, field: str, low: int, high: int, default=None) -> int:
    """The whole number `field` of an entry (a dict); `default` if it is not there."""
    value = entry.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError("%s: a whole number from %d to %d is needed" % (field, low, high))
    return value


def pin(entry, field: str = "pin") -> int:
    """The number of a pin."""
    return whole(entry, field, 0, _MOST_PIN)


def stuck_min(entry) -> int:
    """Minutes after which a raw value that stands still is a fault; `stuck_h` 0 (a place as steady as a cold store):
    never.
    """
    return 60 * whole(entry, "stuck_h", 0, _MOST_STUCK_H, LIMIT_MIN // 60)


def choice(entry, field: str, names, default: str) -> str:
    """One of `names`; `default` if the field is not there."""
    value = entry.get(field, default)
    if value not in names:
        raise ValueError("%s: one of %s is needed" % (field, ", ".join(names)))
    return value
