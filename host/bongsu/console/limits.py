"""How often somebody may try a password. Pure: the time is an argument (monotonic seconds).

A try is counted before it is checked, and taken back if it was right, so that many at once gain nothing.
"""

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass, field

# Of one name from one address; of one address; of one name from everywhere (guessing from many addresses, which must
# not shut out the person so easily).
PAIR_TRIES, ADDRESS_TRIES, NAME_TRIES = 5, 30, 50
WINDOW_S = 300.0
_KEYS_MAX = 10_000
# From where somebody logged in so lately, strangers who guess the name from elsewhere do not shut them out.
KNOWN_S = 30 * 86_400.0
_KNOWN_MAX = 2_000


def origin(address: str) -> str:
    """What counts as one address: of IPv6 the /64, of which everybody at home has as many as they like."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


@dataclass
class Limits:
    """The tries of the last WINDOW_S, in bounded memory."""

    _tries: OrderedDict[tuple[str, str], deque[float]] = field(default_factory=OrderedDict)
    _known: OrderedDict[tuple[str, str], float] = field(default_factory=OrderedDict)

    def attempt(self, name: str, address: str, now_s: float) -> float:
        """Count a try. Returns 0.0, or how many seconds to wait: then it is neither allowed nor counted."""
        address = origin(address)
        keys = self._keys(name, address)
        if now_s - self._known.get((name, address), -KNOWN_S) < KNOWN_S:
            keys = keys[:2]  # tries of others on this name do not count here
        wait_s = max(self._wait_s(key, most, now_s) for key, most in keys)
        if wait_s > 0:
            return wait_s
        for key, most in keys:
            self._tries.setdefault(key, deque(maxlen=most)).append(now_s)
            self._tries.move_to_end(key)
        while len(self._tries) > _KEYS_MAX:
            self._tries.popitem(last=False)
        return 0.0

    def succeeded(self, name: str, address: str, now_s: float) -> None:
        """The try was right: it counts for nothing, and neither do this person's earlier ones from there."""
        address = origin(address)
        self._known[name, address] = now_s
        self._known.move_to_end((name, address))
        while len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)
        pair, *others = (key for key, _ in self._keys(name, address))
        self._tries.pop(pair, None)
        for key in others:
            if self._tries.get(key):
                self._tries[key].pop()

    @staticmethod
    def _keys(name: str, address: str) -> list[tuple[tuple[str, str], int]]:
        return [((name, address), PAIR_TRIES), (("", address), ADDRESS_TRIES), ((name, ""), NAME_TRIES)]

    def _wait_s(self, key: tuple[str, str], most: int, now_s: float) -> float:
        tries = self._tries.get(key)
        if tries is None or len(tries) < most:
            return 0.0
        return max(0.0, tries[0] + WINDOW_S - now_s)
