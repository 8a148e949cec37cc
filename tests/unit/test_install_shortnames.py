"""A board's short names change nothing that the firmware does, and nothing that anyone else calls by its name."""

import ast
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from bongsu.errors import BongsuError
from bongsu.install import bytecode, shortnames
from bongsu.resources import resources
from tests import mpy

FIRMWARE = resources().firmware
STUBS = Path(".venv/micropython-stubs")
# Of MicroPython's stubs, those of what the firmware is handed by the chip and the libraries that it uses.
STUBBED = (
    *("__builtins__", "binascii", "cryptolib", "errno", "esp32", "gc", "machine", "micropython", "network", "onewire"),
    *("select", "socket", "time", "tls", "stdlib/array", "stdlib/builtins", "stdlib/io", "stdlib/ssl", "stdlib/struct"),
)

BASE = '''
LATER = []
ONCE = {"open": 1}
def _twice(number, times=2):
    """Documented."""
    return number * times
class Failure(Exception):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
class Base:
    shared = 3
    kept: int
    def __init__(self, first, *, only=1) -> None:
        self._first: int = first
        self.only = only
        self.spare = None
    @property
    def both(self):
        """The sum."""
        return self._first + self.shared
    def step(self, number):
        return _twice(number) + self._later(number)
    def _later(self, amount):
        def inner(amount_of, more=amount):
            nonlocal amount
            amount += 1
            LATER.append(lambda key, size=more: (amount, key, size, amount_of))
            return [amount for amount in range(amount_of)]
        return len(inner(amount)) + amount
'''
USER = """
import base
from base import Base, Failure, LATER, _twice as doubled
class Derived(Base):
    spare_too = Base.shared + 1
    def __init__(self, first, second):
        super().__init__(first, only=second)
        self._second = second
        self._mine = self._first
    def _later(self, amount):
        return super()._later(amount) + self._second
def raised(number):
    try:
        raise Failure("why%d" % number)
    except Failure as number:
        return repr(number), number.why
class Other:
    def __init__(self, held):
        self.held = held
    def look(self):
        return [each.both for each in self.held if each.only]
def result():
    from base import ONCE
    d = Derived(4, 5)
    d.kept = 9
    other = Other([d, Base(first=2)])
    numbers = [d.step(3), d.both, d.kept, other.look(), doubled(7), getattr(d, "only"), d.spare_too, d._mine]
    return numbers, [call(1) for call in LATER], raised(8), ONCE, base._twice(2, times=8), dict(first=2)
"""


def run(modules: dict[str, str]) -> Any:
    """What user.result() returns under the real interpreter."""
    load = "import sys\nclass M:\n    pass\n"
    for name, text in modules.items():
        load += f"space = {{}}\nexec({text!r}, space)\nm = M()\nfor k in space:\n    setattr(m, k, space[k])\n"
        load += f"sys.modules[{name!r}] = m\n"
    return mpy.run(load + "print(sys.modules['user'].result())\n")


def test_short_names_change_no_result() -> None:
    sources = {"base": BASE, "user": USER}
    short, names = shortnames.shortened(sources, ["from user import result\nresult()\n"])
    assert run(short) == run(sources)
    for gone in ("_first", "_second", "both", "_mine", "shared", "LATER", "_twice", "amount_of", "held"):
        assert gone not in mentioned(short.values()), gone
    assert {"result", "Failure", "only", "times"} <= mentioned(short.values())
    assert ["_twice"] in names.values()


def mentioned(texts: Any) -> set[str]:
    return {word for text in texts for word in shortnames._words(ast.parse(text))}


@pytest.mark.parametrize(
    "source",
    [
        "def f(o, name):\n    return getattr(o, name)\n",
        "def f():\n    return globals()\n",
        "def f(self):\n    self.x = 1\n",
        "class C:\n    def f(self, other):\n        self = other\n",
        "import a\nclass C(a.B):\n    pass\n",
        "def f():\n    class C:\n        pass\n",
        "def f():\n    return _0\n",
    ],
)
def test_what_cannot_be_judged_is_an_error(source: str) -> None:
    with pytest.raises(BongsuError):
        shortnames.shortened({"a": source})


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("class C:\n    def f(self):\n        self.held = 1\n        return getattr(self, 'held', 0)\n", "held"),
        ("def f(first):\n    return first\ndef g():\n    return f(first=1)\n", "first"),
        ("def f(first):\n    return first\ndef g(**k):\n    return f(**k)\nV = {'first': 1}\n", "first"),
        ("def f(*, first):\n    return first\n", "first"),
        ("class Late(OSError):\n    pass\nclass Later(Late):\n    pass\n", "Later"),
        ("class C:\n    def f(self):\n        self.isconnected = 1\n", "isconnected"),
        ("def f(o):\n    try:\n        o.seen = 1\n    except (ValueError, AttributeError):\n        pass\n", "seen"),
        ("def used():\n    used_too = 1\n", "used"),
        ("from onewire import rarity\nrarity()\n", "rarity"),
        ("level = 1\ndef f():\n    level = 2\n    return level\n", "level"),
        ("def f(first):\n    try:\n        g()\n    except OSError as first:\n        pass\n", "first"),
    ],
)
def test_what_someone_else_may_name_stays(source: str, kept: str) -> None:
    short, _ = shortnames.shortened({"a": source}, ["import a\na.used()\n"])
    assert kept in mentioned(short.values())


def test_a_module_is_called_what_it_was_imported_as() -> None:
    short, _ = shortnames.shortened({"a": "import rarity\nHELD = rarity.level()\n"})
    assert "= rarity." in short["a"]


def firmware() -> tuple[dict[str, ast.Module], dict[str, ast.Module]]:
    modules = bytecode.modules(FIRMWARE)
    short, _ = shortnames.shortened(modules, [(FIRMWARE / "main.py").read_text()])
    bare = {name: shortnames.Bare().visit(ast.parse(text)) for name, text in modules.items()}
    return bare, {name: ast.parse(text) for name, text in short.items()}


def pairs(old: ast.AST, new: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    for before, after in zip(ast.walk(old), ast.walk(new), strict=True):
        assert type(before) is type(after)
        yield before, after


def attributes_of(old: ast.ClassDef, new: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """What the class and its methods define, before and after."""
    for before, after in pairs(old, new):
        match before, after:
            case ast.FunctionDef(name=was), ast.FunctionDef(name=now):
                yield was, now
            case ast.Attribute(value=ast.Name(id="self"), attr=was), ast.Attribute(attr=now):
                yield was, now


def test_a_name_is_renamed_everywhere_or_nowhere() -> None:
    now_by_was = defaultdict(set)
    old, new = firmware()
    for module in old:
        for before, after in pairs(old[module], new[module]):
            match before, after:
                case ast.Attribute(attr=was), ast.Attribute(attr=now):
                    now_by_was[was].add(now)
    assert len(now_by_was) > 300
    assert [was for was, now in now_by_was.items() if len(now) > 1] == []


def test_no_two_names_of_a_class_or_module_meet() -> None:
    old, new = firmware()
    members: dict[str, set[tuple[str, str]]] = defaultdict(set)
    bases: dict[str, list[str]] = {}
    for module in old:
        defined = []
        for before, after in zip(old[module].body, new[module].body, strict=True):
            match before, after:
                case ast.ClassDef(name=was), ast.ClassDef(name=now):
                    members[was] |= set(attributes_of(before, after))
                    bases[was] = [ast.unparse(base) for base in before.bases]
                    defined.append((was, now))
                case ast.FunctionDef(name=was), ast.FunctionDef(name=now):
                    defined.append((was, now))
        assert_apart(defined)
    for name in bases:
        family, todo = set[tuple[str, str]](), [name]
        while todo:
            related = todo.pop()
            family |= members[related]
            todo += bases.get(related, ())
        assert_apart(family)


def assert_apart(names: Collection[tuple[str, str]]) -> None:
    assert len({was for was, _ in names}) == len({now for _, now in names}) == len(set(names))


WALK = """
import sys
seen = set()
def walk(o, depth):
    for name in dir(o):
        print(name)
        try:
            inner = getattr(o, name)
        except Exception:
            continue
        if depth and id(inner) not in seen:
            seen.add(id(inner))
            walk(inner, depth - 1)
for name in %r:
    walk(__import__(name), 2)
for o in ("", b"", bytearray(), [], {}, (), set(), frozenset(), 1, 1.0, None, OSError(1), range(1), {}.keys()):
    walk(o, 1)
"""


def test_every_name_of_the_real_interpreter_is_known() -> None:
    modules = "array asyncio binascii cryptolib errno gc io json micropython os select socket ssl struct sys time"
    names = {n for n in mpy.run(WALK % (modules.split(),)).split() if n.isidentifier() and not n.startswith("_")}
    assert len(names) > 300
    assert not names - shortnames.micropython_names()


@pytest.mark.skipif(not STUBS.is_dir(), reason="the stubs of MicroPython are not installed")
def test_every_name_of_the_chip_is_known() -> None:
    names = set()
    files = [STUBS / f"{name}.pyi" for name in STUBBED]
    for path in [file for file in files if file.exists()] + list((STUBS / "stdlib" / "asyncio").rglob("*.pyi")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
    assert {"isconnected", "readfrom_mem_into", "get_blob", "open"} <= names
    assert not {name for name in names if not name.startswith("_")} - shortnames.micropython_names()


def test_what_short_names_stand_for_is_written_down(tmp_path: Path) -> None:
    bytecode.compile_packages(FIRMWARE, tmp_path)
    lines = (tmp_path / "names.txt").read_text().splitlines()
    assert any(line.startswith("bongsu_node.sensing:_") and "_fuse" in line.split()[1:] for line in lines)
    assert subprocess.run(["grep", "-rq", "_fuse", str(tmp_path / "bongsu_node")], check=False).returncode
