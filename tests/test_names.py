"""Two public things never share a name, so that a name says which one is meant."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "mrcascade"
# The interface of a command's module.
INTERFACES = {"add_parser", "run"}


def test_public_names_have_no_twins() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                home = path.relative_to(SOURCE).as_posix()
                homes[node.name] += [home] * (home not in homes[node.name])  # overloads
    twins = {name: found for name, found in homes.items() if len(found) > 1}
    assert {n: twins[n] for n in twins.keys() - INTERFACES} == {}
