"""Which names a piece of Python binds, and where they are seen: what linking.py and shortnames.py go by."""

import ast
from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def scope(node: ast.AST) -> Iterator[ast.AST]:
    """What belongs to the scope of a module or class itself; of functions and classes in it the definition only."""
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            outside: list[ast.AST] = [*child.decorator_list]
            if isinstance(child, ast.ClassDef):
                outside += [*child.bases, *child.keywords]
            else:
                outside += defaults(child)
            for expression in outside:
                yield expression
                yield from scope(expression)
        elif isinstance(child, ast.Lambda):
            for expression in defaults(child):
                yield expression
                yield from scope(expression)
        else:
            yield from scope(child)


def defaults(function: Function) -> list[ast.expr]:
    return [*function.args.defaults, *(value for value in function.args.kw_defaults if value is not None)]


def bound_here(node: ast.AST) -> Iterator[str]:
    """Names that one node binds."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.alias(name=name, asname=other):
            yield other or name.split(".")[0]
        case ast.ExceptHandler(name=str(name)):
            yield name


def global_names(tree: ast.Module) -> Iterator[str]:
    """Names of the module's own namespace."""
    for node in scope(tree):
        yield from bound_here(node)
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from node.names


def local_names(tree: ast.Module) -> Iterator[str]:
    """Names that are bound anywhere but in the namespace of the module (or of a class), or not as names of it are."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            yield from (argument.arg for argument in arguments(node))
            declared = {n for g in ast.walk(node) if isinstance(g, ast.Global) for n in g.names}
            body = node.body if isinstance(node.body, list) else [node.body]
            for inner in (found for statement in body for found in ast.walk(statement)):
                yield from set(bound_here(inner)) - declared
        elif isinstance(node, _COMPREHENSIONS):
            for inner in ast.walk(node):
                yield from bound_here(inner)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name


def arguments(function: Function) -> Iterator[ast.arg]:
    a = function.args
    yield from (*a.posonlyargs, *a.args, *a.kwonlyargs)
    yield from (argument for argument in (a.vararg, a.kwarg) if argument is not None)


def outermost(node: ast.AST) -> Iterator[Function]:
    """The functions in `node` that are in no other one of it."""
    if isinstance(node, FUNCTIONS):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from outermost(child)
