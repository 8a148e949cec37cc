"""A node's profile: the file of profiles, what provisioning writes, and `bongsu node set`: refused before it is sent,
kept once the node has confirmed it, written down with who did it.
"""

import json
import time
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from bongsu.install import profiles
from bongsu.install.bundle import Bundle
from bongsu.install.profiles import ProfileError, ProfilesFault
from bongsu.receiver import detector, registry
from bongsu.receiver.store import schema
from bongsu_node import config
from bongsu_node.sensing import at, limits
from bongsu_wire import kinds, payload, topics
from tests.receiver_parts import SITE, Desk, add_unit, desk, node_id
from tests.registry_parts import bongsu, bongsu_process

TEXT = files("bongsu").joinpath(profiles.FILE).read_text(encoding="utf-8")


# ---- the file


def test_the_profiles_that_there_must_be() -> None:
    known = profiles.load_profiles()
    assert set(known) == {"market_dry", "market_kitchen", "home", "storage"}
    assert tuple(profiles.in_order(known["market_dry"].numbers)) == limits.DEFAULTS
    for one in known.values():
        assert set(one.title) == {"ko", "en"}
        assert limits.unpack(limits.pack(one.name, profiles.in_order(one.numbers)))[0] == one.name


@pytest.mark.parametrize(
    ("field", "new", "said"),
    [
        ("market_dry.detector.smoke_alarm_e4", None, "market_dry.detector.smoke_alarm_e4 is missing"),
        ("market_dry.detector.smok", 1, "market_dry.detector.smok is not known"),
        ("home.detector.smoke_alarm_e4", 6000, "home.detector.smoke_alarm_e4 must be a whole number from 50 to 2000"),
        ("home.detector.smoke_clear_e4", 1999, "home.detector.smoke_clear_e4 must be below smoke_alarm_e4"),
        ("home.detector.smoke_alarm_e4", "600", "home Expected `int`"),
        ("home.detector.smoke_alarm_e4", 0.6, "home Expected `int`"),
        ("home.title.ko", None, "home.title must have ko and en"),
        ("storage.note", 1, "storage Object contains unknown field `note`"),
        ("market_dry", None, "market_dry is missing"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(field: str, new: object, said: str) -> None:
    document = tomllib.loads(TEXT)
    *way, last = field.split(".")
    place = document
    for step in way:
        place = place[step]
    place.pop(last, None)
    if new is not None:
        place[last] = new
    with pytest.raises(ProfilesFault) as fault:
        profiles.read_profiles(_toml(document))
    assert profiles.FILE in fault.value.message and said in fault.value.message


def _toml(document: dict[str, Any], path: str = "") -> str:
    plain = "".join(f"{k} = {json.dumps(v)}\n" for k, v in document.items() if not isinstance(v, dict))
    head = f"[{path}]\n" if path else ""
    tables = [_toml(v, f"{path}.{k}" if path else k) for k, v in document.items() if isinstance(v, dict)]
    return head + plain + "".join(tables)


def test_a_file_that_is_no_toml_or_has_too_long_a_name() -> None:
    with pytest.raises(ProfilesFault, match="Invalid"):
        profiles.read_profiles("title = ")
    with pytest.raises(ProfilesFault, match="1 to 16 letters"):
        profiles.read_profiles(TEXT.replace("[storage", "[a_name_of_18_bytes"))


@given(st.sampled_from(limits.NAMES), st.integers(-1, 70_000))
def test_no_number_passes_that_a_node_would_refuse(name: str, value: int) -> None:
    raw = tomllib.loads(TEXT)["market_dry"]["detector"] | {name: value}
    try:
        profiles.profile("market_dry").with_changes({name: value})
        passes = True
    except ProfileError as err:
        assert err.message.startswith(tuple(f"{one}: " for one in limits.NAMES))
        passes = False
    assert passes == (not limits.problem([raw[one] for one in limits.NAMES]))


# ---- provisioning


def _provisioned(data: Path, out: Path, *more: str) -> dict[str, Any]:
    ran = bongsu(
        "--data",
        data,
        "node",
        "provision",
        node_id(0),
        "--out",
        out,
        "--broker-ip",
        "127.0.0.1",
        "--broker-port",
        1883,
        *more,
    )
    assert ran.code == 0, ran.err
    return Bundle.load(out).node_json


def test_provisioning_writes_it_and_keeps_it(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        first = _provisioned(d.data, tmp_path / "1")
        assert first["profile"] == "market_dry" and tuple(first["detector"][n] for n in limits.NAMES) == limits.DEFAULTS
        second = _provisioned(d.data, tmp_path / "2", "--profile", "market_kitchen")
        assert second["detector"] == profiles.profile("market_kitchen").numbers
        made = config.parse(second, second["node"])
        assert made.profile == "market_kitchen" and list(made.limits) == profiles.in_order(second["detector"])
        assert not made.errors
        with d.store.write() as conn:
            wanted = detector.wanted(detector.standing(conn, node_id(0)), None, {"smoke_alarm_e4": 1000})
            detector.keep(conn, node_id(0), wanted)
        third = _provisioned(d.data, tmp_path / "3")
        assert third["profile"] == "market_kitchen"
        assert third["detector"] == {**second["detector"], "smoke_alarm_e4": 1000}
        refused = bongsu("--data", d.data, "node", "provision", node_id(0), "--out", tmp_path / "4", "--profile", "x")
        assert refused.code == 2 and "market_kitchen" in refused.err and not (tmp_path / "4").exists()


def test_a_home_gets_the_profile_of_a_home(tmp_path: Path) -> None:
    with desk(tmp_path) as d, d.store.write() as conn:
        registry.edit_site(conn, SITE, {"kind": "homes"}, actor="t", now_ms=1)
        made = add_unit(conn, d.writer.books._master, d.data, 1, False, d.clock.now_ms())
        assert made.node_json["profile"] == "home"
        assert detector.standing(conn, node_id(0)).profile == "market_dry"  # it has been told before
        registry.assign_node(conn, node_id=node_id(1), unit=None)
        assert detector.standing(conn, node_id(1)).profile == "home"


# ---- telling a node


def _answer(d: Desk, result: int) -> payload.Command:
    """Node 0 answers the newest command; the command."""
    node = d.nodes[0]
    found = [node.open(data) for topic, data in d.edge.published if topic == topics.down(node.id)]
    header, plain = [one for one in found if one[0].kind == kinds.DOWN_COMMAND][-1]
    command = payload.decode_command(plain)
    answer = payload.Answer(header.counter, header.sender, command.code, result)
    d.arrive((node.id, node.seal(kinds.UP_ANSWER, payload.encode_answer(answer))))
    return command


def _heard(d: Desk) -> None:
    node = d.nodes[0]
    d.arrive((node.id, node.heartbeat(d.clock.now_ms())), topic=topics.up_beats(node.id))


def _row(d: Desk) -> Any:
    return d.rows(schema.node)[0]


def test_it_is_kept_once_the_node_has_confirmed_it(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        _heard(d)
        for result, kept in ((kinds.ANSWER_REFUSED, "market_dry"), (kinds.ANSWER_DONE, "home")):
            with d.store.write() as conn:
                wanted = detector.wanted(detector.standing(conn, node_id(0)), "home", {"co_small_dppm": 99})
                detector.place(conn, node_id(0), wanted, actor="kim", now_ms=d.clock.now_ms())
            _heard(d)
            assert _row(d).profile == "market_dry"
            command = _answer(d, result)
            assert _row(d).profile == kept
        name, values = limits.unpack(command.args)
        assert command.code == kinds.CMD_SET_PARAMETER and name == "home"
        assert values[at.CO_SMALL] == 99 and _row(d).detector == {"co_small_dppm": 99}
        assert len(command.args) <= payload.COMMAND_MAX_ARGS
        row = [r for r in d.rows(schema.audit) if r.action == "node.order"][-1]
        assert row.actor == "kim" and "profile: market_dry -> home" in row.detail
        assert "co_small_dppm: 600 -> 99" in row.detail
        with d.store.read() as conn:
            assert detector.standing(conn, node_id(0)) == wanted


def test_changes_add_up_and_a_named_profile_begins_anew() -> None:
    own = profiles.profile("home").numbers
    first = detector.Setting.of("home", {"smoke_alarm_e4": own["smoke_alarm_e4"] + 100})
    second = detector.wanted(first, None, {"smoke_clear_e4": own["smoke_clear_e4"] - 50})
    assert set(second.differing) == {"smoke_alarm_e4", "smoke_clear_e4"}
    assert set(detector.wanted(second, None, {"smoke_alarm_e4": own["smoke_alarm_e4"]}).differing) == {"smoke_clear_e4"}
    anew = detector.wanted(second, "home", {})
    assert anew.differing == {} and anew.numbers == own
    assert anew.said(second) == "; ".join(
        f"{name}: {second.numbers[name]} -> {own[name]}" for name in ("smoke_alarm_e4", "smoke_clear_e4")
    )
    assert first.said(first) == "as before"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("smoke_alarm_e4=6000", "smoke_alarm_e4: must be a whole number from 50 to 2000"),
        ("smoke_clear_e4=599 smoke_alarm_e4=599", "smoke_clear_e4: must be below smoke_alarm_e4"),
        ("smoke=5", "there is no number 'smoke'"),
        ("smoke_alarm_e4=6e2", "is not NAME=NUMBER"),
        ("smoke_alarm_e4=", "is not NAME=NUMBER"),
        ("smoke_alarm_e4", "is not NAME=NUMBER"),
        ("smoke_alarm_e4=500 smoke_alarm_e4=501", "is there twice"),
        ("--profile nowhere", "Known profiles: market_dry"),
        ("", "Name a profile"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(tmp_path: Path, words: str, said: str) -> None:
    with desk(tmp_path) as d:
        before = len(d.rows(schema.audit))
        ran = bongsu("--data", d.data, "node", "set", node_id(0), *words.split())
        assert ran.code == 2 and said in ran.err, ran.err
        assert not d.rows(schema.command) and len(d.rows(schema.audit)) == before


def _set(d: Desk, result: int | None, *words: str) -> tuple[int, str, str]:
    """The command as a process, beside a receiver whose node answers so."""
    process = bongsu_process("--data", d.data, "node", "set", node_id(0), *words)
    end_s = time.monotonic() + 60
    while process.poll() is None:
        assert time.monotonic() < end_s
        with d.store.read() as conn:
            c = schema.command.c
            waits = conn.execute(select(c.id).where(c.state == "pending")).first()
        if waits is not None and result is not None:
            _heard(d)
            _answer(d, result)
        time.sleep(0.02)
    out, err = process.communicate()
    return process.returncode, out, err


def test_the_command_waits_for_the_answer(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        code, out, err = _set(d, kinds.ANSWER_DONE, "--profile", "home", "smoke_alarm_e4=550", "--json")
        assert code == 0, err
        row = json.loads(out)
        assert (row["profile"], row["detector"], row["result"]) == ("home", {"smoke_alarm_e4": 550}, "done")
        shown = json.loads(bongsu("--data", d.data, "node", "show", node_id(0), "--json").out)
        assert shown["profile"] == "home" and shown["detector"] == {"smoke_alarm_e4": 550}
        assert "smoke_alarm_e4=550" in bongsu("--data", d.data, "node", "show", node_id(0)).out
        code, _, err = _set(d, kinds.ANSWER_REFUSED, "smoke_alarm_e4=530")
        assert code == 1 and "answers: refused" in err
        code, _, err = _set(d, None, "smoke_alarm_e4=530", "--wait", "0.2")
        assert code == 1 and "has not answered" in err
        assert _row(d).detector == {"smoke_alarm_e4": 550}


def test_a_node_without_a_key_cannot_be_told(tmp_path: Path) -> None:
    with desk(tmp_path) as d:
        assert bongsu("--data", d.data, "node", "add", "a0b1c2d3e4f5").code == 0
        ran = bongsu("--data", d.data, "node", "set", "a0b1c2d3e4f5", "--profile", "home")
        assert ran.code == 1 and "cannot be told anything" in ran.err
        assert bongsu("--data", d.data, "node", "set", "a0b1c2d3e4f6", "--profile", "home").code == 1
