"""time as on an ESP32: ticks wrap at 2^30, the epoch is 2000-01-01, time() is an int; on board time."""

import _board

_PERIOD = _board.TICKS_PERIOD
_MASK = _PERIOD - 1
_HALF = _PERIOD // 2
_DAYS = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


def ticks_ms():
    return (_board.read_us() // 1000) & _MASK


def ticks_us():
    return _board.read_us() & _MASK


def ticks_cpu():
    return _board.read_us() * 240 & _MASK  # 240 MHz


def ticks_add(ticks, delta):
    if not -_HALF < delta < _HALF:
        raise OverflowError("ticks interval overflow")
    return (ticks + delta) & _MASK


def ticks_diff(end, start):
    return ((end - start + _HALF) & _MASK) - _HALF


def sleep(seconds):
    _board.sleep_us(int(seconds * 1000000))


def sleep_ms(ms):
    _board.sleep_us(ms * 1000)


def sleep_us(us):
    _board.sleep_us(us)


def _rtc_us():
    base, at = _board.state["rtc"]
    return base + _board.vt_us() - at


def time():
    return _rtc_us() // 1000000


def time_ns():
    return _rtc_us() * 1000


def _leap(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _day_number(year, month, day):
    """Days since 2000-01-01."""
    y = year - 2000
    days = y * 365 + (y + 3) // 4 - (y + 99) // 100 + (y + 399) // 400
    return days + _DAYS[month - 1] + (1 if month > 2 and _leap(year) else 0) + day - 1


def mktime(fields):
    year, month, day, hour, minute, second = fields[:6]
    year += (month - 1) // 12
    return ((_day_number(year, (month - 1) % 12 + 1, day) * 24 + hour) * 60 + minute) * 60 + second


def gmtime(seconds=None):
    if seconds is None:
        seconds = time()
    days, rest = divmod(int(seconds), 86400)
    year = 2000 + days // 366
    while _day_number(year + 1, 1, 1) <= days:
        year += 1
    month = 12
    while _day_number(year, month, 1) > days:
        month -= 1
    return (
        year,
        month,
        days - _day_number(year, month, 1) + 1,
        rest // 3600,
        rest // 60 % 60,
        rest % 60,
        (days + 5) % 7,  # 2000-01-01 was a Saturday; Monday is 0
        days - _day_number(year, 1, 1) + 1,
    )


localtime = gmtime
