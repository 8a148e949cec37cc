"""What goes onto a board does what its sources do, and holds nothing that only their readers need."""

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bongsu.errors import BongsuError
from bongsu.install import bytecode
from bongsu.resources import resources
from tests import mpy

A, B = Path("bongsu_wire/a.py"), Path("bongsu_node/b.py")
FIRMWARE = resources().firmware

numbers = st.integers(-(2**33), 2**33).map(str)
sums = st.recursive(
    numbers | st.sampled_from(["ONE", "_TWO", "len(TEXT)"]),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from("+-*|&"), inner) | inner.map("-{}".format),
    max_leaves=6,
)


def run(modules: dict[Path, str]) -> Any:
    """What b.py calls `result`, its imports from a.py served from here."""
    a: dict[str, Any] = {}
    exec(modules[A], a)
    b: dict[str, Any] = {"a": type("a", (), a), **a}
    tree = ast.parse(modules[B])
    tree.body = [node for node in tree.body if not isinstance(node, ast.ImportFrom)]
    exec(compile(tree, "b", "exec"), b)
    return b["result"]()


@given(sums, sums, sums, st.text(max_size=12), st.sampled_from(["a.MORE", "MORE", "alias.MORE"]))
def test_written_out_constants_change_no_result(two: str, more: str, own: str, text: str, way: str) -> None:
    imports = {"a.MORE": "a", "MORE": "a, MORE", "alias.MORE": "a as alias"}[way]
    source = f"from bongsu_wire{'.a' if way == 'MORE' else ''} import {imports.removeprefix('a, ')}\n"
    first = f"TEXT = {text!r}\nONE = 1\n_TWO = 2\nLATER = {two}\nMORE = {more} - LATER\n"
    second = f"ONE = 5\nTEXT = {text!r}\n_TWO = 9\n_TEXT = {text!r}\ndef result(_X=ONE):\n"
    second += f"    return {way} + {own}, _TEXT, _X\n"
    before = {A: first, B: source + second}
    assert run({A: first, B: (source + second).replace("alias.", "a.")}) == run(
        {inner: reduced.replace("alias.", "a.") for inner, reduced in bytecode.reduced(before).items()}
    )


def test_a_name_that_is_bound_twice_stays() -> None:
    source = "LEVEL = 1\nSTEP = 2\ndef up():\n    global LEVEL\n    LEVEL += STEP\n    return LEVEL\n"
    (reduced,) = bytecode.reduced({B: source}).values()
    assert "LEVEL = 1" in reduced and "STEP" not in reduced


def test_a_use_that_cannot_be_found_is_an_error() -> None:
    user = "from bongsu_wire import a\ndef f(a):\n    return a.ONE\ndef g():\n    return a.ONE\n"
    with pytest.raises(BongsuError, match=r"a\.ONE"):
        bytecode.reduced({A: "ONE = 1\n", B: user})


def test_the_firmware_keeps_no_small_number_under_a_name() -> None:
    texts = {inner: (FIRMWARE / inner).read_text() for inner in bytecode.sources(FIRMWARE)}
    kept = []
    for inner, text in bytecode.reduced(texts).items():
        for node in ast.parse(text).body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=int() as value)):
                    kept += [f"{inner}: {name}"] if abs(value) < 2**30 else []
    assert not kept


def test_the_compiled_codec_seals_and_opens_as_its_source(tmp_path: Path) -> None:
    imports = "from bongsu_wire import frame, payload\nfrom bongsu_wire.ccm import CcmKey\n"
    linked = "import bongsu_wire as frame\nimport bongsu_wire as payload\nfrom bongsu_wire import CcmKey\n"
    program = """
import json
key = CcmKey(bytes(range(16)))
event = payload.Event(7, 1, 3, 5, age_ms=payload.AGE_UNKNOWN, sustained_ms=5000, temp_dk=3302)
up = frame.seal_up(key, 1, 2, bytes(6), 9, payload.encode_event(event))
back = payload.decode_event(frame.open_frame(key, frame.parse(up)))
beat = payload.encode_heartbeat(payload.Heartbeat(uptime_s=1 << 40, active=2, fw=258))
try:
    frame.parse(b"\\xff" + up[1:])
except frame.FrameError as e:
    why = e.reason
print(json.dumps([up.hex(), beat.hex(), back.kind, back.age_ms, why]))
"""
    sources, compiled = tmp_path / "sources", tmp_path / "compiled"
    shutil.copytree(FIRMWARE, sources)
    (sources / "main.py").write_text(linked + program)  # whose names stay
    bytecode.compile_packages(sources, compiled)
    assert not list(compiled.rglob("*.py"))
    assert json.loads(mpy.run(linked + program, paths=[compiled])) == json.loads(mpy.run(imports + program))


def test_the_codec_of_a_board_has_all_that_the_node_names_and_no_more() -> None:
    texts = {inner: (FIRMWARE / inner).read_text() for inner in bytecode.sources(FIRMWARE)}
    trees = {bytecode.module_name(i): ast.parse(t) for i, t in bytecode.reduced(texts).items()}
    defined = {name: set(_bindings(tree)) for name, tree in trees.items()}
    for name, tree in trees.items():
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bongsu"):
                for alias in node.names:
                    modules[alias.asname or alias.name] = defined.get(f"{node.module}.{alias.name}")
                    assert alias.name in defined[node.module or ""] or f"{node.module}.{alias.name}" in trees, name
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(value=ast.Name(id=module), attr=attribute) if modules.get(module) is not None:
                    assert attribute in (modules[module] or ()), f"{name}: {module}.{attribute}"
    assert "encode_heartbeat" in defined["bongsu_wire.payload"]
    assert not {"decode_heartbeat", "encode_receipt", "decode_answer"} & defined["bongsu_wire.payload"]
    assert "seal_down" not in defined["bongsu_wire.frame"]


def _bindings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.Name(id=name, ctx=ast.Store())
            ):
                yield name
            case ast.alias(name=name, asname=other):
                yield other or name


def test_what_is_used_by_what_is_left_out_goes_too() -> None:
    codec = "_SIZE = (1, 2)\ndef inner():\n    return inner\n"
    codec += "def outer():\n    return inner() + _SIZE[0]\ndef kept():\n    pass\n"
    reduced = bytecode.reduced({A: codec, B: "from bongsu_wire import a\na.kept()\n"})
    assert reduced[A].split() == ["def", "kept():", "pass"]
