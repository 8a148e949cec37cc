"""What every command needs: the data folder by --data or BONGSU_DATA, its settings, store and master key; and the
shared options.
"""

import getpass
import os
import shlex
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bongsu.errors import BongsuError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bongsu.install.boards import Board
    from bongsu.receiver.config import Config
    from bongsu.receiver.keys import MasterKey
    from bongsu.receiver.store import Store
    from bongsu.receiver.wake import Topic


class _Undone(Exception):
    """Rolls a dry run back."""


DATA_ENV = "BONGSU_DATA"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def default_data() -> Path:
    """The data folder when nothing names one."""
    named = os.environ.get(DATA_ENV)
    return Path(named) if named else Path.home() / ".local" / "share" / "bongsu"


@dataclass
class Installation:
    """The installation that a command works on; passed as click's `ctx.obj` (decorator: `pass_installation`)."""

    data: Path

    def config(self) -> "Config":
        """Its settings, as `checked_config` has them."""
        from bongsu.receiver.config import CONFIG_NAME

        if not self.data.is_dir():
            raise BongsuError(
                f"there is no data folder {self.data}",
                f"Make it: bongsu init --data {shlex.quote(str(self.data))}, or name another by --data.",
            )
        return checked_config(self.data / CONFIG_NAME)

    def board(self, name: str) -> "Board":
        """A board by its name, among those of the data folder too, or by the path of its file (...toml). Raises
        BoardError.
        """
        from bongsu.install.boards import load_board

        return load_board(name, data=self.data)

    def master(self) -> "MasterKey":
        """Its master key. Raises KeyFault."""
        from bongsu.receiver.keys import MASTER_KEY_NAME, load_master

        return load_master(self.data / MASTER_KEY_NAME)

    @contextmanager
    def store(self) -> "Iterator[Store]":
        """Its store, closed at the end. Raises ConfigError, StoreError."""
        from bongsu.receiver.store import open_store

        store = open_store(self.config().store_url)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def reading(self) -> "Iterator[Connection]":
        """One reading transaction on its store."""
        with self.store() as store, store.read() as conn:
            yield conn

    @contextmanager
    def writing(self, topic: "Topic" = "registry") -> "Iterator[Connection]":
        """One writing transaction on its store, with its trace in the audit; after the commit the running receiver, if
        there is one, is told of `topic`.
        """
        from bongsu.receiver import audit
        from bongsu.receiver.wake import notify

        with self.store() as store, store.write() as conn:
            audit.begin(conn)
            yield conn
            audit.conclude(conn, actor=actor(), action=command_name(), now_ms=now_ms())
            key = self._seal(conn)
        if key is not None:
            with self.store() as store, store.read() as conn:
                audit.remember(conn, key, self.data)
        notify(self.data, topic)

    @contextmanager
    def trying(self, dry_run: bool) -> "Iterator[Connection]":
        """As `writing`; with `dry_run` everything is done, and then undone: what it says is what will be."""
        if not dry_run:
            with self.writing() as conn:
                yield conn
            return
        with self.store() as store:
            try:
                with store.write() as conn:
                    yield conn
                    raise _Undone
            except _Undone:
                pass

    def _seal(self, conn: "Connection") -> bytes | None:
        """Seal the audit's new rows now, if the master key is at hand; else a receiver does it. Returns the chain's
        key.
        """
        from bongsu.cli.output import warn
        from bongsu.receiver import audit
        from bongsu.receiver.keys import KeyFault

        try:
            key = audit.chain_key(self.master())
        except KeyFault:
            return None
        if what := audit.trouble(conn, key, self.data):
            warn(f"the audit is not sealed any more: {what}. Look at it: bongsu audit verify")
        audit.seal(conn, key, folder=self.data)
        return key


def checked_config(path: Path) -> "Config":
    """Settings of an installation that is fit to be worked on. Raises ConfigError, StoreError, and BongsuError if other
    users can look into its folder.
    """
    from bongsu.receiver.config import load
    from bongsu.receiver.store import require_database

    config = load(path)
    require_private(config.data_dir)
    require_database(config.store_url)
    return config


def require_private(folder: Path) -> None:
    """Refuse a data folder that other users may enter, as an open master.key is refused: names and phone numbers are in
    its database, keys and passwords in its files.
    """
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        raise BongsuError(f"{folder} is open to other users", f"Run: chmod 700 {shlex.quote(str(folder))}")


pass_installation = click.make_pass_decorator(Installation)


def _set_data(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is None:
        return
    if ctx.resilient_parsing:  # a shell asks what could come next, and nothing has run
        ctx.meta[DATA_ENV] = value
    else:
        ctx.find_root().obj.data = value


def data_option(command: _Command) -> _Command:
    """Option --data of a command; it may also stand before the command."""
    option = click.option(
        "--data",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_set_data,
        help=f"Data folder (else {DATA_ENV}, else ~/.local/share/bongsu).",
    )
    return option(command)


def json_option(command: _Command) -> _Command:
    """Option --json, passed as `json_wanted`."""
    return click.option("--json", "json_wanted", is_flag=True, help="Print JSON, for scripts.")(command)


def now_ms() -> int:
    """UTC ms since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000


def actor() -> str:
    """Who runs the command, for the audit."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def command_name() -> str:
    """The running command for the audit: "site.add"."""
    context = click.get_current_context(silent=True)
    return ".".join(context.command_path.split()[1:]) if context is not None else "unnamed"
