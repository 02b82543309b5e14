"""One class per name: a reader who looks a name up finds one thing."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import sonic_ext

PACKAGE = Path(sonic_ext.__file__).parent


def test_every_class_has_a_name_of_its_own() -> None:
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(path.relative_to(PACKAGE).as_posix())
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}
