"""`bongsu contact`."""

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, edited, given, show_list, show_one

_STILL = "The history still holds the person; to erase it: bongsu contact erase {}"


@click.group()
@data_option
def contact() -> None:
    """Owners and deputies: who is texted."""


@contact.command()
@click.argument("contact_id", metavar="ID")
@click.option("--name", required=True)
@click.option("--phone", "number", required=True, help="010-1234-5678 or +82 10 1234 5678.")
@click.option("--lang", type=click.Choice(["ko", "en"]), default="ko", show_default=True)
@click.option("--unit", "address", metavar="SITE/UNIT", help="Make the contact this unit's.")
@click.option("--role", type=click.Choice(["owner", "deputy"]), default="owner", show_default=True)
@data_option
@json_option
@pass_installation
def add(
    installation: Installation,
    contact_id: str,
    name: str,
    number: str,
    lang: str,
    address: str | None,
    role: str,
    json_wanted: bool,
) -> None:
    """Add a contact."""
    from bongsu.receiver import fields, registry

    unit = fields.unit_address(address) if address is not None else None
    with installation.writing() as conn:
        made = registry.add_contact(conn, contact_id=contact_id, name=name, number=number, lang=lang, now_ms=now_ms())
        if unit is not None:
            registry.assign_contact(conn, contact_id=made, site_id=unit[0], unit_id=unit[1], role=role)
    done(f"Added contact {made}", {"contact": made}, json_wanted=json_wanted)


@contact.command()
@click.argument("contact_id", metavar="ID")
@click.argument("address", metavar="SITE/UNIT")
@click.option("--role", type=click.Choice(["owner", "deputy"]), default="owner", show_default=True)
@data_option
@json_option
@pass_installation
def assign(installation: Installation, contact_id: str, address: str, role: str, json_wanted: bool) -> None:
    """Make a contact a unit's owner, or the next of its deputies."""
    from bongsu.receiver import fields, registry

    site_id, unit_id = fields.unit_address(address)
    with installation.writing() as conn:
        rank = registry.assign_contact(conn, contact_id=contact_id, site_id=site_id, unit_id=unit_id, role=role)
    row = {"contact": contact_id, "unit": f"{site_id}/{unit_id}", "role": role, "rank": rank}
    done(f"{contact_id} is now {role} of {site_id}/{unit_id}", row, json_wanted=json_wanted)


@contact.command()
@click.argument("contact_id", metavar="ID")
@click.argument("address", metavar="SITE/UNIT")
@click.option("--force", is_flag=True, help="Although nobody else is texted for the unit.")
@data_option
@json_option
@pass_installation
def unassign(installation: Installation, contact_id: str, address: str, force: bool, json_wanted: bool) -> None:
    """Take a contact off a unit."""
    from bongsu.receiver import fields, registry

    unit = fields.unit_address(address)
    with installation.writing() as conn:
        registry.unassign_contact(conn, contact_id, unit, force=force, actor=actor(), now_ms=now_ms())
    row = {"contact": contact_id, "unit": "/".join(unit)}
    done(f"{contact_id} is no longer called for {'/'.join(unit)}", row, json_wanted=json_wanted)


@contact.command()
@click.argument("contact_id", metavar="ID")
@click.option("--name")
@click.option("--phone", help="010-1234-5678 or +82 10 1234 5678.")
@click.option("--lang", type=click.Choice(["ko", "en"]))
@data_option
@json_option
@pass_installation
def edit(installation: Installation, /, contact_id: str, json_wanted: bool, **typed: str | None) -> None:
    """Change what is given of a contact, nothing else."""
    from bongsu.receiver import registry

    wanted = given(**typed)
    with installation.writing() as conn:
        changed = registry.edit_contact(conn, contact_id, wanted, actor=actor(), now_ms=now_ms())
    edited(f"contact {contact_id}", changed, json_wanted=json_wanted)


@contact.command()
@click.argument("contact_id", metavar="ID")
@click.option("--force", is_flag=True, help="Although a unit has nobody else, or the contact is on duty.")
@data_option
@json_option
@pass_installation
def remove(installation: Installation, contact_id: str, force: bool, json_wanted: bool) -> None:
    """Remove a contact. What incidents say of it stays."""
    from bongsu.receiver import registry

    with installation.writing() as conn:
        units = registry.remove_contact(conn, contact_id, force=force, actor=actor(), now_ms=now_ms())
    done(
        f"Removed contact {contact_id}. {_STILL.format(contact_id)}",
        {"contact": contact_id, "units": units},
        json_wanted=json_wanted,
    )


@contact.command()
@click.argument("source", metavar="FROM")
@click.argument("into", metavar="INTO")
@data_option
@json_option
@pass_installation
def merge(installation: Installation, source: str, into: str, json_wanted: bool) -> None:
    """One person was registered twice: units and duties of FROM go to INTO, and FROM is removed."""
    from bongsu.receiver import registry

    with installation.writing() as conn:
        units = registry.merge_contacts(conn, source, into, actor=actor(), now_ms=now_ms())
    done(
        f"Merged {source} into {into}. {_STILL.format(into)}",
        {"contact": into, "units": units},
        json_wanted=json_wanted,
    )


@contact.command("list")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, json_wanted: bool) -> None:
    """List contacts; phone numbers are masked."""
    from bongsu.receiver import registry

    with installation.reading() as conn:
        rows = registry.list_contacts(conn)
    show_list(rows, ["id", "name", "phone", "lang", "units"], json_wanted=json_wanted, empty="No contacts yet.")


@contact.command()
@click.argument("contact_id", metavar="ID")
@click.option("--unmask", is_flag=True, help="Show the whole phone number; this is written into the audit.")
@data_option
@json_option
@pass_installation
def show(installation: Installation, contact_id: str, unmask: bool, json_wanted: bool) -> None:
    """Show a contact."""
    from bongsu.receiver import registry

    with installation.reading() as conn:
        row = registry.show_contact(conn, contact_id)
    if unmask:
        with installation.writing() as conn:
            row["phone"] = registry.contact_phone(conn, contact_id, actor=actor(), now_ms=now_ms())
    show_one(row, json_wanted=json_wanted)


@contact.command()
@click.argument("contact_id", metavar="[ID]", default="")
@click.option("--phone", "number", help="This number, too; without ID: wherever the history holds it.")
@click.option("--force", is_flag=True, help="Also while an open incident has the person, or a unit has nobody else.")
@click.option("--compact", is_flag=True, help="Rewrite a SQLite database as well; alarms wait meanwhile.")
@data_option
@json_option
@pass_installation
def erase(
    installation: Installation, contact_id: str, number: str | None, force: bool, compact: bool, json_wanted: bool
) -> None:
    """Erase a person: every name and number that ID ever had goes everywhere, also from the history, which stays
    readable. ID may be of a contact that was removed or merged.

    Backups that were made before hold them still: remove those, too.
    """
    from bongsu.receiver import audit, erase, phone
    from bongsu.receiver.wake import notify

    if not contact_id and number is None:
        raise click.UsageError("Name the contact's ID, or a number by --phone.")
    stored = phone.normal(number) if number is not None else None

    key = audit.chain_key(installation.master())
    with installation.store() as store:
        made = erase.erase_contact(
            store,
            contact_id,
            key=key,
            actor=actor(),
            now_ms=now_ms(),
            force=force,
            told=lambda: notify(installation.data, "registry"),
            folder=installation.data,
            phone=stored,
        )
        if compact and store.is_sqlite:
            erase.compact(store)
            made.left = False
    whom = contact_id or "the number"
    gone = f"{made.rows} records, {made.units} units, {made.duties} duties"
    text = f"Erased {whom}: {gone}. Backups made before hold the person still."
    if made.left:
        text += (
            "\nThe number may still be in unused space of the database: bongsu contact erase --compact at a quiet time."
        )
    row = {
        "contact": contact_id or None,
        "records": made.rows,
        "units": made.units,
        "duties": made.duties,
        "left_in_unused_space": made.left,
    }
    done(text, row, json_wanted=json_wanted)
