"""Orders from the receiver: authentic, fresh and not repeated, as the link has checked before it asks here."""

from bongsu_wire import kinds


class Commands:
    """`response`: Response; `siren`: Siren; `reset()`: ends what is over, False if a cause still stands;
    `set_profile(args)`, `rotate_key(args)`: False if it refuses them; `safe_mode`: only silence is taken.
    """

    def __init__(self, response, siren, reset, set_profile, rotate_key, safe_mode: bool, ticks_ms, log) -> None:
        self._response = response
        self._siren = siren
        self._safe_mode = safe_mode
        self._ticks_ms = ticks_ms
        self._log = log
        self._acts = {
            kinds.CMD_TEST: self._test,
            kinds.CMD_RESET: reset,
            kinds.CMD_SILENCE: self._response.silence,
            kinds.CMD_IDENTIFY: self._identify,
        }
        self._acts_on = {kinds.CMD_SET_PARAMETER: set_profile, kinds.CMD_ROTATE_KEY: rotate_key}

    def obey(self, command, header) -> int:
        """Do it; returns kinds.ANSWER_*."""
        act, act_on = self._acts.get(command.code), self._acts_on.get(command.code)
        if act is None and act_on is None:
            answer = kinds.ANSWER_UNSUPPORTED
        elif self._safe_mode and command.code != kinds.CMD_SILENCE:
            answer = kinds.ANSWER_REFUSED
        else:
            answer = kinds.ANSWER_DONE if (act() if act else act_on(command.args)) else kinds.ANSWER_REFUSED
        name = kinds.name(kinds.COMMANDS, command.code)
        done = kinds.name(kinds.ANSWERS, answer)
        self._log("I", "command", "name=%s sender=%d answer=%s" % (name, header.sender, done))
        return answer

    def _test(self) -> bool:
        self._response.test(kinds.CRIT_NONE)
        return True

    def _identify(self) -> bool:
        self._siren.identify(self._ticks_ms())
        return True
