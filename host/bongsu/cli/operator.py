"""`bongsu operator`: who may use the console."""

import pwd
import sys
from pathlib import Path

import click

from bongsu.cli import output
from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.sealing import secret_file
from bongsu.errors import BongsuError

ROLES = ("viewer", "operator", "admin")
_COLUMNS = ["name", "full_name", "role", "lang", "state", "sessions", "created_ms"]
_password_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="A file whose first line is the password (default: it is asked for).",
)


@click.group("operator")
@data_option
def operator_() -> None:
    """People who may use the centre's screen. A viewer sees; an operator acknowledges and closes as well."""


@operator_.command()
@click.argument("name")
@click.option("--full-name", default="", help="As the screen shows it.")
@click.option("--role", type=click.Choice(ROLES), default="operator", show_default=True)
@click.option("--lang", type=click.Choice(("ko", "en")), default="ko", show_default=True)
@_password_option
@data_option
@json_option
@pass_installation
def add(
    installation: Installation,
    name: str,
    full_name: str,
    role: str,
    lang: str,
    password_file: Path | None,
    json_wanted: bool,
) -> None:
    """Add a person. NAME is what they log in with: a-z, 0-9 and -."""
    from bongsu.console import operators

    _refuse_account(name)
    hashed = _hashed(password_file)
    with installation.writing() as conn:
        added = operators.add_operator(
            conn,
            name=name,
            full_name=full_name,
            role=role,
            lang=lang,
            password_hash=hashed,
            actor=actor(),
            now_ms=now_ms(),
        )
    output.done(f"Added {role} {added}", {"name": added, "role": role}, json_wanted=json_wanted)


def _refuse_account(name: str) -> None:
    """Commands are written down under the account that runs them: at the console nobody may have the same name."""
    try:
        pwd.getpwnam(name.lower())
    except KeyError:
        return
    raise BongsuError(
        f"{name} is an account of this machine: what they do could not be told from what the account does",
        "Choose another name, for example desk-1.",
    )


@operator_.command("list")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, json_wanted: bool) -> None:
    """List who may log in."""
    from bongsu.console import operators

    with installation.reading() as conn:
        rows = operators.list_operators(conn)
    for row in rows:
        row["state"] = "disabled" if row["disabled_ms"] is not None else "enabled"
    output.show_list(rows, _COLUMNS, json_wanted=json_wanted, empty="Nobody may log in.")


@operator_.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES))
@click.option("--full-name", help="As the screen shows it.")
@click.option("--lang", type=click.Choice(("ko", "en")))
@data_option
@json_option
@pass_installation
def edit(
    installation: Installation, name: str, role: str | None, full_name: str | None, lang: str | None, json_wanted: bool
) -> None:
    """Change a person's role, name or language. They are logged out everywhere."""
    from bongsu.console import operators

    new = output.given(role=role, full_name=full_name, lang=lang)
    with installation.writing() as conn:
        operators.edit_operator(conn, name=name, actor=actor(), now_ms=now_ms(), **new)
    output.done(f"Changed {name}", {"name": name}, json_wanted=json_wanted)


@operator_.command()
@click.argument("name")
@_password_option
@data_option
@json_option
@pass_installation
def password(installation: Installation, name: str, password_file: Path | None, json_wanted: bool) -> None:
    """Give a person another password. They are logged out everywhere."""
    from bongsu.console import operators

    hashed = _hashed(password_file)
    with installation.writing() as conn:
        operators.set_password(conn, name=name, password_hash=hashed, actor=actor(), now_ms=now_ms())
    output.done(f"{name} has a new password", {"name": name}, json_wanted=json_wanted)


@operator_.command()
@click.argument("name")
@data_option
@json_option
@pass_installation
def disable(installation: Installation, name: str, json_wanted: bool) -> None:
    """Shut a person out. They are logged out everywhere; what they did stays in the records."""
    _switch(installation, name, True, json_wanted)


@operator_.command()
@click.argument("name")
@data_option
@json_option
@pass_installation
def enable(installation: Installation, name: str, json_wanted: bool) -> None:
    """Let a person in again."""
    _switch(installation, name, False, json_wanted)


def _switch(installation: Installation, name: str, disabled: bool, json_wanted: bool) -> None:
    from bongsu.console import operators

    with installation.writing() as conn:
        operators.set_disabled(conn, name=name, disabled=disabled, actor=actor(), now_ms=now_ms())
    word = "disabled" if disabled else "enabled"
    output.done(f"{name} is {word}", {"name": name, "state": word}, json_wanted=json_wanted)


def _hashed(password_file: Path | None) -> str:
    """The hash of a new password: out of a file, or typed twice. Never from the command line, where others see it."""
    from bongsu.console import operators

    return operators.hash_password(operators.checked_password(_password(password_file)))


def _password(password_file: Path | None) -> str:
    if password_file is None:
        if not sys.stdin.isatty():
            raise BongsuError("there is nobody to ask for the password", "Name a file that holds it: --password-file.")
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return typed
    try:
        return (secret_file(password_file, "the password").decode().splitlines() or [""])[0]
    except UnicodeDecodeError:
        raise BongsuError(f"{password_file} is not UTF-8", "Save the file as UTF-8.") from None
