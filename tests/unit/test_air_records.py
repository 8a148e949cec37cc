"""What is kept of the air, for how long; exports; the command line."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bongsu.errors import BongsuError
from bongsu.receiver.air import export, shelf
from bongsu.receiver.config import RetentionConfig
from bongsu.receiver.retention import DAY_MS, Limits, Sweep
from bongsu.receiver.store import schema
from bongsu_wire import kinds
from tests.air_parts import GOOD, minutes, put
from tests.receiver_parts import SITE, Desk, desk
from tests.registry_parts import bongsu

T0_S = 1_800_000_000  # 2027-01-15 17:00 in Seoul
HOUR_S = 3600


def _sweep(d: Desk, now_ms: int, *, dry: bool = False) -> dict[str, int]:
    sweep = Sweep(Limits.of(RetentionConfig(), now_ms), d.writer.books.audit_key, dry=dry)
    with d.store.write() as conn:
        while not sweep.work(conn, 0.002):
            pass
    return dict(sweep.removed)


def _left(d: Desk, node: str) -> tuple[int, int, int]:
    with d.store.read() as conn:
        return (
            len(list(shelf.samples(conn, node, 0, 2**32))),
            len({hour for hour, _, _ in shelf.hours(conn, node, 0, 2**20)}),
            len({day for day, _, _ in shelf.days(conn, node, 0, 2**16)}),
        )


def test_readings_stay_a_week_hours_a_year_days_five(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        first, second = (node.id for node in d.nodes)
        put(d, first, T0_S + 60, 24 * 60, GOOD)  # one day, from 17:00 to 17:00
        put(d, second, T0_S + 60, 30, GOOD)
        whole = (24 * 60, 24, 2)
        assert _left(d, first) == whole

        def after(days: float) -> tuple[int, int, int]:
            _sweep(d, (T0_S * 1000) + round((1 + days) * DAY_MS))
            return _left(d, first)

        assert after(6) == whole
        assert after(6 + 3 / 24) == (24 * 60 - 3 * 60, 24, 2)  # the first three hours
        assert after(7.1) == (0, 24, 2)
        assert after(364) == (0, 24, 2)
        assert after(368) == (0, 0, 2)
        assert after(1824) == (0, 0, 2)
        assert _sweep(d, T0_S * 1000 + 1900 * DAY_MS, dry=True)["air_pack"] == 2
        assert after(1900) == (0, 0, 0)
        assert d.rows(schema.air_pack) == []


def test_a_late_reading_changes_its_hour_and_day(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        node = d.nodes[0].id
        put(d, node, T0_S + 60, 59, {kinds.Q_CO2_PPM: 500})
        put(d, node, T0_S + HOUR_S, 1, {kinds.Q_CO2_PPM: 6500}, step_s=60)
        with d.store.read() as conn:
            hours = [s for _, _, s in shelf.hours(conn, node, 0, 2**20)]
            days = [s for _, _, s in shelf.days(conn, node, 0, 2**16)]
        # The second one has the tag of the first of the others, in the same hour: it is a repeat.
        assert [s.n for s in hours] == [59] and hours == days


def _export(d: Desk, path: Path, kind: str, from_s: int, to_s: int) -> list[dict[str, str]]:
    with d.store.read() as conn:
        nodes = export.nodes_of(conn, SITE, None)
        export.write_csv(path, kind, export.all_rows(conn, nodes, kind, from_s * 1000, to_s * 1000))
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_an_export_says_what_was_measured(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        for i in (0, 1):
            put(d, d.nodes[i].id, T0_S + 60, 120, GOOD | {kinds.Q_TEMP_DK: 2732 - 53 + i})
        raw = _export(d, tmp_path / "raw.csv", "raw", T0_S, T0_S + 3 * HOUR_S)
        assert len(raw) == 240 and raw[0] == {
            **dict.fromkeys(export.header("raw"), ""),
            "time": "2027-01-15T17:01:00+09:00", "site": SITE, "unit": "u-0", "node": d.nodes[0].id,
            "interval [s]": "60", "pm25 [ug/m3]": "12.0", "co2 [ppm]": "600", "temperature [degC]": "-5.3",
            "humidity [%]": "50.0",
        }  # fmt: skip
        hours = _export(d, tmp_path / "hour.csv", "hour", T0_S, T0_S + 3 * HOUR_S)
        assert [(r["time"], r["unit"]) for r in hours] == [
            (f"2027-01-15T{h}:00:00+09:00", f"u-{i}") for i in (0, 1) for h in (17, 18)]  # fmt: skip
        assert (hours[0]["mean temperature [degC]"], hours[0]["covered_s temperature [s]"]) == ("-5.300", "3600")
        assert (hours[0]["min pm25 [ug/m3]"], hours[0]["max pm25 [ug/m3]"], hours[0]["count pm25"]) == (
            "12.0", "12.0", "60")  # fmt: skip
        days = _export(d, tmp_path / "day.csv", "day", T0_S - 17 * HOUR_S, T0_S + 7 * HOUR_S)
        assert [r["time"] for r in days] == ["2027-01-15T00:00:00+09:00"] * 2
        # [from, to): the reading that ends at `to` is the next export's, and none is in both or in neither.
        parts = [_export(d, tmp_path / f"{a}.csv", "raw", T0_S + a, T0_S + a + 600) for a in range(0, 3 * HOUR_S, 600)]
        key = [(r["unit"], r["time"]) for part in parts for r in part]
        assert sorted(key) == sorted((r["unit"], r["time"]) for r in raw)


def test_an_export_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> Any:
        yield ["x"]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        export.write_csv(tmp_path / "a.csv", "raw", broken())
    assert os.listdir(tmp_path) == []
    export.write_csv(tmp_path / "a.csv", "raw", iter([["x"]]))
    assert os.listdir(tmp_path) == ["a.csv"] and (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o600
    with pytest.raises(BongsuError, match="there already"):
        export.write_csv(tmp_path / "a.csv", "raw", iter([]))
    with pytest.raises(BongsuError, match="cannot write"):
        export.write_csv(tmp_path / "no" / "a.csv", "raw", iter([]))


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(tmp_path, units=2) as d:
        monkeypatch.setenv("BONGSU_DATA", str(d.data))
        minutes(d, 70, GOOD | {kinds.Q_CO2_PPM: 1800})
        monkeypatch.setattr("bongsu.cli.air.now_ms", d.clock.now_ms)
        found = json.loads(bongsu("air", "now", f"{SITE}/u-0", "--json").out)
        assert {r["quantity"]: r["level"] for r in found}["co2"] == "bad"
        assert json.loads(bongsu("air", "now", SITE, "--json").out) == found  # u-1 has measured nothing
        assert bongsu("air", "now", f"{SITE}/nowhere").code == 1
        (row,) = json.loads(bongsu("air", "advisories", "--json").out)
        assert (row["subject"], row["level"], row["average"], row["unit"]) == (f"unit:{SITE}/u-0", "bad", 1800.0, "ppm")
        text = bongsu("air", "advisories", "--site", SITE).out
        assert "co2" in text and "> 1000 ppm" in text
        out = tmp_path / "air.csv"
        args = ("air", "export", "--from", "2020-01-01", "--to", "2060-01-01", "--out", out)
        ran = bongsu(*args, "--unit", f"{SITE}/u-0", "--rollup", "raw")
        assert ran.code == 0 and f"Wrote {out}: 70 rows" in ran.out
        assert bongsu(*args).code == 1  # it is there already
        assert bongsu("air", "export", "--from", "1d", "--out", tmp_path / "air.txt").code == 2
        assert bongsu("air", "export", "--from", "2030-01-02", "--to", "2030-01-01", "--out", out).code == 2
        assert bongsu("air", "table", SITE, "mars").code in (1, 2) and bongsu("air", "table", SITE).code == 2
        assert json.loads(bongsu("air", "table", SITE, "who", "--json").out) == {
            "site": SITE, "table": "who", "advise_at": "bad"}  # fmt: skip


def test_the_tables_are_printed_with_their_sources() -> None:
    text = bongsu("air", "levels").out
    for word in ("korea", "who", "> 15 ug/m3", "> 35 mg/m3", "24h", "[1]", "Ministry of Environment", "1y"):
        assert word in text
    assert "korea" not in bongsu("air", "levels", "who").out
    assert bongsu("air", "levels", "mars").code == 2
    assert all(row["source"] for row in json.loads(bongsu("air", "levels", "--json").out))
