"""The size report measures every module, and says no when the firmware outgrows its heap."""

import re

import pytest

from bongsu.install import bytecode
from bongsu.resources import resources
from tools import size_report

EMPTY = ("bongsu_node.sensing.at",)  # named numbers only, written out where they are used


def test_every_module_is_measured_and_the_whole_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert size_report.main(["--markdown"]) == 0
    text = capsys.readouterr().out
    firmware = resources().firmware
    for package in bytecode.PACKAGES:
        for path in (firmware / package).rglob("*.py"):
            name = bytecode.module_name(path.relative_to(firmware))
            assert name in EMPTY or re.search(rf"^(\| )?{re.escape(name)}(( \(.*\))? \||: linked into )", text, re.M), (
                name
            )
    total = re.search(r"\| total \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", text)
    assert total is not None
    flash, heap, esp32 = (int(n.replace(",", "")) for n in total.groups())
    assert 20_000 < flash < esp32 < heap


def test_over_budget_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert size_report.main(["--budget-kb", "10"]) == 1
    assert "over budget" in capsys.readouterr().err


def test_modules_come_after_what_they_import() -> None:
    firmware = resources().firmware
    files = (firmware / "bongsu_wire").rglob("*.py")
    modules = {bytecode.module_name(path.relative_to(firmware)): path.read_text() for path in files}
    order = size_report.in_import_order(modules)
    assert sorted(order) == sorted(modules)
    assert order.index("bongsu_wire") < order.index("bongsu_wire.ccm") < order.index("bongsu_wire.frame")


def test_drivers_that_the_default_settings_do_not_name_are_apart() -> None:
    rows = [size_report.Row("bongsu_node.sensing.watch", 100, 200)]
    rows += [
        size_report.Row("bongsu_node.sensing.sht4x", 300, 700, not size_report.is_optional("bongsu_node.sensing.sht4x"))
    ]
    lines = size_report.table(rows, markdown=True).splitlines()
    assert lines[-2:] == [
        "| total | 100 | 200 | 150 |",
        "| bongsu_node.sensing.sht4x (loaded only where fitted) | 300 | 700 | 500 |",
    ]
    for driver in size_report.DEFAULT_DRIVERS:
        assert not size_report.is_optional(f"{size_report.SENSING}.{driver}")
    assert not size_report.is_optional(size_report.SENSING)


def test_a_module_that_is_held_though_it_should_not_be_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_report, "GIVEN_BACK", (*size_report.GIVEN_BACK, "bongsu_node.link"))
    with pytest.raises(SystemExit, match=r"bongsu_node\.link"):
        size_report.report(resources().firmware)
