"""A receiver for the board under test: a data folder of its own, run by the `bongsu` command as a city runs it."""

import json
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bongsu.receiver.config import CONFIG_NAME, load
from bongsu.receiver.store import open_store

SITE, UNIT = "bench", "b-01"
_READY_S = 60.0
_COMMAND_S = 600.0  # flashing a chip with a full erase, and then some
_END_S = 20.0
_LOOK_S = 0.1


def _free_port(address: str) -> int:
    with socket.socket() as s:
        s.bind((address, 0))
        return int(s.getsockname()[1])


class Centre:
    """One site, one unit. `bind`: the address at which its broker listens; TLS always."""

    def __init__(self, folder: Path, bind: str = "127.0.0.1") -> None:
        self.data = folder / "data"
        self.port = _free_port(bind)
        self._process: subprocess.Popen[str] | None = None
        self.bongsu("init")
        settings = self.data / "receiver.toml"
        text = settings.read_text(encoding="utf-8")
        text = re.sub(
            r'(\[broker\].*?host = )"[^"]*"(.*?port = )8883', rf'\1"{bind}"\g<2>{self.port}', text, flags=re.S
        )
        text = re.sub(r"(\[console\].*?enabled = )true", r"\1false", text, flags=re.S)
        settings.write_text(text, encoding="utf-8")
        self.bongsu("site", "add", SITE, "--name", "Bench", "--address", "Bench 1")
        self.bongsu("unit", "add", f"{SITE}/{UNIT}", "--name", "Bench", "--place", "Bench 1")

    def bongsu(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of `bongsu` on this data folder."""
        done = subprocess.run(
            self._command(*args),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_COMMAND_S,
            check=False,
        )
        assert not check or done.returncode == 0, f"bongsu {' '.join(args)}: {done.stdout}{done.stderr}"
        return done

    def _command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "bongsu.cli", "--data", str(self.data), *args]

    def show(self, node: str) -> dict[str, Any]:
        """`bongsu node show`."""
        found: dict[str, Any] = json.loads(self.bongsu("node", "show", node, "--json").stdout)
        return found

    def secrets(self, node: str) -> list[str]:
        """What nobody may see of a node: its keys in hex, and its login at the broker."""
        from bongsu.receiver import keys

        master = keys.load_master(self.data / keys.MASTER_KEY_NAME)
        with closing(open_store(load(self.data / CONFIG_NAME).store_url)) as store, store.read() as conn:
            found = [key.key.hex() for key in keys.usable_keys(conn, master, time.time_ns() // 1_000_000, node)]
            for login in keys.broker_logins(conn, master, node):
                found += [login.password, login.client_id]
        return found

    # -- the service

    def start(self) -> None:
        """Run the receiver, and wait until it takes alarms."""
        command = self._command("receiver", "run", "--log-format", "json")
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(self._process, lines), daemon=True).start()
        seen, end = [], time.monotonic() + _READY_S
        while True:
            try:
                line = lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError("the receiver is not ready:\n" + "".join(seen)) from None
            seen.append(line)
            assert line, "the receiver ended:\n" + "".join(seen)
            if "receiver.ready" in line:
                return

    @staticmethod
    def _read(process: "subprocess.Popen[str]", lines: "queue.SimpleQueue[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.put(line)
        lines.put("")
        process.stderr.close()

    def kill(self) -> None:
        """kill -9, as a power cut does; its broker goes with it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As systemd does."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)  # nothing, if it has ended by itself
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def until(self, true: Callable[[], Any], what: str, seconds: float) -> Any:
        """What `true` returns once it is true: the far end of a network has no event to wait for. Fails with `what`."""
        end = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
            time.sleep(_LOOK_S)
        return found
