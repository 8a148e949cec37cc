"""Modules that a node always needs, linked into few: what a module costs beside its code is saved.

MicroPython keeps of each module its dotted name, the path of its file, a table of its names, and its places in
sys.modules and in its package: some 150 bytes of an ESP32's heap, and there are sixty. So on a board a package is one
file with all that is always there; what is loaded for the start only, or only where fitted, stays apart.

Within a linked module a name of one source that another source has too, or that is a local one anywhere, gets the
source's name behind it. What is imported only for annotations is not imported. Whatever cannot be judged is a
BongsuError.
"""

import ast
from collections.abc import Iterable, Mapping

from bongsu.errors import BongsuError
from bongsu.install import scopes
from bongsu.install.shortnames import Bare

# Module on the board: what is linked into it, each after those that it needs while it is loaded.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "bongsu_wire": ("kinds", "ccm", "frame", "payload", "measured", "topics"),
    "bongsu_node": ("flashfile", "log", "version", "settings", "board", "counters", "clock", "supervisor"),
    "bongsu_node.upkeep": ("faults", "health", "button", "commands"),
    "bongsu_node.sensing": (
        "stuck", "hold", "filters", "baseline", "channel", "probe", "judge", "history", "watch"
    ),
    "bongsu_node.alarm": ("state", "siren", "journal", "response"),
    "bongsu_node.link": ("backoff", "receipts", "minutes", "packets", "dial", "sendqueue", "mqtt", "bearers", "uplink"),
}  # fmt: skip
# Likewise, for modules that are no packages: dotted names.
MORE: Mapping[str, tuple[str, ...]] = {
    "bongsu_node.link": ("bongsu_node.centre",),
    "bongsu_node.start": (
        "bongsu_node.chip", "bongsu_node.provisioned", "bongsu_node.hardware", "bongsu_node.config",
        "bongsu_node.sensing.fit",
    ),
}  # fmt: skip

Source = tuple[str, str | None]  # module, name in it; None: the module itself


def members_of(host: str) -> tuple[str, ...]:
    """Dotted names of what is linked into the module `host`."""
    return (*(f"{host}.{short}" for short in GROUPS.get(host, ())), *MORE.get(host, ()))


def hosts() -> tuple[str, ...]:
    """Dotted names of the modules that others are linked into."""
    return tuple(dict.fromkeys((*GROUPS, *MORE)))


def linked(modules: Mapping[str, str]) -> dict[str, str]:
    """The sources `modules`, by dotted name, with those of GROUPS and MORE in one each; what is empty and of no use is
    left out. Raises BongsuError for what cannot be judged.
    """
    return _Linker({name: Bare().visit(ast.parse(text)) for name, text in modules.items()}).texts()


class _Linker:
    def __init__(self, trees: dict[str, ast.Module]) -> None:
        self._trees = trees
        self.members: dict[str, list[str]] = {}
        self._host: dict[str, str] = {}
        for host in hosts():
            self.members[host] = [name for name in (host, *members_of(host)) if name in trees]
        for name in trees:
            self._host[name] = next((host for host, members in self.members.items() if name in members), name)
        for name in {*self._host.values()} - {*self.members}:
            self.members[name] = [name]
        self.imports = {name: dict(self._imports(tree)) for name, tree in trees.items()}
        self._own: dict[str, dict[str, str]] = {}
        for host, members in self.members.items():
            if host in self._host.values():
                self._name(members)

    def texts(self) -> dict[str, str]:
        made = {host: _Merger(self, host).tree for host in dict.fromkeys(self._host.values())}
        used = {source for tree in made.values() for source in _imported(tree)}
        packages = {name.rpartition(".")[0] for name in made}
        return {
            host: ast.unparse(ast.fix_missing_locations(tree))
            for host, tree in made.items()
            if tree.body or host in used | packages
        }

    def host(self, module: str) -> str:
        return self._host.get(module, module)

    def tree(self, module: str) -> ast.Module:
        return self._trees[module]

    def source(self, module: str, name: str) -> Source:
        """What `from module import name` gives."""
        inner = f"{module}.{name}"
        return (inner, None) if inner in self._trees else (module, name)

    def where(self, module: str, name: str) -> tuple[str, str]:
        """The module on the board, and the name in it, of what is `name` in a source."""
        from_elsewhere = self.imports.get(module, {}).get(name)
        if from_elsewhere is not None and from_elsewhere[1] is not None and from_elsewhere[0] in self._trees:
            return self.where(from_elsewhere[0], from_elsewhere[1])
        return self.host(module), self._own.get(module, {}).get(name, name)

    def own(self, module: str) -> Mapping[str, str]:
        """The new name of each that a source defines."""
        return self._own[module]

    def local_names(self, host: str) -> set[str]:
        return {name for member in self.members[host] for name in scopes.local_names(self._trees[member])}

    def _imports(self, tree: ast.Module) -> Iterable[tuple[str, Source]]:
        """By name: what the module imports for good, under a name that means nothing else."""
        bound = list(scopes.global_names(tree))
        for node in tree.body:
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            for alias in node.names:
                name = alias.asname or alias.name
                if bound.count(name) == 1:
                    module = "" if isinstance(node, ast.Import) else node.module or ""
                    yield name, self.source(module, alias.name) if module else (alias.name, None)

    def _name(self, members: list[str]) -> None:
        taken = {name for member in members for name in scopes.local_names(self._trees[member])}
        for member in members:
            own = self._own[member] = {}
            for name in scopes.global_names(self._trees[member]):
                if name not in self.imports[member] and name not in own:
                    own[name] = name if len(members) == 1 else _free(name, member, taken)
                    taken.add(own[name])


def _free(name: str, module: str, taken: set[str]) -> str:
    """`name`, or one made of it that is not taken."""
    last = module.rpartition(".")[2]
    return next(new for new in (name, f"{name}_{last}", f"{name}_of_{last}") if new not in taken)


def _imported(tree: ast.Module) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class _Merger:
    """Makes one module of the board. tree: it."""

    def __init__(self, linker: _Linker, host: str) -> None:
        self._linker = linker
        self._host = host
        self._taken = linker.local_names(host)
        for member in linker.members[host]:
            self._taken |= set(linker.own(member).values())
        self._bound: dict[tuple[Source, str], str] = {}  # by what is imported and, of MicroPython's own, its name here
        self.tree = ast.Module([], [])
        bodies = [self._body(member) for member in linker.members[host]]
        self.tree.body = [*self._imports(), *(node for body in bodies for node in body)]

    def _body(self, member: str) -> list[ast.stmt]:
        tree = self._linker.tree(member)
        tree.body = [node for node in tree.body if not self._spent(node, member)]
        _Rewriter(self._linker, self, member).visit(tree)
        return tree.body

    def _spent(self, node: ast.stmt, member: str) -> bool:
        """True for what is nothing but imports, which are made anew, or for readers."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [a for a in node.names if (a.asname or a.name) not in self._linker.imports[member]]
            return not node.names
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return True
        return isinstance(node, ast.Pass)

    def _imports(self) -> Iterable[ast.stmt]:
        for ((module, name), _), bound in self._bound.items():
            package, _, last = (module, "", name) if name is not None else module.rpartition(".")
            if package:
                yield ast.ImportFrom(package, [ast.alias(last, None if bound == last else bound)], 0)
            else:
                yield ast.Import([ast.alias(module, None if bound == module else bound)])

    def bind(self, source: Source, wish: str) -> str:
        """The name under which the module has `source`, imported if it is not yet."""
        foreign = source[0] not in self._linker.members
        key = source, wish if foreign else ""
        if key not in self._bound:
            # What is hidden by a local name is so in the source too.
            taken = self._taken - self._linker.local_names(self._host) if foreign else self._taken
            self._bound[key] = _free(wish, source[0], taken)
            self._taken.add(self._bound[key])
        return self._bound[key]

    def attribute(self, module: str, name: str, wish: str) -> ast.expr:
        """What `wish.name` is in the linked module, `wish` being the source `module`."""
        host, new = self._linker.where(module, name)
        if host == self._host:
            return ast.Name(new, ast.Load())
        return ast.Attribute(ast.Name(self.bind((host, None), wish), ast.Load()), new, ast.Load())

    def global_name(self, member: str, name: str) -> str | None:
        """What the name `name` of a source is called here; None for one of Python's own."""
        own = self._linker.own(member)
        if name in own:
            return own[name]
        if name not in self._linker.imports[member]:
            return None
        module, inner = self._linker.imports[member][name]
        if inner is None:
            if self._linker.host(module) == self._host != module:
                raise BongsuError(f"{member}: {name} is no module on a board", "use its names only")
            return self.bind((self._linker.host(module), None), name)
        host, new = self._linker.where(module, inner)
        return new if host == self._host else self.bind((host, new), name)


class _Rewriter(ast.NodeTransformer):
    """Gives the names of one source their new names, in place."""

    def __init__(self, linker: _Linker, merger: _Merger, member: str) -> None:
        self._linker = linker
        self._merger = merger
        self._member = member
        self._shadows: list[tuple[bool, set[str]]] = []  # of a class; names bound there
        self._modules: dict[str, str] = {}  # of the function: name of a local import, source

    def _hidden(self, name: str) -> bool:
        return any(name in names for _, names in self._shadows)

    # -- scopes

    def _within(self, names: set[str], body: list[ast.stmt], *, of_class: bool = False) -> list[ast.stmt]:
        """The statements of a function or class that binds `names`."""
        outer, modules = self._shadows, dict(self._modules)
        if not of_class:  # a function does not see the names of the class around it
            self._shadows = [shadow for shadow in outer if not shadow[0]]
        self._shadows = [*self._shadows, (of_class, names)]
        made = []
        for node in body:
            new = self.visit(node)
            made += new if isinstance(new, list) else [new]
        self._shadows, self._modules = outer, modules
        return made

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self._each(node.decorator_list)
        self._defaults(node.args)
        if not self._shadows:
            node.name = self._linker.own(self._member)[node.name]
        declared = {name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names}
        names = {argument.arg for argument in scopes.arguments(node)}
        for statement in node.body:
            names.update(scopes.bound_here(statement))
            names.update(name for inner in scopes.scope(statement) for name in scopes.bound_here(inner))
        node.body = self._within(names - declared, node.body)
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self._defaults(node.args)
        names = {argument.arg for argument in scopes.arguments(node)}
        (holder,) = self._within(names, [ast.Expr(node.body)])
        assert isinstance(holder, ast.Expr)
        node.body = holder.value
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._each(node.decorator_list)
        self._each(node.bases)
        self._each(node.keywords)
        node.name = self._linker.own(self._member)[node.name]
        names = {name for inner in scopes.scope(node) for name in scopes.bound_here(inner)}
        node.body = self._within(names, node.body, of_class=True)
        return node

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> ast.AST:
        outer = self._shadows
        self._shadows = [*outer, (False, {name for part in ast.walk(node) for name in scopes.bound_here(part)})]
        self.generic_visit(node)
        self._shadows = outer
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _each(self, nodes: list[ast.expr] | list[ast.keyword]) -> None:
        nodes[:] = [self.visit(node) for node in nodes]

    def _defaults(self, arguments: ast.arguments) -> None:
        self._each(arguments.defaults)
        arguments.kw_defaults = [None if node is None else self.visit(node) for node in arguments.kw_defaults]

    # -- names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        new = None if self._hidden(node.id) else self._merger.global_name(self._member, node.id)
        return node if new is None else ast.Name(new, node.ctx)

    def visit_Global(self, node: ast.Global) -> ast.AST:
        node.names = [self._linker.own(self._member)[name] for name in node.names]
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name):
            name = node.value.id
            if name in self._modules:
                node.attr = self._linker.where(self._modules[name], node.attr)[1]
                return node
            module, inner = self._linker.imports[self._member].get(name, ("", ""))
            if inner is None and not self._hidden(name):
                return self._merger.attribute(module, node.attr, name)
        return self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> ast.AST:
        if not self._shadows:  # within a `try` of the module
            own = self._linker.own(self._member)
            node.asname = own.get(node.asname or node.name, node.asname)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.stmt]:
        if not self._shadows or node.module is None or not self._known(node):
            return self.generic_visit(node)
        return [self._local_import(node.module, alias) for alias in node.names]

    def _known(self, node: ast.ImportFrom) -> bool:
        return node.module is not None and self._linker.host(node.module) in self._linker.members

    def _local_import(self, module: str, alias: ast.alias) -> ast.stmt:
        bound = alias.asname or alias.name
        source, inner = self._linker.source(module, alias.name)
        if inner is not None:
            host, new = self._linker.where(source, inner)
            return ast.ImportFrom(host, [ast.alias(new, bound)], 0)
        self._modules[bound] = source
        package, _, last = self._linker.host(source).rpartition(".")
        return ast.ImportFrom(package, [ast.alias(last, bound)], 0) if package else ast.Import([ast.alias(last, bound)])
