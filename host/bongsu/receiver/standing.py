"""What stands on each node, whatever the order in which its events arrive, pure.

A node numbers its events as they happen and sends alarms first, repeats included: the way may turn their order round.
So a thing stands if the newest event about it says so, and not if the last one to arrive does.
"""

from collections.abc import Iterable

# (node, key epoch): event numbers go on inside one of them.
Sender = tuple[str, int]
# An end of everything that stands.
_ALL = ""


class Standing:
    """The newest begin and end of each thing (a phenomenon or a fault, by name), by event number."""

    def __init__(self) -> None:
        self._begun: dict[Sender, dict[str, int]] = {}
        self._ended: dict[Sender, dict[str, int]] = {}

    def begins(self, sender: Sender, names: Iterable[str], number: int) -> None:
        """Event `number` says that these begin to stand."""
        _keep_newest(self._begun.setdefault(sender, {}), names, number)

    def ends(self, sender: Sender, names: tuple[str, ...], number: int) -> None:
        """Event `number` says that these (none: all) stand no longer."""
        _keep_newest(self._ended.setdefault(sender, {}), names or (_ALL,), number)

    def over(self, sender: Sender, names: Iterable[str]) -> tuple[str, ...]:
        """Those of `names` whose newest event is their end."""
        begun, ended = self._begun.get(sender, {}), self._ended.get(sender, {})
        every = ended.get(_ALL, 0)
        return tuple(name for name in names if max(ended.get(name, 0), every) > begun.get(name, 0))


def _keep_newest(known: dict[str, int], names: Iterable[str], number: int) -> None:
    for name in names:
        known[name] = max(known.get(name, 0), number)
