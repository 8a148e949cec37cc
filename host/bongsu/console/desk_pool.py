"""Where requests meet the store: a few threads, so that neither a slow disk nor a password holds up the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection

from bongsu.receiver.store import Store

_T = TypeVar("_T")
_STORE_THREADS = 4
# Checking a password takes 64 MiB and a processor: one at a time, and few may wait.
PASSWORDS_WAITING = 20


class Busy(Exception):
    """Too many people try to log in at this very moment."""


class DeskPool:
    """The threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._desk = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="desk")
        self._passwords = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._checking = 0

    async def read(self, work: Callable[[Connection], _T]) -> _T:
        """Do this in a reading transaction."""

        def done() -> _T:
            with self._store.read() as conn:
                return work(conn)

        return await asyncio.get_running_loop().run_in_executor(self._desk, done)

    async def write(self, work: Callable[[Connection], _T]) -> _T:
        """Do this in a writing transaction."""

        def done() -> _T:
            with self._store.write() as conn:
                return work(conn)

        return await asyncio.get_running_loop().run_in_executor(self._desk, done)

    async def check_password(self, work: Callable[[], _T]) -> _T:
        """Do this, which takes 0.1 s of a processor. Raises Busy."""
        if self._checking >= PASSWORDS_WAITING:
            raise Busy
        self._checking += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._passwords, work)
        finally:
            self._checking -= 1

    def close(self) -> None:
        """End the threads."""
        self._desk.shutdown(wait=False, cancel_futures=True)
        self._passwords.shutdown(wait=False, cancel_futures=True)
