"""Groups whose commands are imported when they are called: each command starts fast, and help needs no import."""

import importlib
import os
from typing import Any

import click

# By it a shell asks what could come next (click's shell completion).
COMPLETE_ENV = "_BONGSU_COMPLETE"
# Command -> (module, attribute, what it is for). The order is that of the help.
Commands = dict[str, tuple[str, str, str]]


def lazy_group(commands: Commands) -> type[click.Group]:
    """The class of a click group with these commands."""

    class LazyGroup(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return list(commands)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            if cmd_name not in commands:
                return None
            module, attribute, _ = commands[cmd_name]
            command: Any = getattr(importlib.import_module(module), attribute)
            assert isinstance(command, click.Command)
            if COMPLETE_ENV in os.environ:
                from bongsu.cli import known_names

                known_names.wire(command)
            return command

        def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, purpose) for name, (_, _, purpose) in commands.items()])

    return LazyGroup
