"""Which Bongsu this is."""

from importlib.metadata import PackageNotFoundError, version

# Longer is no version: what keeps one in the store has this much room.
_MOST = 32


def this_version() -> str:
    """The version of the installed package; "checkout" where none is installed."""
    try:
        return version("bongsu")[:_MOST]
    except PackageNotFoundError:
        return "checkout"
