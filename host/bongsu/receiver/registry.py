"""The registry: sites, units, contacts and nodes (responders.py, roster.py: who else is told). Plain functions over a
connection in a transaction of the caller; this is their one door, each kind of thing has a file of its own.

They check what they are given and raise FieldError or RegistryError; ids are slugs, a unit is addressed "site/unit", a
node by its MAC. Listing functions return dicts that can be shown as they are: phone numbers masked, no secrets. What
changes is noted (store/changes.py), and what is edited, removed or merged stands in the audit.
"""

from sqlalchemy import Connection

from bongsu.receiver.registry_base import NAME_MAX, PLACE_MAX, RegistryError, Row, audit
from bongsu.receiver.registry_nodes import (
    add_node,
    assign_node,
    edit_node,
    get_node,
    list_nodes,
    remove_node,
    replace_node,
    retire_node,
    show_node,
)
from bongsu.receiver.registry_people import (
    add_contact,
    assign_contact,
    contact_by_phone,
    contact_phone,
    edit_contact,
    list_contacts,
    merge_contacts,
    remove_contact,
    require_contact,
    show_contact,
    unassign_contact,
    unit_people,
)
from bongsu.receiver.registry_sites import add_site, edit_site, list_sites, remove_site, require_site
from bongsu.receiver.registry_units import (
    UNIT_FIELDS,
    add_unit,
    edit_units,
    list_units,
    merge_units,
    remove_unit,
    require_unit,
    show_unit,
    unit_exists,
)

__all__ = [
    "NAME_MAX",
    "PLACE_MAX",
    "UNIT_FIELDS",
    "RegistryError",
    "Row",
    "add_contact",
    "add_node",
    "add_site",
    "add_unit",
    "assign_contact",
    "assign_node",
    "audit",
    "contact_by_phone",
    "contact_phone",
    "edit_contact",
    "edit_node",
    "edit_site",
    "edit_units",
    "get_node",
    "list_contacts",
    "list_nodes",
    "list_sites",
    "list_units",
    "merge_contacts",
    "merge_units",
    "remove_contact",
    "remove_node",
    "remove_site",
    "remove_unit",
    "replace_node",
    "require_contact",
    "require_site",
    "require_unit",
    "retire_node",
    "show_contact",
    "show_node",
    "show_site",
    "show_unit",
    "unassign_contact",
    "unit_exists",
    "unit_people",
]


def show_site(conn: Connection, site_id: str) -> Row:
    """One site with its units."""
    require_site(conn, site_id)
    row = next(s for s in list_sites(conn) if s["id"] == site_id)
    return {**row, "units": list_units(conn, site_id)}
