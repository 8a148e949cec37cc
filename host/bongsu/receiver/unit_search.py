"""Finding a unit by what an installer knows of it: its address, its number as painted, its stall, or its name."""

from sqlalchemy import Connection

from bongsu.errors import UsageFault
from bongsu.receiver import fields, registry, shop_number
from bongsu.receiver.registry import RegistryError, Row

_LISTED = 10


def find_unit(conn: Connection, text: str, site_id: str | None = None) -> tuple[str, str]:
    """(site, unit) of the one unit that `text` names: "hannae/a-07", "a-07", "1-가" or a part of its name; of a site,
    or of all. A whole number or name goes before a part of one. Raises RegistryError, which lists the units if several
    fit, and UsageFault for a text that can name none.
    """
    wanted = text.strip()
    if not wanted:
        raise UsageFault("no unit is named", "Name it by its address, number or name: --unit hannae/a-07")
    if "/" in wanted and (whole := _address(wanted)) is not None:
        registry.require_unit(conn, *whole)
        return whole
    if site_id is not None:
        registry.require_site(conn, site_id)
    units = registry.list_units(conn, site_id)
    found = [u for u in units if _is_named(u, wanted)] or [u for u in units if _has(u, wanted)]
    if not found:
        where = f" of site {site_id}" if site_id is not None else ""
        raise RegistryError(f"no unit{where} is called {fields.shown(wanted)}", "See them: bongsu unit list")
    if len(found) > 1:
        shown = "; ".join(f"{u['unit']} {u['name']}" for u in found[:_LISTED])
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise RegistryError(
            f"{len(found)} units fit {fields.shown(wanted)}: {shown}{more}",
            f"Name one by its address: --unit {found[0]['unit']}",
        )
    site, _, unit = found[0]["unit"].partition("/")
    return site, unit


def _address(text: str) -> tuple[str, str] | None:
    """The address that it is, if it is one: a number may hold a stroke as well."""
    try:
        return fields.unit_address(text)
    except fields.FieldError:
        return None


def _is_named(unit: Row, wanted: str) -> bool:
    plain = wanted.casefold()
    return unit["unit"].partition("/")[2] in (plain, _number(wanted)) or plain in (
        unit["name"].casefold(),
        unit["stall"].casefold(),
    )


def _number(text: str) -> str:
    """The unit id that a painted number makes; "" if it makes none."""
    try:
        return shop_number.unit_id(text)
    except fields.FieldError:
        return ""


def _has(unit: Row, wanted: str) -> bool:
    plain = wanted.casefold()
    return any(plain in str(unit[field]).casefold() for field in ("unit", "name", "place"))
