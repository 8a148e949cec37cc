"""What a node learns after it was provisioned, on flash: a profile that the centre set, and the smoke baseline."""

import struct
import sys

import bongsu_node.sensing
from bongsu_node import flashfile

_PROFILE = "/profile"
_BASELINE = "/baseline"
_STAMP = "<I"  # provisioned_s of the settings that it was set under
_STAMP_LEN = 4
_KEEP_FROM_E4 = 5  # less is not worth a write to flash


class Tuning:
    """`config`: its limits are changed in place, since the channels hold them; `folder` on flash.

    kept_e4: the smoke baseline as it was kept; failed: flash refused. `judge`, to be set: told of a change.
    """

    def __init__(self, config, folder: str, log) -> None:
        self.failed = False
        self.judge = None
        self._config = config
        self._folder = folder
        self._log = log
        self.kept_e4 = self._kept()
        self._resume()

    def set_profile(self, args: bytes) -> bool:
        """The set-parameter command (limits.pack). Whole and on flash, or not at all: False, or an OSError of flash."""
        try:
            name, values = _unpack(args)
        except ValueError as e:
            self._log("W", "profile", "state=refused err=%s" % str(e).replace(" ", "_"))
            return False
        stamp = struct.pack(_STAMP, self._config.provisioned_s)
        flashfile.write(self._folder + _PROFILE, stamp + args)
        self._use(name, values)
        return True

    def keep(self, baseline_e4: int) -> None:
        """Write the baseline down when it has moved."""
        if -_KEEP_FROM_E4 < baseline_e4 - self.kept_e4 < _KEEP_FROM_E4:
            return
        try:
            flashfile.write(self._folder + _BASELINE, struct.pack("<H", baseline_e4))
            self.failed = False
            self.kept_e4 = baseline_e4
        except Exception as e:
            self.failed = True
            self._log("E", "flash", "err=%r" % e)

    def _kept(self) -> int:
        data = flashfile.read(self._folder + _BASELINE)
        return struct.unpack("<H", data)[0] if data is not None and len(data) == 2 else 0

    def _resume(self) -> None:
        """A profile that was set since the node was provisioned last holds on."""
        data = flashfile.read(self._folder + _PROFILE)
        if data is None or len(data) < _STAMP_LEN:
            return
        if struct.unpack(_STAMP, data[:_STAMP_LEN])[0] != self._config.provisioned_s:
            return
        try:
            name, values = _unpack(data[_STAMP_LEN:])
        except ValueError:  # of another firmware: the provisioned one stands
            self._log("W", "profile", "state=unusable")
            return
        self._use(name, values)

    def _use(self, name: str, values) -> None:
        self._config.profile = name
        for i in range(len(values)):
            self._config.limits[i] = values[i]
        self._log("I", "profile", "name=%s" % name)
        if self.judge is not None:
            self.judge.apply()


def _unpack(args: bytes):
    """limits.unpack, without keeping what it is needed with: 3 KB of heap."""
    from bongsu_node.sensing import limits

    try:
        return limits.unpack(args)
    finally:
        sys.modules.pop("bongsu_node.sensing.limits", None)
        if hasattr(bongsu_node.sensing, "limits"):
            del bongsu_node.sensing.limits
