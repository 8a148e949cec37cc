"""Shell completion: the script of each shell, and the names that the data folder knows."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bongsu.cli import device, known_names, main
from bongsu.cli.lazy import COMPLETE_ENV
from bongsu.install import ports
from bongsu.install.ports import Port
from tests.registry_parts import NODE, bongsu, fill, new_store
from tests.unit.test_cli_device import ALL, cli

pytestmark = pytest.mark.sqlite


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "m"
    monkeypatch.setenv("BONGSU_DATA", str(folder))
    assert bongsu("init").code == 0
    with new_store(folder) as store:
        fill(store)
    return folder


def _asked(*words: str) -> list[str]:
    """What a shell hears when the last word is not finished yet."""
    asked = {
        **os.environ, COMPLETE_ENV: "bash_complete", "COMP_WORDS": " ".join(("bongsu", *words)),
        "COMP_CWORD": str(len(words)),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['bongsu']; from bongsu.cli.main import main; main()"],
        env=asked, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    ran = bongsu("completion", shell)
    assert ran.code == 0 and COMPLETE_ENV in ran.out and "bongsu" in ran.out
    assert bongsu("completion", "tcsh").code == 2


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("device show a0", [NODE]),
        ("device label a0b1c2d3e4f5 a0", [NODE]),
        ("device replace A0B1", [NODE]),
        ("node move a0b1c2d3e4f5 hannae/a-0", ["hannae/a-07", "hannae/a-08"]),
        ("device set x --unit hannae/a-08", ["hannae/a-08"]),
        ("unit list --site h", ["hannae"]),
        ("exercise start h", ["hannae"]),
        ("node provision x --board esp32-devk", ["esp32-devkitc"]),
        ("device set x --profile market_k", ["market_kitchen"]),
        ("device rep", ["replace"]),
        ("complet", ["completion"]),
    ],
)
def test_names_of_the_data_folder(data: Path, words: str, found: list[str]) -> None:
    assert _asked(*words.split()) == found


def test_a_folder_that_is_named_on_the_line(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BONGSU_DATA", str(tmp_path / "none"))
    assert _asked("--data", str(data), "node", "show", "a") == [NODE]
    assert _asked("node", "show", "--data", str(data), "a") == [NODE]
    assert _asked("node", "show", "a") == []


def test_whatever_is_damaged_has_no_names(data: Path) -> None:
    (data / "bongsu.db").write_bytes(b"no database")
    assert known_names.names("node", data) == []
    (data / "receiver.toml").write_bytes(b"\xff")
    assert known_names.names("site", data) == []
    assert known_names.names("unit", data / "none") == []


def test_another_database_is_not_waited_for(data: Path) -> None:
    (data / "receiver.toml").write_text('[store]\nurl = "postgresql+psycopg://u@192.0.2.1/x"\n')
    assert known_names.names("node", data) == []


def test_a_retired_node_is_not_offered(data: Path) -> None:
    assert bongsu("node", "retire", NODE).code == 0
    assert known_names.names("node", data) == []


def test_ports_are_those_that_are_plugged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ports, "found", lambda: [Port("/dev/ttyUSB0", "CP2102")])
    assert known_names.names("port", tmp_path) == [("/dev/ttyUSB0", "CP2102")]


def test_no_parameter_that_names_something_is_forgotten() -> None:
    """What a parameter is about is told by its metavar or name: a new way to write one would be missed."""
    forgotten = []
    for words in ALL:
        context, command = click.Context(cli), cli
        for word in words:
            assert isinstance(command, click.Group)
            found = command.get_command(context, word)
            assert found is not None
            command = found
        for param in command.params:
            about = {param.name, *param.opts} & {"node_id", "node_ids", "old", "new", "--site", "--board", "--profile"}
            if about and known_names.kind_of(param) is None:
                forgotten.append((" ".join(words), param.name, param.metavar))
    assert not forgotten


def test_a_shell_waits_for_no_store_and_no_pictures() -> None:
    """All commands in one process: none of them loads at once what only some that run need."""
    modules = {where for commands in (main.COMMANDS, device.COMMANDS) for where, _, _ in commands.values()}
    code = f"import sys, {', '.join(sorted(modules))}\nprint({{'sqlalchemy', 'PIL', 'serial'}} & {{*sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
