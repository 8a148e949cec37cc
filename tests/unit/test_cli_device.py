"""`bongsu device`: lists, changes of nodes, and what every command of the groups for installers promises."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from sqlalchemy import Connection, select, update

from bongsu.cli.context import Installation
from bongsu.cli.main import COMMANDS, cli
from bongsu.install import ports
from bongsu.install.ports import Port
from bongsu.receiver import orders
from bongsu.receiver.store import schema
from bongsu_wire import kinds, payload
from tests.registry_parts import NODE, NOW_MS, bongsu, fill, new_store, on_this_engine, open_incident

NEW = "a0b1c2d3e4f6"
# The groups that are made for people on a ladder: an example in each help.
INSTALLERS = ("device", "board")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "m"
    monkeypatch.setenv("BONGSU_DATA", str(folder))
    assert bongsu("init", *on_this_engine(folder)).code == 0
    with new_store(folder) as store:
        fill(store)
    return folder


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> list[Port]:
    found = [
        Port("/dev/ttyUSB0", "CP2102 USB to UART", "10c4:ea60", "0001"),
        Port("/dev/ttyACM0", "USB JTAG/serial debug unit", "303a:1001", "A0:B1:C2:D3:E4:F5"),
    ]
    monkeypatch.setattr(ports, "found", lambda ids=None: found)
    return found


# ---- list and show


def test_the_list_names_ports_and_nodes(data: Path, plugged: list[Port]) -> None:
    beat = {"fw": 0x0001, "rssi_dbm": -61, "battery_mv": payload.U16_UNKNOWN}
    with new_store(data) as store, store.write() as conn:
        live = schema.node_live
        conn.execute(update(live).where(live.c.node_id == NODE).values(heartbeat=beat, last_seen_ms=1_772_000_000_000))
    ran = bongsu("device", "list", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    bridge, own = found["ports"]
    assert "esp32-devkitc" in bridge["boards"] and bridge["node"] is None
    assert "esp32-s3-devkitc-1" in own["boards"] and own["node"] == NODE
    (node,) = found["nodes"]
    assert (node["firmware"], node["rssi_dbm"], node["battery_mv"]) == ("0.1", -61, None)
    assert (node["node"], node["unit"], node["silent"]) == (NODE, "hannae/a-07", False)
    text = bongsu("device", "list").out
    assert "/dev/ttyACM0" in text and "2026-" in text and "hannae/a-07" in text


@pytest.mark.parametrize("words", [("device", "show"), ("node", "show")])
def test_a_node_is_shown_in_units_of_people_and_without_what_it_does_not_know(
    data: Path, words: tuple[str, str]
) -> None:
    told = payload.Heartbeat(temp_dk=2952, rssi_dbm=-61, fw=1, faults=1 << (kinds.FAULT_CLOCK - 1), reset_cause=3)
    beat = vars(told)
    with new_store(data) as store, store.write() as conn:
        live = schema.node_live
        conn.execute(update(live).where(live.c.node_id == NODE).values(heartbeat=beat))
    (line,) = [one for one in bongsu(*words, NODE).out.splitlines() if one.startswith("heartbeat")]
    for part in ("temp_c=22.", "rssi_dbm=-61", "firmware=0.1", "faults=clock", "last_reset=watchdog", "alarms=none"):
        assert part in line
    assert not [text for text in ("65535", "255", "4294967295", "humidity", "battery") if text in line]
    assert json.loads(bongsu(*words, NODE, "--json").out)["heartbeat"] == beat


def test_the_list_needs_no_data_folder_for_the_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugged: list[Port]
) -> None:
    monkeypatch.setenv("BONGSU_DATA", str(tmp_path / "none"))
    ran = bongsu("device", "list", "--json")
    assert ran.code == 0 and set(json.loads(ran.out)) == {"ports"}
    assert bongsu("device", "list", "--nodes").code == 1


def test_the_list_is_narrowed(data: Path, plugged: list[Port]) -> None:
    assert set(json.loads(bongsu("device", "list", "--ports", "--json").out)) == {"ports"}
    assert set(json.loads(bongsu("device", "list", "--site", "hannae", "--json").out)) == {"nodes"}
    assert bongsu("device", "list", "--site", "nowhere").code == 1


def test_a_node_is_shown_with_its_commissioning(data: Path) -> None:
    row = json.loads(bongsu("device", "show", NODE, "--json").out)
    assert row["unit"] == "hannae/a-07" and row["commissioned_ms"] is None


@pytest.mark.parametrize("words", ["", f"{NODE} --port /dev/ttyUSB9", f"{NODE} --ask", "xyz"])
def test_show_refuses_what_is_wrong_usage(data: Path, words: str) -> None:
    assert bongsu("device", "show", *words.split()).code == 2


# ---- changes


def test_set_moves_and_labels_a_node_or_changes_nothing(data: Path) -> None:
    ran = bongsu("device", "set", NODE, "--unit", "hannae/a-08", "--label", "over the door", "--json")
    assert ran.code == 0 and json.loads(ran.out)["changed"] == ["unit: hannae/a-08", "label: over the door"]
    # A profile needs a node with a key: the label is not changed either.
    assert bongsu("device", "set", NODE, "--label", "x", "--profile", "home").code == 1
    row = json.loads(bongsu("device", "show", NODE, "--json").out)
    assert (row["unit"], row["label"], row["profile"]) == ("hannae/a-08", "over the door", None)


def test_set_asks_the_node_for_its_profile(data: Path) -> None:
    with new_store(data) as store, store.write() as conn:
        conn.execute(update(schema.node).values(state="provisioned"))
    ran = bongsu("device", "set", NODE, "--profile", "home", "smoke_alarm_e4=550", "--wait", "0")
    assert ran.code == 0 and "profile: market_dry -> home" in ran.out and "asked for" in ran.out, ran.err
    with new_store(data) as store, store.read() as conn:
        assert [r.state for r in conn.execute(select(schema.command))] == ["pending"]
    ran = bongsu("device", "set", NODE, "--profile", "home", "--wait", "0.1")
    assert ran.code == 1 and "has not answered" in ran.err and "stands for 10 minutes" in ran.err


def test_an_order_that_went_out_and_was_lost_is_not_said_to_stand(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent once: to a node that was in its restart then."""

    def sent(conn: Connection, order_id: int) -> None:
        with new_store(data) as store, store.write() as writing:  # as the receiver does, beside the command that waits
            writing.execute(update(schema.command).values(state="sent"))

    with new_store(data) as store, store.write() as conn:
        conn.execute(update(schema.node).values(state="provisioned"))
    monkeypatch.setattr(orders, "answer_of", sent)
    ran = bongsu("node", "order", NODE, "identify", "--wait", "0.1")
    assert ran.code == 1 and "It was sent" in ran.err and "Try again" in ran.err and "stands" not in ran.err, ran.err


@pytest.mark.parametrize(
    "words", ["", "--profile nowhere", "smoke_alarm_e4=99999", "smoke_alarm_e4", "--unit nowhere", "--nothing x"]
)
def test_set_refuses_what_is_wrong_usage(data: Path, words: str) -> None:
    with new_store(data) as store, store.write() as conn:
        conn.execute(update(schema.node).values(state="provisioned"))
    ran = bongsu("device", "set", NODE, *words.split())
    assert ran.code == 2, ran.err
    with new_store(data) as store, store.read() as conn:
        assert not list(conn.execute(select(schema.command)))


def test_replace_says_what_comes_next(data: Path) -> None:
    with new_store(data) as store:
        number = open_incident(store)
    ran = bongsu("device", "replace", NODE, NEW)
    assert ran.code == 1 and f"bongsu incident close {number}" in ran.err
    assert bongsu("incident", "close", number, "--seen", 7, "--still-standing", "--disposition", "fire").code == 0
    ran = bongsu("device", "replace", NODE, NEW)
    assert ran.code == 0 and "bongsu device commission --unit hannae/a-07" in ran.out, ran.err
    rows = {row["node"]: row for row in json.loads(bongsu("device", "list", "--nodes", "--json").out)["nodes"]}
    assert (rows[NODE]["state"], rows[NEW]["unit"]) == ("retired", "hannae/a-07")
    assert bongsu("device", "replace", NODE, "nonsense").code == 2


def test_retire_is_that_of_the_registry(data: Path) -> None:
    ran = bongsu("device", "retire", NODE, "--yes", "--json")
    assert ran.code == 0 and json.loads(ran.out) == {"node": NODE, "open_incidents": []}
    assert bongsu("device", "retire", NODE, "--yes").code == 1


def test_nobody_retires_a_node_by_a_slip(data: Path) -> None:
    """It is final, so a script must say that it is meant."""
    ran = bongsu("device", "retire", NODE)
    assert ran.code == 2 and "--yes" in ran.err
    rows = {row["node"]: row for row in json.loads(bongsu("device", "list", "--nodes", "--json").out)["nodes"]}
    assert rows[NODE]["state"] != "retired"


def test_identify_asks_over_the_air(data: Path) -> None:
    assert bongsu("device", "identify", NODE).code == 1  # it has no key
    with new_store(data) as store, store.write() as conn:
        conn.execute(update(schema.node).values(state="provisioned"))
    never = bongsu("device", "identify", NODE)  # it does not wait
    assert never.code == 1 and "has never been heard" in never.err and "bongsu doctor" in never.err
    with new_store(data) as store, store.write() as conn:
        conn.execute(update(schema.node_live).values(last_seen_ms=1))
    heard = bongsu("device", "identify", NODE, "--wait", "0", "--json")
    assert heard.code == 0 and heard.err == ""
    with new_store(data) as store, store.write() as conn:
        conn.execute(update(schema.node_live).values(silent=True, last_seen_ms=NOW_MS))
    silent = bongsu("device", "identify", NODE, "--wait", "0")
    assert silent.code == 0 and "is silent, and was last seen at 2026-" in silent.err
    for words in ([], [NODE, "--port", "/dev/ttyUSB9"]):
        assert bongsu("device", "identify", *words).code == 2


# ---- what every command promises


def _leaves(command: click.Command, context: click.Context, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield words
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _leaves(below, click.Context(below, info_name=name, parent=context), (*words, name))


ALL = list(_leaves(cli, click.Context(cli, info_name="bongsu"), ()))


def _name(words: tuple[str, ...]) -> str:
    return " ".join(words)


@pytest.mark.parametrize("words", ALL, ids=_name)
def test_every_command_has_help_and_refuses_an_unknown_option_as_usage(words: tuple[str, ...]) -> None:
    ran = bongsu(*words, "--help")
    assert ran.code == 0 and f"Usage: bongsu {_name(words)}" in " ".join(ran.out.split()), ran.err
    if words[0] in INSTALLERS:
        example = ran.out.partition("Example")[2].partition("Options:")[0]
        assert f"  bongsu {_name(words)}" in example, "no example of the command itself in its help"
    assert bongsu(*words, "--no-such-option").code == 2


def _examples() -> Iterator[str]:
    """The lines of all helps that show a command as it is typed."""
    for words in ALL:
        for line in bongsu(*words, "--help").out.replace("\\\n", " ").splitlines():
            text = line.strip().partition("   (")[0].partition(" > ")[0].partition(" | ")[0]
            if text.startswith(f"bongsu {_name(words)}") and not text.startswith("Usage"):
                yield text


@pytest.mark.parametrize("line", list(_examples()))
def test_an_example_can_be_typed_as_it_stands(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words, options and values are taken; nothing is done."""
    monkeypatch.chdir(tmp_path)
    context, command = click.Context(cli, info_name="bongsu"), cli
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group) and words and (below := command.get_command(context, words[0])):
        context, command = click.Context(below, info_name=words.pop(0), parent=context), below
    for word in words:
        if word.endswith((".toml", ".csv", ".xlsx", ".bin", ".txt")):
            (tmp_path / word).touch()
    context.find_root().obj = Installation(tmp_path)
    command.make_context(context.info_name, words, parent=context.parent)


def test_the_walk_saw_every_group() -> None:
    assert {words[0] for words in ALL} >= set(COMMANDS) - {"board"}
    assert ("device", "logs") in ALL and ("unit", "bulk") in ALL


@pytest.mark.parametrize("group", sorted({words[:-1] for words in ALL} - {()}), ids=_name)
def test_the_help_of_a_group_lists_what_it_has(group: tuple[str, ...]) -> None:
    listed = bongsu(*group, "--help").out
    assert all(f"  {words[-1]} " in listed for words in ALL if words[:-1] == group)
    assert bongsu(*group, "no-such-command").code == 2
