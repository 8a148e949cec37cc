"""Advisories: when air is bad for long enough people see it, nobody is dispatched; and a dangerous amount of CO, which
the node decides, is an incident as ever.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import update

from bongsu.receiver.air import present
from bongsu.receiver.air.advisories import list_advisories
from bongsu.receiver.store import schema
from bongsu_wire import kinds
from tests.air_parts import GOOD, minutes, put, reading
from tests.receiver_parts import SITE, Desk, desk

STUFFY = GOOD | {kinds.Q_CO2_PPM: 1800}


def _advisories(d: Desk, **which: bool) -> list[tuple[Any, ...]]:
    with d.store.read() as conn:
        rows = list_advisories(conn, **which)  # type: ignore[arg-type]
    return [(r["subject"], r["quantity"], r["level"], r["worst"], r["ending"]) for r in rows]


def test_bad_air_becomes_an_advisory_and_recovers(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        minutes(d, 45, STUFFY, nodes=(0, 1))
        assert _advisories(d) == []  # 45 minutes are 75 % of the hour; it has to last besides
        minutes(d, 20, STUFFY, nodes=(0, 1))
        assert _advisories(d) == [
            (f"unit:{SITE}/u-{i}", "co2", "bad", "bad", None) for i in (1, 0)]  # fmt: skip
        minutes(d, 60, GOOD | {kinds.Q_CO2_PPM: 3000})
        assert _advisories(d)[0][2:4] in (("bad", "bad"), ("very_bad", "very_bad"))
        assert ("unit:hannae/u-0", "co2", "very_bad", "very_bad", None) in _advisories(d)
        minutes(d, 100)
        assert ("unit:hannae/u-0", "co2", "bad", "very_bad", "recovered") in _advisories(d)
        assert _advisories(d, standing_only=True) == [("unit:hannae/u-1", "co2", "bad", "bad", None)]


def test_nobody_is_dispatched_and_nobody_texted(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        minutes(d, 80, GOOD | {kinds.Q_CO2_PPM: 9000, kinds.Q_PM25_DUG: 9000, kinds.Q_CO_DPPM: 600})
        assert {row[1] for row in _advisories(d)} == {"co2", "co"}
        assert d.rows(schema.delivery) == [] and d.jobs == [] and d.rows(schema.event) == []
        assert {row.class_ for row in d.rows(schema.incident)} <= {"fault"}  # it is silent: no heartbeats here


def test_what_stands_goes_on_after_a_restart(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        minutes(d, 70, STUFFY)
        (before,) = d.rows(schema.air_advisory)
        with d.store.write() as conn:
            d.writer.books.reload(conn)
        d.writer.books.air._judge.__init__(d.writer.books)  # type: ignore[misc]
        minutes(d, 20, STUFFY)
        assert d.rows(schema.air_advisory) == [before]
        minutes(d, 100)
        assert [row[4] for row in _advisories(d)] == ["recovered"]


def test_a_site_goes_by_its_table_and_from_its_level_on(tmp_path: Path) -> None:
    """PM2.5 of 40 ug/m3 for a day: bad in Korea, bad for WHO; told from very_bad on: nothing. CO2: WHO has no limit."""
    with desk(tmp_path) as d:
        with d.store.write() as conn:
            conn.execute(update(schema.site).values(air_table="who", air_advise_at="very_bad"))
        d.pass_time(1_000)
        now_s = d.clock.now_ms() // 1000
        put(d, d.nodes[0].id, now_s - 86_400, 1_430, GOOD | {kinds.Q_PM25_DUG: 400})
        minutes(d, 30, STUFFY | {kinds.Q_PM25_DUG: 400}, step=1)
        assert _advisories(d) == []
        with d.store.write() as conn:
            conn.execute(update(schema.site).values(air_advise_at="bad"))
        minutes(d, 30, STUFFY | {kinds.Q_PM25_DUG: 400}, step=1)
        assert _advisories(d) == [("unit:hannae/u-0", "pm25", "bad", "bad", None)]


def test_an_advisory_of_a_node_that_went_away_ends_after_a_day(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        minutes(d, 70, STUFFY)
        assert len(_advisories(d, standing_only=True)) == 1
        d.clock.advance(23 * 3_600_000)
        d.pass_time(120_000)
        assert len(_advisories(d, standing_only=True)) == 1
        d.clock.advance(3 * 3_600_000)
        d.pass_time(120_000)
        assert [row[4] for row in _advisories(d)] == ["no_data"]


def test_air_now(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        minutes(d, 50, STUFFY | {kinds.Q_CO_DPPM: 31})
        with d.store.read() as conn:
            rows = present.air_of_units(conn, SITE, present.units_of(conn, SITE), d.clock.now_ms())
        shown = {r["quantity"]: (r["unit"], r["now"], r["measure"], r["level"], r["averaging"]) for r in rows}
        assert shown == {
            "pm25": ("u-0", 12.0, "ug/m3", None, None),  # a day's mean needs 18 h
            "co2": ("u-0", 1800, "ppm", "bad", "1h"),
            "co": ("u-0", 3.1, "ppm", "moderate", "1h"),
            "temperature": ("u-0", 20.0, "degC", None, None),
            "humidity": ("u-0", 50.0, "%", None, None),
        }
        assert next(r["share"] for r in rows if r["quantity"] == "pm25") < 0.1


def test_a_co_alarm_of_a_node_is_an_incident_that_is_dispatched(tmp_path: Path) -> None:
    """Not an advisory: the node decides it (EN 50291), with CO in ppm."""
    with desk(tmp_path) as d:
        reading(d, 0, GOOD | {kinds.Q_CO_DPPM: 3120})
        d.event(0, 1, phenomena=kinds.CO, criterion=kinds.CRIT_CO, gas=312, temp_dk=2932, sustained_ms=60_000)
        (incident,) = d.rows(schema.incident)
        assert (incident.class_, incident.subject) == ("co_gas", "unit:hannae/u-0")
        bodies = {row.recipient: row.body for row in d.rows(schema.delivery)}
        told = bodies["responder:station-0"]
        assert told["type"] == "bongsu.co_gas.alarm" and told["data"]["phenomena"] == ["co"]
        assert {"name": "co", "value": 312.0, "unit": "ppm"} in told["data"]["values"]
        assert "일산화탄소 312ppm" in str(bodies["contact:owner-0"])
        d.pass_time(6_000)
        assert _advisories(d) == []
