"""What stands on each node, whatever the order in which its events arrive, pure.

A node numbers its events as they happen and sends alarms first, repeats included: the way may turn their order round.
So a thing stands if the newest event about it says so, and not if the last one to arrive does. Numbers begin anew with
each key epoch: what an older key's event says, a newer key's event overrules.
"""

from collections.abc import Iterable

# (node, key epoch): event numbers go on inside one of them.
Sender = tuple[str, int]
# (key epoch, event number): when it was, in the order of the node's life.
Moment = tuple[int, int]
_NEVER: Moment = (0, 0)
# An end of everything that stands.
_ALL = ""


class Standing:
    """The newest begin and end of each thing (a phenomenon or a fault, by name), by event number."""

    def __init__(self) -> None:
        self._begun: dict[str, dict[str, Moment]] = {}
        self._ended: dict[str, dict[str, Moment]] = {}

    def begins(self, sender: Sender, names: Iterable[str], number: int) -> None:
        """Event `number` says that these begin to stand."""
        node, epoch = sender
        _keep_newest(self._begun.setdefault(node, {}), names, (epoch, number))

    def ends(self, sender: Sender, names: tuple[str, ...], number: int) -> None:
        """Event `number` says that these (none: all) stand no longer."""
        node, epoch = sender
        _keep_newest(self._ended.setdefault(node, {}), names or (_ALL,), (epoch, number))

    def over(self, sender: Sender, names: Iterable[str]) -> tuple[str, ...]:
        """Those of `names` whose newest event is their end."""
        begun, ended = self._begun.get(sender[0], {}), self._ended.get(sender[0], {})
        every = ended.get(_ALL, _NEVER)
        return tuple(n for n in names if max(ended.get(n, _NEVER), every) > begun.get(n, _NEVER))

    def begun(self, node: str) -> Moment:
        """When the newest thing that is known of began; (0, 0): nothing is."""
        return max(self._begun.get(node, {}).values(), default=_NEVER)

    def forget(self, node: str) -> None:
        """Its events are read anew."""
        self._begun.pop(node, None)
        self._ended.pop(node, None)


def _keep_newest(known: dict[str, Moment], names: Iterable[str], moment: Moment) -> None:
    for name in names:
        known[name] = max(known.get(name, _NEVER), moment)
