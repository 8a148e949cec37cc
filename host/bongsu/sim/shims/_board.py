"""What all shims share: the board's clock, its state as the host sets it, and the two pipes to the host.

Two time lines. *Board time* (`vt_us`) is microseconds since the first power-on of this board and runs `speed` times
as fast as the wall, or, in discrete mode, jumps to the next task whenever nothing is ready. Everything the firmware
sees (ticks, RTC, sleeps, Wi-Fi delays) is made of it. asyncio's own queue gets a third, non-wrapping view of it,
because the C queue of the unix port compares with a period of 2^62, not 2^30.

Pipes: `tell()` writes one line to the host (watchdog, pins, resets, flash writes); `pump()` takes JSON lines from it.
Both are plain file descriptors opened before the host's file system is unmounted.
"""

import binascii
import json
import select

import micropython
import utime

TICKS_PERIOD = 1 << 30  # an ESP32's small ints have 31 bits
# Above any real tick value: tasks that C code queues with the real clock then always count as due.
_ASYNC_BASE = 1 << 40
# In discrete mode reading the clock costs this much board time, so that a loop that waits by reading it ends.
_READ_COST_US = 20
# Feeds of the watchdog are passed on to the host at most this often per time-out (the host's watchdog.SLACK).
_FEED_SHARE = 10

state = {}  # what the host set; keys in VirtualBoard
hooks = {}  # state key -> function(value), called when the host changes it
levels = {}  # pin number -> level, both directions
irqs = {}  # pin number -> (handler, trigger, pin)
repl = None  # with a REPL: {"mode": "friendly" or "raw", "machine", "build", "mpy": what the image says of itself}

_num = 1
_den = 1
_origin_us = 0
_vt = 0
_boot_vt = 0
_ticks_start = 0
_discrete = False
_ctl = None
_ctl_poll = None
_trace = None
_timers = []
_flash_told = -1
_feed_deadline = None
_feed_timeout_us = 0
_feed_told = 0


def start(config, ctl_fd, trace_fd):
    """Take the host's configuration of this boot and open the pipes."""
    global _num, _den, _origin_us, _vt, _discrete, _ctl, _ctl_poll, _trace, _ticks_start, repl
    state.update(config["state"])
    repl = config["repl"]
    _num, _den = config["speed"]
    _discrete = _num == 0
    _origin_us = config["origin_us"]
    _vt = config["vt_us"]
    _ticks_start = config["ticks_start"]
    _trace = open(trace_fd, "wb")  # noqa: SIM115  # open as long as the board runs
    _ctl = open(ctl_fd, "rb")  # noqa: SIM115  # as above
    _ctl_poll = select.poll()
    _ctl_poll.register(_ctl, select.POLLIN)


def boot():
    """The firmware starts now: its ticks count from here."""
    global _boot_vt
    _boot_vt = vt_us()
    tell("b")
    if _discrete:
        _pause_if_due()


def hex(data):
    """Bytes as text, for JSON."""
    return binascii.hexlify(bytes(data)).decode()


def unhex(text):
    """What hex() was made of."""
    return binascii.unhexlify(text)


def discrete():
    """True if time jumps instead of running."""
    return _discrete


def vt_us():
    """Board time in us."""
    if _discrete:
        return _vt
    return (utime.ticks_us() - _origin_us) * _num // _den


def read_us():
    """Time since boot in us, as read by the firmware."""
    global _vt
    if _discrete:
        _vt += _READ_COST_US
    return vt_us() - _boot_vt + _ticks_start * 1000


def async_ticks():
    """asyncio's clock, ms, never wrapping."""
    return _ASYNC_BASE + (vt_us() - _boot_vt) // 1000


def tell(line):
    """One line to the host."""
    _trace.write(line + "\n")


def die(line):
    """Tell the host why, then do nothing more: it ends this process. Never returns."""
    flush_counts()
    if _discrete:
        tell("V %d" % _vt)
    tell(line)
    while _ctl.readline():
        pass
    raise SystemExit  # the host is gone


@micropython.native  # see _flash.Flash
def pump():
    """Apply what the host has sent since; True if there was anything."""
    any_line = False
    while True:
        hit = False
        for _, event in _ctl_poll.ipoll(0):
            hit = True
            line = _ctl.readline() if event & select.POLLIN else b""
            if not line:
                die("x gone")
            _apply(json.loads(line))
        if not hit:
            return any_line
        any_line = True


@micropython.native
def _apply(message):
    for key, value in message.items():
        state[key] = value
        hook = hooks.get(key)
        if hook is not None:
            hook(value)


def at(vt, function):
    """Call `function` when board time reaches `vt` us (at the next idle moment)."""
    _timers.append((vt, function))
    _timers.sort(key=lambda timer: timer[0])


def _run_timers():
    ran = False
    while _timers and _timers[0][0] <= vt_us():
        _timers.pop(0)[1]()
        ran = True
    return ran


def set_input(number, level):
    """The outside world drives a pin; its interrupt handler runs if the edge fits."""
    old = levels.get(number)
    levels[number] = level
    irq = irqs.get(number)
    if irq is None or old == level:
        return
    handler, trigger, pin = irq
    if trigger & (1 if level else 2):
        handler(pin)


def watchdog(timeout_ms):
    """Start (or with 0 feed) the watchdog. The host hears of feeds only now and then, and allows for that."""
    global _feed_deadline, _feed_timeout_us, _feed_told
    now = vt_us()
    if timeout_ms:
        _feed_timeout_us = timeout_ms * 1000
        tell("w %d" % timeout_ms)
    elif now - _feed_told >= _feed_timeout_us // _FEED_SHARE:
        tell("f")
    else:
        now = _feed_told
    _feed_told = now
    if _discrete:
        _feed_deadline = vt_us() + _feed_timeout_us


def flush_counts():
    """Report the count of flash writes, if it changed."""
    global _flash_told
    if state["flash_writes"] != _flash_told:
        _flash_told = state["flash_writes"]
        tell("F %d" % _flash_told)


def _pause_if_due():
    while _vt >= state["run_to_us"]:
        flush_counts()
        tell("v %d" % _vt)
        line = _ctl.readline()
        if not line:
            die("x gone")
        _apply(json.loads(line))


def _jump(us):
    """Discrete mode: nothing is ready for `us`; move on by that, or to the next thing that the board itself does."""
    global _vt
    target = _vt + us
    if _timers:
        target = min(target, max(_timers[0][0], _vt))
    if _feed_deadline is not None and _feed_deadline <= target and _feed_deadline <= state["run_to_us"]:
        _vt = max(_vt, _feed_deadline)
        die("x watchdog")
    _vt = min(target, max(state["run_to_us"], _vt))
    _pause_if_due()


def idle(ms, waiter):
    """Wait up to `ms` of board time (< 0: for ever), less if `waiter` (a poll object that holds the control pipe too)
    has something. May return early."""
    flush_counts()
    if _discrete:
        pump()
        _jump(ms * 1000 if ms >= 0 else state["run_to_us"] - _vt)
    else:
        us = -1 if ms < 0 else ms * 1000
        if _timers:
            first = max(0, _timers[0][0] - vt_us())
            us = first if us < 0 else min(us, first)
        _sleep(us, waiter)
    ran = pump()
    return _run_timers() or ran


def _sleep(us, waiter):
    if us < 0:
        waiter.poll(-1)
        return
    wall_us = us * _den // _num
    end = utime.ticks_us() + wall_us
    if wall_us >= 1000 and waiter.poll(wall_us // 1000):
        return
    # poll() counts in ms: at high speed the rest of one would be many ms of board time.
    rest = end - utime.ticks_us()
    if 0 < rest < 1000:
        utime.sleep_us(rest)


def sleep_us(us):
    """time.sleep_*: block for board time; interrupts and the host are served meanwhile."""
    end = vt_us() + us
    while True:
        left = end - vt_us()
        if left <= 0:
            return
        idle((left + 999) // 1000 if _discrete or left >= 1000 else 0, _ctl_poll)
        if not _discrete and 0 < left < 1000:
            utime.sleep_us(left * _den // _num)
