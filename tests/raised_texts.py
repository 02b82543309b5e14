"""The sentences of every error that the package raises, and of every warning, read off its source: as
templates, `{}` for what is filled in."""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sonic_ext import errors

PACKAGE = Path(errors.__file__).parent
FILLED = "{}"


@dataclass(frozen=True)
class Raised:
    """One sentence of one place."""

    where: str
    """`media/image.py:195`."""
    template: str
    """Literal braces are doubled; "" where the source does not tell it."""
    source: str
    """As it is written."""


class Module:
    """A source file, and what its names stand for."""

    def __init__(self, path: Path) -> None:
        self.name = path.relative_to(PACKAGE).as_posix()
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.constants: dict[str, ast.expr] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        self.inside: dict[ast.AST, ast.FunctionDef] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.constants[node.targets[0].id] = node.value
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef):
                self.functions[node.name] = node
                for child in ast.walk(node):
                    self.inside[child] = node  # the innermost comes last


@functools.cache
def modules() -> list[Module]:
    """Every source file of the package."""
    return [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]


OURS = {kind.__name__ for kind in errors.tree() if kind.__module__ == errors.__name__}
WARNING = (
    *("media/", "engines/", "settings.py", "pipeline.py", "hosts/devices.py", "provenance/labels.py"),
    "evaluation/measuring.py",
)
"""Where the warnings of a video come from."""
SENTENCE = re.compile(r"[A-Za-z]{2,}\W+([A-Za-z]{2,}\W+)*[A-Za-z]{2,}.*[.?]$", re.DOTALL)
KINDS = OURS | {"BadUsage", "_Misfit"}


@functools.cache
def constants() -> dict[str, tuple[Module, ast.expr]]:
    """Of all modules, by name."""
    return {name: (module, value) for module in modules() for name, value in module.constants.items()}


@functools.cache
def functions() -> dict[str, tuple[Module, ast.FunctionDef]]:
    """Of all modules, by name."""
    return {name: (module, made) for module in modules() for name, made in module.functions.items()}


def raised() -> Iterator[Raised]:
    """Message and hint of every call that makes an error, and the hints that classes have by default."""
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and node.name in KINDS:
                yield from _defaults(module, node)
            if isinstance(node, ast.Call) and _is_error(module, node):
                for part in _parts(module, node):
                    yield from _told(module, node, part)


def warned() -> Iterator[Raised]:
    """Every sentence in the modules that warn: no docstring, not raised, with a full stop."""
    for module in modules():
        if module.name.startswith(WARNING):
            passed = {id(part) for node in ast.walk(module.tree) for part in _unsaid(node)}
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in passed:
                    for text in dict.fromkeys(_templates(module, node, node)):
                        if SENTENCE.search(text):
                            yield Raised(f"{module.name}:{node.lineno}", text, ast.unparse(node))


def _unsaid(node: ast.AST) -> Iterator[ast.AST]:
    """Parts of a node that are no sentences: a docstring, what is raised, a piece of an f-string."""
    if isinstance(node, ast.Expr):
        yield node.value
    elif isinstance(node, ast.Raise):
        yield from ast.walk(node)
    elif isinstance(node, ast.JoinedStr):
        for piece in node.values:
            yield from ast.walk(piece)


def _is_error(module: Module, call: ast.Call) -> bool:
    if getattr(call.func, "id", getattr(call.func, "attr", "")) in KINDS:
        return True
    # a class that was handed over: `problem(f"…", "…")`
    handed = isinstance(call.func, ast.Name) and call.func.id in ("problem", "error", "kind")
    return handed and len(call.args) == 2 and bool(list(_templates(module, call, call.args[0])))


def _defaults(module: Module, node: ast.ClassDef) -> Iterator[Raised]:
    for statement in node.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "default_hint":
            yield from _told(module, statement, statement.value)
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            for value in statement.args.defaults:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield from _told(module, statement, value)


def _parts(module: Module, call: ast.Call) -> Iterator[ast.expr]:
    for arg in call.args:
        if isinstance(arg, ast.Starred) and isinstance(arg.value, ast.Call):
            yield from _returned_parts(module, arg.value)
        else:
            yield arg
    yield from (each.value for each in call.keywords if each.arg in ("message", "hint"))


def _returned_parts(module: Module, call: ast.Call) -> Iterator[ast.expr]:
    """Message and hint of a function that returns both, or what another one does."""
    for where, value in _returned(module, call):
        if isinstance(value, ast.Call):
            yield from _returned_parts(where, value)
        else:
            yield from value.elts if isinstance(value, ast.Tuple) else [value]


def _told(module: Module, node: ast.AST, part: ast.expr) -> Iterator[Raised]:
    where = f"{module.name}:{getattr(node, 'lineno', 0)}"
    found = [text for text in _templates(module, node, part) if text.strip()]
    empty = isinstance(part, ast.Constant) and part.value in ("", None)
    if not found and not empty:
        yield Raised(where, "", ast.unparse(part))
    for text in dict.fromkeys(found):
        yield Raised(where, text, ast.unparse(part))


def _templates(module: Module, near: ast.AST, part: ast.AST, depth: int = 0) -> Iterator[str]:
    """What a text may be; nothing where that is not in the source."""
    if depth > 5:
        return
    if isinstance(part, ast.Constant) and isinstance(part.value, str):
        yield part.value.replace("{", "{{").replace("}", "}}")
    elif isinstance(part, ast.JoinedStr):
        pieces = [_piece(module, near, piece, depth) for piece in part.values]
        yield from ("".join(chosen) for chosen in itertools.product(*pieces))
    elif isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add):
        sides = [list(_templates(module, near, side, depth)) or [FILLED] for side in (part.left, part.right)]
        yield from ("".join(chosen) for chosen in itertools.product(*sides))
    elif isinstance(part, ast.IfExp):
        yield from _templates(module, near, part.body, depth)
        yield from _templates(module, near, part.orelse, depth)
    elif isinstance(part, ast.Name):
        for where, value in _meant(module, near, part.id):
            yield from _templates(where, value if where is not module else near, value, depth + 1)
    elif isinstance(part, ast.Call):
        for where, value in _returned(module, part):
            yield from _templates(where, value, value, depth + 1)


def _piece(module: Module, near: ast.AST, piece: ast.expr, depth: int) -> list[str]:
    """A part of an f-string: what a local name may be where the source says so, else `{}`."""
    if isinstance(piece, ast.Constant):
        return list(_templates(module, near, piece))
    value = piece.value if isinstance(piece, ast.FormattedValue) else piece
    if isinstance(value, ast.IfExp) or (isinstance(value, ast.Name) and value.id not in module.constants):
        options = list(_templates(module, near, value, depth + 1))
        if options and all(option != FILLED for option in options):
            return options
    return [FILLED]


def _meant(module: Module, near: ast.AST, name: str) -> Iterator[tuple[Module, ast.expr]]:
    """What is assigned to a name: in the function around, in the module, else under that name anywhere."""
    function = module.inside.get(near)
    local = []
    for node in ast.walk(function) if function else ():
        if isinstance(node, ast.Assign):
            for target in node.targets:
                local += _assigned(target, node.value, name)
    if local:
        yield from ((module, value) for value in local)
    elif name in module.constants:
        yield module, module.constants[name]
    elif name in constants() and name.strip("_").isupper():
        yield constants()[name]


def _assigned(target: ast.expr, value: ast.expr, name: str) -> list[ast.expr]:
    if isinstance(target, ast.Name):
        return [value] if target.id == name else []
    if isinstance(target, ast.Tuple):
        places = [place for place, each in enumerate(target.elts) if getattr(each, "id", "") == name]
        choices = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
        return [
            choice.elts[place]
            for place in places
            for choice in choices
            if isinstance(choice, ast.Tuple) and len(choice.elts) == len(target.elts)
        ]
    return []


def _returned(module: Module, call: ast.Call) -> Iterator[tuple[Module, ast.expr]]:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    found = (module, module.functions[name]) if name in module.functions else functions().get(name)
    if found is None or (isinstance(call.func, ast.Attribute) and not name.startswith("_")):
        return
    where, function = found
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            yield where, node.value
