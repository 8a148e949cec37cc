"""A profile that the centre set after the node was provisioned, on flash. Needed at the start and when the command
comes; forgotten in between, with limits.py: 4 KB of heap.
"""

import struct

from bongsu_node import flashfile
from bongsu_node.sensing import limits

_PROFILE = "/profile"
_STAMP = "<I"  # provisioned_s of the settings that it was set under
_STAMP_LEN = 4


def set_profile(config, folder: str, args: bytes, log) -> bool:
    """The set-parameter command (limits.pack): whole and on flash, or not at all: False, or an OSError of flash.

    `config`: its limits are changed in place, since the channels hold them; `folder` on flash.
    """
    try:
        name, values = limits.unpack(args)
    except ValueError as e:
        log("W", "profile", "state=refused err=%s" % str(e).replace(" ", "_"))
        return False
    flashfile.write(folder + _PROFILE, struct.pack(_STAMP, config.provisioned_s) + args)
    _use(config, name, values, log)
    return True


def resume(config, folder: str, log) -> None:
    """At the start: a profile that was set since the node was provisioned last holds on."""
    data = flashfile.read(folder + _PROFILE)
    if data is None or len(data) < _STAMP_LEN:
        return
    if struct.unpack(_STAMP, data[:_STAMP_LEN])[0] != config.provisioned_s:
        return
    try:
        name, values = limits.unpack(data[_STAMP_LEN:])
    except ValueError:  # of another firmware: the provisioned one stands
        log("W", "profile", "state=unusable")
        return
    _use(config, name, values, log)


def _use(config, name: str, values, log) -> None:
    config.profile = name
    for i in range(len(values)):
        config.limits[i] = values[i]
    log("I", "profile", "name=%s" % name)
