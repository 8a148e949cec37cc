"""The relay as the receiver sees it: a child process that carries out deliveries, looked after by a thread.

It is a process of its own because the requests would otherwise take turns with the writer for the interpreter, just
when many alarms come at once; and because a fault in it, or in libcurl, then costs a retry and no alarm. Whatever
happens to it, every job that was handed over ends as a Done.
"""

import mmap
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from bongsu.channels.base import Outcome
from bongsu.receiver.child import bound_to_us
from bongsu.receiver.config import Config
from bongsu.receiver.jobs import LEASE_BYTES, Done, Job, Lease
from bongsu.receiver.log import Log
from bongsu.receiver.relay_wire import Splitter, jobs_message, packed, up_of

MODULE = "bongsu.receiver.relay_child"
_PAUSE_S = (0.0, 0.5, 1.0, 2.0, 5.0)
_WELL_S = 60.0
_LOOK_MS = 250
_STOP_S = 3.0
_BUFFER_BYTES = 1024 * 1024
# Every request ends within its time-out, so something is heard of a relay that has work; one that says nothing for
# so much longer hangs.
_SPARE_S = 4.0


class RelayProcess:
    """The relay. `put_done` takes results, in this object's thread."""

    def __init__(self, config: Config, put_done: Callable[[Done], None], lease: Lease, log: Log) -> None:
        self._config, self._put_done, self._log = config, put_done, log
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._unsent = bytearray()
        self._under_way: dict[int, Job] = {}
        self._heard_s = 0.0
        self.looked_s = 0.0  # when its thread was last at work (monotonic)
        self._process: subprocess.Popen[bytes] | None = None
        self._faults = 0
        self._stuck_after_s = config.dispatch.request_timeout_s + _SPARE_S
        self._stop = threading.Event()
        self._lease_fd = os.memfd_create("bongsu-lease")
        os.ftruncate(self._lease_fd, LEASE_BYTES)
        lease.share(mmap.mmap(self._lease_fd, LEASE_BYTES))
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        process = self._process
        return process.pid if process is not None else None

    def start(self) -> None:
        """Begin. Raises OSError if the process cannot be made."""
        self._spawn()
        self._thread.start()

    def take(self, jobs: list[Job]) -> None:
        """Begin these jobs. From any thread; never waits."""
        if not jobs:
            return
        with self._lock:
            if self._sock is not None:
                if not self._under_way:
                    self._heard_s = time.monotonic()
                self._under_way.update((job.delivery_id, job) for job in jobs)
                self._unsent += jobs_message(jobs)
                self._send()
                return
        self._give_back(jobs, "the relay is being started")

    def close(self) -> None:
        """End: what is still under way is given up (its lease ends, and it is tried again)."""
        self._stop.set()
        with self._lock:
            if self._sock is not None:
                with suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        os.close(self._lease_fd)

    # ---- the thread that looks after it

    def _run(self) -> None:
        while True:
            begun_s = time.monotonic()
            why = self._serve(self._sock) if self._sock is not None else "it cannot be started"
            self._end()
            if self._stop.is_set():
                break
            if time.monotonic() - begun_s > _WELL_S:
                self._faults = 0
            pause_s = _PAUSE_S[min(self._faults, len(_PAUSE_S) - 1)]
            self._faults += 1
            self._log.error("relay.ended", why=why, again_s=pause_s)
            self._stop.wait(pause_s)
            with suppress(OSError):
                self._spawn()

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            for sock in (ours, theirs):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            command = [sys.executable, "-m", MODULE, str(theirs.fileno()), str(self._lease_fd)]
            self._process = subprocess.Popen(
                bound_to_us(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), self._lease_fd],
                start_new_session=True,  # Ctrl-C is for the receiver, which ends this in its turn
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        with self._lock:
            self._sock, self._unsent, self._heard_s = ours, bytearray(packed(self._config)), time.monotonic()
            self._send()

    def _serve(self, sock: socket.socket) -> str:
        """Take in what it says until it ends; returns why it ended."""
        splitter, poll = Splitter(), select.poll()
        poll.register(sock)
        while not self._stop.is_set():
            self.looked_s = time.monotonic()
            poll.modify(sock, select.POLLIN | select.POLLOUT if self._unsent else select.POLLIN)
            ready = dict(poll.poll(_LOOK_MS)).get(sock.fileno(), 0)
            if ready & select.POLLOUT:
                with self._lock:
                    self._send()
            if ready & ~select.POLLOUT:
                try:
                    data = sock.recv(_BUFFER_BYTES)
                except OSError:
                    data = b""
                if not data:
                    return "it ended"
                self._take_in(splitter.feed(data))
            elif self._under_way and time.monotonic() - self._heard_s > self._stuck_after_s:
                return "it does not answer"
        return "stopped"

    def _take_in(self, messages: list[bytes]) -> None:
        for message in messages:
            finished, lines = up_of(message)
            with self._lock:
                self._heard_s = time.monotonic()
                for done in finished:
                    self._under_way.pop(done.delivery_id, None)
            for done in finished:
                self._put_done(done)
            for event, fields in lines:
                self._log.error(event, **fields)

    def _send(self) -> None:
        """Send what the socket takes without waiting; the thread sees to the rest. Under the lock."""
        if self._sock is None or not self._unsent:
            return
        try:
            sent = self._sock.send(self._unsent, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:
            return  # it ended: the thread notices
        del self._unsent[:sent]

    def _end(self) -> None:
        """End the process, and give back what it had under way."""
        process = self._process
        if process is None:
            return
        with self._lock:
            if self._sock is not None:
                self._sock.close()
            self._sock = None
            jobs, self._under_way = list(self._under_way.values()), {}
        if self._stop.is_set():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
        process.kill()
        process.wait()
        self._process = None
        self._give_back(jobs, "the relay ended while it had this")

    def _give_back(self, jobs: list[Job], why: str) -> None:
        for job in jobs:
            self._put_done(Done(job.delivery_id, job.action, Outcome("retry", why), 0))
