"""Names for shell completion, read quickly and without a word: whatever is missing or damaged has no names.

Commands declare nothing for it: their arguments and options are known by what their help calls them.
"""

import sqlite3
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

# (name, what it is): the second is shown by shells that can.
Names = list[tuple[str, str]]

_SQLITE = "sqlite:///"
_BUSY_S = 0.2
_QUERIES = {
    "node": "SELECT id, coalesce(site_id || '/' || unit_id, '') || ' ' || label FROM node"
    " WHERE state != 'retired' ORDER BY id",
    "unit": "SELECT site_id || '/' || id, name FROM unit ORDER BY site_id, id",
    "site": "SELECT id, name FROM site ORDER BY id",
}
# What a parameter is about: by its metavar, else by its option or name.
_BY_METAVAR = {
    "MAC": "node",
    "[MAC]": "node",
    "[MAC]...": "node",
    "OLD-MAC": "node",
    "NEW-MAC": "node",
    "SITE/UNIT": "unit",
}
_BY_NAME = {
    "--site": "site",
    "--board": "board",
    "--profile": "profile",
    "--port": "port",
    "--unit": "unit",
    "site_id": "site",
}


def kind_of(param: click.Parameter) -> str | None:
    """What a parameter names: "node", "unit", "site", "board", "profile", "port"; None: nothing that is known here."""
    if param.metavar in _BY_METAVAR:
        return _BY_METAVAR[param.metavar]
    if not isinstance(param.type, click.types.StringParamType):
        return None
    return next((_BY_NAME[name] for name in (*param.opts, param.name or "") if name in _BY_NAME), None)


class Known(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """Stands for a parameter's type while the shell asks; `kind` as kind_of has it."""

    def __init__(self, kind: str) -> None:
        self.name = kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        begun = incomplete.lower()
        return [
            CompletionItem(name, help=what.strip() or None)
            for name, what in names(self.name, _folder(ctx))
            if name.startswith(begun)
        ]


def wire(command: click.Command) -> None:
    """Let the parameters of a command, and of those below it that are loaded, complete what they name."""
    for param in command.params:
        if kind := kind_of(param):
            param.type = Known(kind)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            wire(below)


def _folder(ctx: click.Context) -> Path:
    """The data folder as the words typed so far name it. Nothing has run yet: there is no Installation."""
    from bongsu.cli.context import DATA_ENV, default_data

    named = ctx.meta.get(DATA_ENV) or ctx.find_root().params.get("data")
    return named if isinstance(named, Path) else default_data()


def names(kind: str, folder: Path) -> Names:
    """The names of a kind; [] if they cannot be had."""
    sources: dict[str, Callable[[], Names]] = {
        "board": lambda: _boards(folder),
        "profile": _profiles,
        "port": _ports,
    }
    try:
        return sources[kind]() if kind in sources else _stored(_QUERIES[kind], folder)
    except Exception:  # a shell that asks is answered by names or not at all
        return []


def _stored(query: str, folder: Path) -> Names:
    """Out of the data folder's own database. One elsewhere (PostgreSQL) is not asked: a shell does not wait for it."""
    settings: dict[str, Any] = tomllib.loads((folder / "receiver.toml").read_text(encoding="utf-8"))
    url = str(settings.get("store", {}).get("url", f"{_SQLITE}bongsu.db"))
    path = folder / url.removeprefix(_SQLITE)
    if not url.startswith(_SQLITE) or not path.is_file():
        return []
    conn = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
    try:
        return [(str(name), str(what)) for name, what in conn.execute(query)]
    finally:
        conn.close()


def _boards(folder: Path) -> Names:
    from bongsu.install.boards import board_names

    return [(name, "") for name in board_names(data=folder)]


def _profiles() -> Names:
    from bongsu.install.profiles import load_profiles

    return [(one.name, one.title["en"]) for one in load_profiles().values()]


def _ports() -> Names:
    from bongsu.install import ports

    return [(port.url, port.title) for port in ports.found()]
