"""Short names for what the firmware defines, since a name costs a board its length and an entry of a table.

MicroPython keeps each name once, whatever it stands for. So names that can never meet share one: `_0`, `_1`, ... A name
is renamed everywhere at once, and only where the whole firmware shows that nobody can tell:

- an attribute (field, method, definition of a module): two share a short name only if no class, taken with all that it
  inherits from and all that inherit from it, and no module has both. An attribute that is set from outside
  (`node.cause = 1`) may be on any object, and shares with none.
- a parameter: by its place, and only one that is never passed by keyword.
- never a name that MicroPython has itself (data/micropython_names.txt), a module, an exception (the log shows its
  class), a name that stands anywhere in a text, is a keyword of a call, or is used by main.py or boot.py.

What cannot be judged (a name bound in a way that is not foreseen here) stays as it is, or is a BongsuError. Tracebacks
of a board show short names; bytecode.compile_packages writes down what they stand for.
"""

import ast
import builtins
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bongsu.errors import BongsuError
from bongsu.install import scopes

_MICROPYTHON = Path(__file__).with_name("data") / "micropython_names.txt"
_PLACES = (
    36  # short names that parameters may take; definitions of modules take others, for both are seen in a function
)
_SHORT = re.compile(r"_[0-9][0-9a-z]*")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def short(number: int) -> str:
    """`_0`, `_1`, ... `_z`, `_10`, ..."""
    return "_" + (_DIGITS[number // 36] + _DIGITS[number % 36] if number >= 36 else _DIGITS[number])


def micropython_names() -> frozenset[str]:
    """Names of modules, functions and attributes of MicroPython 1.25 to 1.29 on an ESP32 and on unix."""
    return frozenset(_MICROPYTHON.read_text().split())


def shortened(modules: Mapping[str, str], programs: Iterable[str] = ()) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The sources `modules`, by dotted name, with short names, and what these stand for: originals by "module:short".
    `programs`: sources that use them and stay as they are. Raises BongsuError for what cannot be judged.
    """
    trees = {module: ast.parse(text) for module, text in modules.items()}
    names = _Shortener(trees, [ast.parse(text) for text in programs]).names
    return {module: ast.unparse(ast.fix_missing_locations(tree)) for module, tree in trees.items()}, names


class _Shortener:
    """Renames in place. `modules`: tree by dotted name; `programs`: what is not rewritten and uses them.

    names: originals, which never meet, by "module:short name". Raises BongsuError.
    """

    def __init__(self, modules: Mapping[str, ast.Module], programs: Iterable[ast.AST] = ()) -> None:
        self.names: dict[str, list[str]] = defaultdict(list)
        self._modules = modules
        for tree in modules.values():
            Bare().visit(tree)
        for module, tree in modules.items():
            for what in (*filter(_SHORT.fullmatch, _words(tree)), *_unclear(tree)):
                raise BongsuError(f"{module}: {what} does not go with short names", "write it in a plainer way")
        self._kept = set(micropython_names()) | set(dir(builtins)) | set(_exceptions(modules.values()))
        for name in modules:
            self._kept.update(name.split("."))
        for tree in modules.values():
            self._kept.update(_said(tree))
            foreign = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module not in modules]
            self._kept.update(alias.name for node in foreign for alias in node.names)
            bare = [n for n in ast.walk(tree) if isinstance(n, ast.Import)]
            self._kept.update(word for node in bare for alias in node.names for word in alias.name.split("."))
        for program in programs:
            self._kept.update(_words(program))
        for tree in modules.values():
            for function in scopes.outermost(tree):
                self._parameters(function, 0)
        chosen = self._choose()
        for module, tree in modules.items():
            self._rename(module, tree, chosen)

    # -- parameters

    def _parameters(self, function: scopes.Function, first: int) -> None:
        """Rename those of `function`, and of the functions within; `first`: how many are seen from around it."""
        places = [*function.args.posonlyargs, *function.args.args]
        if first + len(places) > _PLACES:
            raise BongsuError(f"a function with {len(places)} parameters is too much", "give it an object")
        body = function.body if isinstance(function.body, list) else [function.body]
        for place, argument in enumerate(places, first):
            name = argument.arg
            if name != "self" and name not in self._kept and not name.startswith("__") and _is_plain(body, name):
                argument.arg = short(place)
                for node in body:
                    _rename_local(node, name, short(place))
        for inner in (found for node in body for found in scopes.outermost(node)):
            self._parameters(inner, first + len(places))

    # -- attributes

    def _choose(self) -> dict[str, str]:
        """Short name by name, of all attributes that get one."""
        owners: dict[str, set[str]] = defaultdict(set)
        families = _families(self._modules.values())
        shown: set[str] = set()  # in a module, where parameters are seen too
        unclear: set[str] = set()
        for module, tree in self._modules.items():
            here = set(scopes.global_names(tree))
            shown |= here
            unclear |= here & set(scopes.local_names(tree))
            for name in here:
                owners[name].add(module)
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    for name in _members(node):
                        owners[name].add("class " + families[node.name])
            for name in _set_from_outside(tree):
                owners[name].add("")
        taken: dict[int, set[str]] = defaultdict(set)
        chosen = {}
        # Those with most owners first: they are the hardest to place.
        for name in sorted(owners, key=lambda name: ("" not in owners[name], -len(owners[name]), name)):
            if name in self._kept or name in unclear or name.startswith("__"):
                continue
            number = _PLACES if name in shown else 0
            while "" in taken[number] or ("" in owners[name] and taken[number]) or taken[number] & owners[name]:
                number += 1
            taken[number] |= owners[name]
            chosen[name] = short(number)
        return chosen

    def _rename(self, module: str, tree: ast.Module, chosen: Mapping[str, str]) -> None:
        here = set(scopes.global_names(tree))

        def new(name: str) -> str:
            if name in chosen and name not in self.names[f"{module}:{chosen[name]}"]:
                self.names[f"{module}:{chosen[name]}"].append(name)
            return chosen.get(name, name)

        outer = list(scopes.scope(tree))
        for node in outer:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                node.name = new(node.name)
            elif isinstance(node, ast.alias) and node.asname:
                node.asname = new(node.asname)
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom(module=str(source), names=imported) if source in self._modules:
                    _rename_imports([alias for alias in imported if alias not in outer], new, is_local=True)
                    _rename_imports([alias for alias in imported if alias in outer], new)
                case ast.ClassDef():
                    _rename_members(node, here, new)
                case _:
                    _rename_use(node, here, new)


class Bare(ast.NodeTransformer):
    """Takes out what MicroPython does not keep: annotations and docstrings."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if node.value is None:
            return ast.Pass()
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        if isinstance(node.value, ast.Constant):
            return ast.Pass()
        self.generic_visit(node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        node.returns = None
        self.generic_visit(node)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.stmt:
        node.returns = None
        self.generic_visit(node)
        return node


def _is_plain(body: Sequence[ast.AST], name: str) -> bool:
    """Whether `name`, a parameter, is bound in the function by nothing but assignments."""
    for node in (found for statement in body for found in ast.walk(statement)):
        if isinstance(node, ast.Global) and name in node.names:
            return False
        if not isinstance(node, ast.Name) and name in scopes.bound_here(node):
            return False
    return True


def _rename_local(node: ast.AST, name: str, new: str) -> None:
    """In everything that sees the parameter `name`."""
    if isinstance(node, scopes.FUNCTIONS) and name in [argument.arg for argument in scopes.arguments(node)]:
        for expression in scopes.defaults(node):
            _rename_local(expression, name, new)
        return
    if isinstance(node, ast.Name) and node.id == name:
        node.id = new
    elif isinstance(node, ast.Nonlocal):
        node.names = [new if other == name else other for other in node.names]
    for child in ast.iter_child_nodes(node):
        _rename_local(child, name, new)


def _classes(modules: Iterable[ast.Module]) -> dict[str, list[ast.ClassDef]]:
    """By name; those of one name count as one. Raises BongsuError for one within a function or class."""
    found: dict[str, list[ast.ClassDef]] = defaultdict(list)
    for tree in modules:
        outer = list(scopes.scope(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                if node not in outer:
                    raise BongsuError(f"class {node.name} cannot be judged", "define it in its module")
                found[node.name].append(node)
    return found


def _families(modules: Iterable[ast.Module]) -> dict[str, str]:
    """By class, one of those that it is related to: the same for all of them. "object": Python's own, exceptions.
    Raises BongsuError for a base that cannot be judged.
    """
    classes = _classes(modules)
    family = {name: name for name in (*classes, "object")}
    for name, base in ((name, base) for name, nodes in classes.items() for node in nodes for base in node.bases):
        word = ast.unparse(base).rpartition(".")[2]  # of one name there is but one family
        if word not in classes and not (isinstance(base, ast.Name) and hasattr(builtins, word)):
            raise BongsuError(f"class {name}: its base cannot be judged", "inherit by the class's own name")
        old, new = family[name], family[word if word in classes else "object"]
        family = {n: new if f == old else f for n, f in family.items()}
    return family


def _exceptions(modules: Iterable[ast.Module]) -> Iterator[str]:
    """Classes that inherit from one of Python's own."""
    families = _families(modules)
    yield from (name for name, family in families.items() if family == families["object"])


def _members(node: ast.ClassDef) -> Iterator[str]:
    """Attributes that the class and its methods give to it and its instances."""
    for inner in scopes.scope(node):
        yield from scopes.bound_here(inner)
    for inner in ast.walk(node):
        match inner:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store() | ast.Del()):
                yield name


def _set_from_outside(tree: ast.Module) -> Iterator[str]:
    """Attributes that are set on any object but `self`."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self")):
                pass
            case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
                yield name


_BY_NAME = ("getattr", "setattr", "hasattr", "delattr")
_ALL_NAMES = {"globals", "locals", "vars", "dir", "eval", "exec", "__dict__"}


def _unclear(tree: ast.Module) -> Iterator[str]:
    """What keeps names from being judged: `self` that is not a method's own object, names that are made up."""
    methods = {id(f) for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for f in c.body}
    for node in ast.walk(tree):
        if (
            isinstance(node, scopes.FUNCTIONS)
            and id(node) not in methods
            and "self" in [a.arg for a in scopes.arguments(node)]
        ):
            yield "self outside of a class"
        elif "self" in scopes.bound_here(node):
            yield "self that is bound anew"
        match node:
            case ast.Call(func=ast.Name(id=name), args=[of, attribute, *_]) if name in _BY_NAME:
                # Modules keep their names.
                if not isinstance(attribute, ast.Constant) and not ast.unparse(of).startswith("sys.modules["):
                    yield ast.unparse(node)
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in _ALL_NAMES:
                yield name


def _rename_members(node: ast.ClassDef, shown: set[str], new: Callable[[str], str]) -> None:
    """Names in the body of a class, but those that are its module's as well (they are renamed there)."""
    own = {name for inner in scopes.scope(node) for name in scopes.bound_here(inner)}
    for inner in list(scopes.scope(node)):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            inner.name = new(inner.name)
        elif isinstance(inner, ast.Name) and inner.id in own - shown:
            inner.id = new(inner.id)


def _rename_imports(aliases: list[ast.alias], new: Callable[[str], str], *, is_local: bool = False) -> None:
    for alias in aliases:
        if is_local and not alias.asname:
            alias.asname = alias.name  # in a function it costs nothing
        alias.name = new(alias.name)


def _rename_use(node: ast.AST, shown: set[str], new: Callable[[str], str]) -> None:
    """Where a name is used; `shown`: those of the module."""
    match node:
        case ast.Attribute():
            node.attr = new(node.attr)
        case ast.Name(id=name) if name in shown:
            node.id = new(name)
        case ast.Global():
            node.names = [new(name) for name in node.names]


def _said(tree: ast.AST) -> Iterator[str]:
    """Names that someone may go by: in texts, and as keywords."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)):
                yield from text.split(".")
            case ast.keyword(arg=str(name)):
                yield name
            case ast.arguments(kwonlyargs=arguments):
                yield from (argument.arg for argument in arguments)
            case ast.Try() if "AttributeError" in [word for h in node.handlers for word in _words(h)]:
                yield from (inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute))


def _words(tree: ast.AST) -> Iterator[str]:
    """Every name of a module, and every text."""
    yield from _said(tree)
    for node in ast.walk(tree):
        yield from scopes.bound_here(node)
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.arg(arg=name) | ast.alias(name=name):
                yield name
