"""A handler of ValueError lets MRCascadeError, which is one, reach the user with its own words."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "mrcascade"
# Functions of ours that raise no MRCascadeError.
SAFE = {
    "_csv_pairs",
    "_json_pairs",
    "_parsed",
    "_up_to",
    "as_matrix",
    "cascade_shape",
    "check_kernels",
    "minimum_size",
    "parse_json",
    "positive",
}


def caught(handler: ast.ExceptHandler) -> set[str]:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {kind.id for kind in kinds if isinstance(kind, ast.Name)}


def called(statements: list[ast.stmt]) -> set[str]:
    calls = (n.func for s in statements for n in ast.walk(s) if isinstance(n, ast.Call))
    return {f.id if isinstance(f, ast.Name) else getattr(f, "attr", "") for f in calls}


def swallowing(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree))
    own = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mrcascade"):
            own |= {alias.asname or alias.name for alias in node.names}
    found = []
    for node in nodes:
        for handler in node.handlers if isinstance(node, ast.Try) else []:
            kinds = caught(handler)
            if kinds & {"MRCascadeError", "UnusableFileError"}:
                break
            if "ValueError" in kinds and (risky := called(node.body) & own - SAFE):
                found.append(f"{path.relative_to(SOURCE)}:{handler.lineno} {sorted(risky)}")
    return found


def test_handlers_of_value_errors_let_ours_pass() -> None:
    assert not [line for path in sorted(SOURCE.rglob("*.py")) for line in swallowing(path)]


def test_a_handler_that_swallows_is_found(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(f"{__name__}.SOURCE", tmp_path)
    body = "def f():\n    try:\n        g()\n    {}except ValueError:\n        pass\ndef g(): ...\n"
    (tmp_path / "bad.py").write_text(body.format(""))
    (tmp_path / "good.py").write_text(body.format("except MRCascadeError:\n        raise\n    "))
    assert swallowing(tmp_path / "bad.py") == ["bad.py:4 ['g']"]
    assert not swallowing(tmp_path / "good.py")
