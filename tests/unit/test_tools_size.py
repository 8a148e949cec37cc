"""The size report measures every module, and says no when the firmware outgrows its heap."""

import re

import pytest

from bongsu.install import bytecode
from bongsu.resources import resources
from tools import size_report


def test_every_module_is_measured_and_the_whole_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert size_report.main(["--markdown"]) == 0
    text = capsys.readouterr().out
    firmware = resources().firmware
    for package in bytecode.PACKAGES:
        for path in (firmware / package).rglob("*.py"):
            assert f"| {bytecode.module_name(path.relative_to(firmware))} |" in text
    total = re.search(r"\| total \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", text)
    assert total is not None
    flash, heap, esp32 = (int(n.replace(",", "")) for n in total.groups())
    assert 20_000 < flash < esp32 < heap


def test_over_budget_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert size_report.main(["--budget-kb", "10"]) == 1
    assert "over budget" in capsys.readouterr().err


def test_modules_come_after_what_they_import() -> None:
    firmware = resources().firmware
    modules = {bytecode.module_name(p.relative_to(firmware)): p for p in (firmware / "bongsu_wire").rglob("*.py")}
    order = size_report.in_import_order(modules)
    assert sorted(order) == sorted(modules)
    assert order.index("bongsu_wire") < order.index("bongsu_wire.ccm") < order.index("bongsu_wire.frame")
