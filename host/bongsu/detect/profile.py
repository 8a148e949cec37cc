"""The limits that a replay runs under: a profile's, with single numbers changed."""

from collections.abc import Sequence

from bongsu.errors import UsageFault
from bongsu.install import profiles
from bongsu_node.sensing import limits

DEFAULT = profiles.DEFAULT


def limits_of(profile: str = DEFAULT, changes: Sequence[str] = ()) -> tuple[int, ...]:
    """Numbers in the order of limits.NAMES. `changes`: "NAME=VALUE", in the node's units. Raises UsageFault."""
    known = profiles.load_profiles()
    if profile not in known:
        raise UsageFault(f"--profile: there is no profile {profile!r}", f"Known profiles: {', '.join(known)}")
    try:
        numbers = known[profile].with_changes(dict(_change(change) for change in changes))
    except profiles.ProfileError as e:
        raise UsageFault(f"--set: {e.message}", e.next_step) from None
    return tuple(profiles.in_order(numbers))


def _change(text: str) -> tuple[str, int]:
    name, equals, value = text.partition("=")
    if not equals or name not in limits.NAMES:
        raise UsageFault(f"--set {text}: no such number", f"NAME=VALUE; names: {', '.join(limits.NAMES)}")
    try:
        return name, int(value)
    except ValueError:
        raise UsageFault(f"--set {text}: {value!r} is no whole number", "Give it in the node's units.") from None
