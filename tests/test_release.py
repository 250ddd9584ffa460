"""What a release states about itself, in one place or alike everywhere."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from packaging.requirements import Requirement
from packaging.version import Version

import mrcascade
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def test_the_version_has_one_place() -> None:
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    attribute = PROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert attribute == "mrcascade.__version__"
    source = (ROOT / "src/mrcascade/__init__.py").read_text()
    (stated,) = (
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    )
    assert ast.literal_eval(stated) == mrcascade.__version__  # setuptools reads it unimported
    assert str(Version(mrcascade.__version__)) == mrcascade.__version__


def test_other_files_state_that_version() -> None:
    (newest,) = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)[:1]
    assert newest.split()[0] == mrcascade.__version__
    citation = ROOT / "CITATION.cff"
    if citation.exists():
        text = citation.read_text()
        (cited,) = re.findall(r'^version: *"?([^"\s]+)"?$', text, re.MULTILINE)
        assert cited == mrcascade.__version__
        licences = re.findall(r'^license: *"?([^"\s]+)"?$', text, re.MULTILINE)
        assert licences == [PROJECT["project"]["license"]]


def test_the_changelog_is_grouped() -> None:
    groups = re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)
    assert groups == [g for g in ("Added", "Changed", "Fixed") if g in groups]
    for line in CHANGELOG.splitlines():
        assert not line or line.startswith(("# ", "## ", "### ", "- ", "All notable")), line
        assert len(line) <= 200, line


def test_every_import_is_a_dependency() -> None:
    """Of the package itself or of an extra; and each dependency is used."""
    homes = packages_distributions()
    imported = {
        name.lower().replace("_", "-")
        for root in _imported() - set(sys.stdlib_module_names) - {"mrcascade"}
        for name in homes.get(root, [root])
    }
    needed, optional = PROJECT["project"]["dependencies"], set()
    for texts in PROJECT["project"]["optional-dependencies"].values():
        optional |= set(map(_name, texts))
    needed = set(map(_name, needed))
    # huggingface-hub brings tqdm, and a benchmark compares with deepinv where it is installed.
    assert imported - needed - optional <= {"tqdm", "deepinv"}
    # Read by pydicom.
    assert needed - imported <= {"pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls"}


def _imported() -> set[str]:
    """Return the first parts of all names that the package imports."""
    roots = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                roots.add(node.module.split(".")[0])
    return roots


def _name(requirement: str) -> str:
    return Requirement(requirement).name.lower().replace("_", "-")
