"""Finds what our code uses of other libraries that they keep private: names that begin with one underscore."""

import ast
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PRIVATE = re.compile(r"_[^_]\w*(?<!_)")  # neither `__name__` nor `_target_`
# Documented, in spite of the underscore: NamedTuples, os._exit, sys._getframe.
PUBLIC = {"_asdict", "_fields", "_make", "_replace", "_exit", "_getframe"}
OURSELVES = ("self", "cls", "super()")


def is_private(name: str) -> bool:
    """Whether a library may move it without a word."""
    return bool(PRIVATE.fullmatch(name)) and name not in PUBLIC


def used_in(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Where each is used, by what the text of the files says: `library._module.name` if imported, else `._name`."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    defined: dict[str, int] = {}
    for tree in trees.values():
        for name in _defined(tree):
            defined[name] = defined.get(name, 0) + 1
    found: dict[str, list[str]] = {}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            for name in (*_imported(node), *_attributes(node, defined)):
                found.setdefault(name, []).append(f"{path.name}:{node.lineno}")
    return found


def _imported(node: ast.AST) -> Iterator[str]:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{name}" for name in names]
    for name in names:
        if not name.startswith("frontpage.") and any(map(is_private, name.split("."))):
            yield name


def _attributes(node: ast.AST, defined: dict[str, int]) -> Iterator[str]:
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr", "setattr", "delattr"):
        name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
        if is_private(str(name)) and name not in defined:
            yield f".{name}"
    if not isinstance(node, ast.Attribute) or not is_private(node.attr):
        return
    times, of = defined.get(node.attr, 0), ast.unparse(node.value)
    # What one class of ours alone defines, and asks `super()` for, is a method of the library's that it replaces.
    if times == 0 or (of == "super()" and times == 1) or (of not in OURSELVES and isinstance(node.ctx, ast.Store)):
        yield f".{node.attr}"


def _defined(tree: ast.AST) -> Iterator[str]:
    """What these lines give to classes and to `self`: methods, variables of a class, attributes."""
    for node in ast.walk(tree):
        for one in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield one.name
            elif isinstance(one, ast.Assign | ast.AnnAssign):
                targets = one.targets if isinstance(one, ast.Assign) else [one.target]
                yield from (target.id for target in targets if isinstance(target, ast.Name))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) in OURSELVES:
            yield node.attr


def taken_over_in(modules: Iterable[str]) -> dict[str, list[str]]:
    """Private names that our classes share with classes of libraries from which they are derived: `._name`."""
    found: dict[str, list[str]] = {}
    for module in map(importlib.import_module, modules):
        for kind in vars(module).values():
            if not isinstance(kind, type) or kind.__module__ != module.__name__:
                continue
            theirs = {name for base in kind.__mro__ if _is_foreign(base) for name in names_of(base)}
            for name in sorted(names_written_in(kind) & theirs):
                found.setdefault(f".{name}", []).append(f"{module.__name__}.{kind.__name__}")
    return found


def _is_foreign(kind: type) -> bool:
    return kind.__module__.split(".")[0] not in {"frontpage", *sys.stdlib_module_names}


@functools.cache
def names_of(kind: type) -> frozenset[str]:
    """The private names of a class: those it has, and those that its lines, or its bases', give to `self`."""
    written = (names_written_in(base) for base in kind.__mro__ if base.__module__ != "builtins")
    return frozenset({name for name in dir(kind) if is_private(name)}.union(*written))


@functools.cache
def names_written_in(kind: type) -> frozenset[str]:
    """The private names in a class's own lines: its methods and variables, and what it asks of or gives to `self`."""
    try:
        lines = inspect.getsource(kind)
    except (OSError, TypeError):  # it has none: written in C, or made as the program runs
        return frozenset()
    tree = ast.parse(inspect.cleandoc("if 1:\n" + lines) if lines[0].isspace() else lines)
    names = {name for name in _defined(tree) if is_private(name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in OURSELVES and is_private(node.attr):
            names.add(node.attr)
    return frozenset(names)
