"""`bongsu init`."""

import shlex
from pathlib import Path

import click

from bongsu.cli.context import Installation, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done

_path = click.Path(path_type=Path)


@click.command()
@data_option
@click.option(
    "--host", "hosts", multiple=True, help="A name or address under which nodes reach the broker (repeatable)."
)
@click.option("--database", help="An empty PostgreSQL database (postgresql+psycopg://USER@HOST/NAME) for the store.")
@click.option("--database-password-file", type=_path, help="A file with its user's password.")
@click.option("--join", "settings", type=_path, help="Make a further receiver: the receiver.toml of another one.")
@click.option("--master-key", type=_path, help="With --join: a copy of the other one's master.key.")
@click.option("--ca", type=_path, help="With --join: a folder with copies of its ca.crt and ca.key.")
@json_option
@pass_installation
def init(
    installation: Installation,
    hosts: tuple[str, ...],
    database: str | None,
    database_password_file: Path | None,
    settings: Path | None,
    master_key: Path | None,
    ca: Path | None,
    json_wanted: bool,
) -> None:
    """Make a data folder: CA and server certificate, master key, settings, database.

    Nothing is overwritten; after an error nothing is left. Keep a copy of master.key apart from the folder's backup:
    without it no node's key can be read.
    """
    folder = Path(installation.data).resolve()
    here = shlex.quote(str(installation.data))
    if settings is not None:
        missing = _join(installation.data, settings, master_key, ca, hosts, database)
        text = f"Made {folder}\n" + "".join(f"Copy into it: {name}\n" for name in missing)
        done(f"{text}Next: bongsu --data {here} receiver run", {"data": str(folder), "missing": missing},
             json_wanted=json_wanted)  # fmt: skip
        return
    if master_key is not None or ca is not None:
        raise click.UsageError("--master-key and --ca belong to --join")
    from bongsu.receiver.init_data import init_data

    init_data(
        installation.data, now_ms=now_ms(), hosts=hosts, store_url=database, store_password=database_password_file
    )
    text = f"Made {folder}\nNext: bongsu --data {here} site add ID --name NAME"
    done(text, {"data": str(folder)}, json_wanted=json_wanted)


def _join(
    data: Path, settings: Path, master_key: Path | None, ca: Path | None, hosts: tuple[str, ...], database: str | None
) -> list[str]:
    from bongsu.receiver.join import join

    if master_key is None or ca is None:
        raise click.UsageError("--join needs --master-key and --ca")
    if database is not None:
        raise click.UsageError("--join takes the database from the settings")
    return join(data, settings=settings, master_key=master_key, ca=ca, hosts=hosts, now_ms=now_ms())
