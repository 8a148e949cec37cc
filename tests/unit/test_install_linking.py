"""Modules linked into one do what they did apart, and a board finds in them every name that its firmware uses."""

import ast
import builtins
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bongsu.errors import BongsuError
from bongsu.install import bytecode, linking, scopes
from bongsu.resources import resources
from tests import mpy

FIRMWARE = resources().firmware

# Under the names of real modules, since it is they that are linked.
SOURCES = {
    "bongsu_wire": "",
    "bongsu_wire.kinds": """
import struct
LEVELS = [1, 2]
def name(code):
    return "kind%d" % code
def check(code):
    return code in LEVELS
""",
    "bongsu_wire.frame": """
import struct
from bongsu_wire import kinds
from bongsu_wire.kinds import LEVELS as known, name
count = 0
def check(code):
    global count
    count += 1
    return kinds.check(code) and struct.pack("<H", code) or name(code)
class Frame:
    check = 5
    doubled = check * 2
    def __init__(self, name, kinds=known):
        self.name = name
        self.kinds = [name for name in kinds]
    def look(self):
        return check(1), self.check, self.doubled, [kinds.name(k) for k in self.kinds], (lambda name: name)(7)
""",
    "bongsu_node": "",
    "bongsu_node.log": """
from bongsu_wire import frame, kinds
from bongsu_wire.frame import name as told
def make(name):
    def kinds():
        return name
    return frame.check(9), kinds(), told(3)
def later():
    from bongsu_wire import frame as other, kinds
    from bongsu_wire.frame import Frame as check, name
    return other.check(2), check("f").look(), kinds.name(6), name(8), other.count
def counted():
    from bongsu_wire import frame
    return frame.count
""",
    "bongsu_node.link": "",
    "bongsu_node.app": """
from bongsu_node import log
from bongsu_wire import frame, kinds
from bongsu_wire.frame import Frame
def result():
    class_of = {Frame: 1}
    return [log.make("m"), log.later(), Frame("x").look(), kinds.LEVELS, frame.known is kinds.LEVELS, log.counted()]
""",
}


def run(modules: dict[str, str], folder: Path) -> object:
    """What app.result() gives under the real interpreter."""
    packages = {name.rpartition(".")[0] for name in modules} | {"bongsu_wire", "bongsu_node", "bongsu_node.link"}
    for name, text in modules.items():
        inner = name.replace(".", "/") + ("/__init__.py" if name in packages else ".py")
        (folder / inner).parent.mkdir(parents=True, exist_ok=True)
        (folder / inner).write_text(text)
    program = "import json\nfrom bongsu_node import app\nprint(json.dumps(app.result()))\n"
    return json.loads(mpy.run(program, paths=[folder]))


def test_linking_changes_no_result(tmp_path: Path) -> None:
    linked = linking.linked(SOURCES)
    assert {"bongsu_wire", "bongsu_node", "bongsu_node.app"} <= linked.keys() and "bongsu_wire.frame" not in linked
    apart = run(SOURCES, tmp_path / "apart")
    assert run(linked, tmp_path / "linked") == apart
    assert apart[0] == ["kind9", "m", "kind3"] and apart[5] == 4  # type: ignore[index]


def test_imports_for_annotations_and_empty_modules_are_left_out() -> None:
    sources = {
        "bongsu_node": "",
        "bongsu_node.app": "import struct\nfrom bongsu_node import rare\ndef f(x: rare.X) -> struct.Y:\n    return x\n",
        "bongsu_node.rare": "class X:\n    pass\n",
        "bongsu_node.empty": "",
    }
    linked = linking.linked(sources)
    assert "import" not in linked["bongsu_node.app"]
    assert sorted(linked) == ["bongsu_node", "bongsu_node.app", "bongsu_node.rare"]


def test_a_linked_module_that_is_handed_around_is_an_error() -> None:
    user = "from bongsu_wire import kinds\ndef f():\n    return [kinds]\n"
    with pytest.raises(BongsuError, match="kinds is no module"):
        linking.linked({"bongsu_wire": "", "bongsu_wire.kinds": "def f():\n    pass\n", "bongsu_wire.frame": user})


def test_every_module_that_is_linked_exists() -> None:
    names = {bytecode.module_name(inner) for inner in bytecode.sources(FIRMWARE)}
    for host in linking.hosts():
        assert {host, *linking.members_of(host)} <= names


def test_a_board_has_every_name_that_its_firmware_uses() -> None:
    trees = {name: ast.parse(text) for name, text in bytecode.modules(FIRMWARE).items()}
    defined = {name: set(scopes.global_names(tree)) for name, tree in trees.items()}
    for module, tree in trees.items():
        seen = defined[module] | set(scopes.local_names(tree)) | set(dir(builtins))
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        assert used <= seen, module
        held = dict(_modules_held(tree, trees))
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom(module=str(source), names=names) if source in trees:
                    given = {alias.name for alias in names if f"{source}.{alias.name}" not in trees}
                    assert given <= defined[source], f"{module} from {source}"
                case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in held:
                    assert attribute in defined[held[name]], f"{module}: {name}.{attribute}"


def _modules_held(tree: ast.Module, modules: dict[str, ast.Module]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if f"{node.module}.{alias.name}" in modules:
                    yield alias.asname or alias.name, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in modules:
                    yield alias.asname or alias.name, alias.name
