"""Orders to a rig: each is answered, whatever it is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bongsu.errors import BongsuError
from bongsu.sim.rig.orders import Orders
from bongsu.sim.rig.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A blank board without power."""
    with Rig(tmp_path, mac="a0b1c2d3e4f5") as made:
        yield made


@pytest.fixture
def tell(rig: Rig) -> Any:
    """tell(line) -> what is answered."""
    orders = Orders(rig)
    return lambda line: json.loads(orders.obey(line if isinstance(line, str) else json.dumps(line)))


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("", "Expecting value"),
        ("[1]", "object"),
        ('{"explode": 1}', "no order 'explode'; there are air, cable, cut_after_writes"),
        ('{"power": "half"}', "'half' is none of on, off"),
        ('{"air": {"mood": 3}}', "the air has temp_c"),
        ('{"air": 3}', "argument"),
        ('{"press": 3}', "int"),
        ('{"cut_after_writes": 0}', "the first write is 1"),
        ('{"scenario": "/nowhere.csv"}', "cannot read /nowhere.csv"),
        ('{"sensor": {"lm75": "melted"}}', "lm75 has the faults nak"),
        ('{"sensor": {"mq2": "nak"}}', "the board has no mq2"),
        ('{"fault": {"fire": true}}', "no fault fire"),
        ('{"fault": {"bytes_per_s": 0}}', "above 0"),
        ('{"fault": {"drop_every": -1}}', "drop_every is a number, 0 or more"),
        ('{"networks": [["x"]]}', "unpack"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_rig_goes_on(tell: Any, line: str, part: str) -> None:
    assert part in tell(line)["error"]
    assert tell({"state": True})["mode"] == "off"


def test_orders_are_carried_out(rig: Rig, tell: Any) -> None:
    assert tell({"power": "on"}) == {"ok": True}
    assert tell({"state": True}) == {"ok": True, "mode": "blank", "boots": [], "crash": None, "pins": {}}
    assert tell({"reset": "download"}) == {"ok": True}
    assert rig.mode == "download"
    assert tell({"reset": "run", "state": True})["mode"] == "blank"
    assert tell({"power": "off", "reset": "run", "state": True})["mode"] == "off"
    assert tell({"cable": "plug", "state": True})["mode"] == "blank"
    assert tell({"cable": "pull", "state": True})["mode"] == "off"
    for order in (
        {"air": {"temp_c": 70, "smoke_od": 0.2}},
        {"networks": [["market", "secret12", -60], ["open", None, -70]]},
        {"wifi": "down"},
        {"wifi": "stuck"},
        {"press": [27, 100]},
        {"press": [None, 100]},
        {"cut_after_writes": 3},
        {"sensor": {"lm75": "nak"}},
        {"sensor": {"lm75": None}},
        {"fault": {"busy": True, "full": True, "bytes_per_s": 1000, "silent": True, "wrong_chip": "esp32s3"}},
        {"fault": {}},
    ):
        assert tell(order) == {"ok": True}


def test_a_scenario_may_be_told(tell: Any, tmp_path: Path) -> None:
    (tmp_path / "fire.csv").write_text("t_s,temp_c,smoke_od_per_m\n0,21,0\n5,70,0.2\n")
    assert tell({"scenario": str(tmp_path / "fire.csv")}) == {"ok": True}


def test_what_a_rig_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(BongsuError, match="no MAC"):
        Rig(tmp_path, mac="A0B1")
    with pytest.raises(BongsuError, match="no board 'toaster'"):
        Rig(tmp_path, mac="a0b1c2d3e4f5", board="toaster")
