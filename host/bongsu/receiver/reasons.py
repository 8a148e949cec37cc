"""Why a receiver is not fit, and the faults that it finds in itself: in words, with what to do."""

from bongsu.receiver import backlog, certificate_watch, disk
from bongsu.receiver.state import ReasonState

BROKER_AWAY, STORE_FAILED, CANARY_LOST, CLOCK_STEPPED, CHORE_FAILED = (
    "broker_unreachable",
    "store_failed",
    "canary_lost",
    "clock_stepped",
    "chore_failed",
)

# Name -> (what is wrong, what to do).
WORDS: dict[str, tuple[str, str]] = {
    BROKER_AWAY: (
        "the receiver has no connection to its MQTT broker",
        "Look at its log (mqtt.refused); check that the broker runs: bongsu doctor",
    ),
    CANARY_LOST: (
        "messages that the receiver sends itself through the broker do not come back",
        "Look at the broker's log and its disk: one that could not write must be started anew, also when there is room "
        "again. The receiver begins a new session by itself, and starts its own broker anew.",
    ),
    STORE_FAILED: ("the database cannot be used", "Look at the disk and at the database: bongsu doctor"),
    backlog.WRITER_STUCK: (
        "the receiver's writer stands still",
        "Look at the disk and the database; systemd starts the receiver again if this lasts.",
    ),
    backlog.QUEUE_LONG: (
        "more reports come in than the receiver takes in",
        "Look for a flood (bongsu doctor: refused frames), and at the machine's load.",
    ),
    disk.DISK_LOW: ("little disk space is left", "Free some space, or shorten retention: bongsu retention"),
    disk.DISK_FULL: ("the disk is nearly full", "Free some space now: without it no alarm can be stored."),
    disk.DISK_MUTE: ("the disk does not answer", "Look at the mount and the kernel's log (dmesg)."),
    certificate_watch.EXPIRING: ("a certificate ends soon", "See which one, and renew it: bongsu doctor"),
    certificate_watch.BAD: ("a certificate cannot be used", "See which one and why: bongsu doctor"),
    CLOCK_STEPPED: (
        "the clock was set forward or back",
        "Let the time be synchronised (chrony or systemd-timesyncd), so that it never jumps.",
    ),
    CHORE_FAILED: (
        "one of the receiver's own tasks fails (alarms go on)",
        "Look at its log (writer.fault), and report it; the task is tried again by itself.",
    ),
}
# While one of these stands, alarms may not get through.
SEVERE = (
    BROKER_AWAY,
    CANARY_LOST,
    STORE_FAILED,
    backlog.WRITER_STUCK,
    backlog.QUEUE_LONG,
    disk.DISK_FULL,
    disk.DISK_MUTE,
    certificate_watch.BAD,
)


def reason(name: str) -> ReasonState:
    """One of WORDS."""
    what, step = WORDS[name]
    return {"name": name, "what": what, "next": step}
