"""The documentation: links of pages that a code host shows, sizes, names, generated pages."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import mrcascade
from mrcascade.prior.format import BUNDLED, PRIOR_FILE
from mrcascade.recipes.guidance import GUIDANCE
from mrcascade.recipes.options import flat
from mrcascade.storage.digest import file_sha256
from tests.conftest import ROOT

DOCS = ROOT / "docs"
#: Pages in the repository; those that a build of the site writes are checked by the build.
PAGES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *ROOT.glob("src/**/*.md"),
        *ROOT.glob("benchmarks/**/*.md"),
    )
    if not {"generated", "gallery"} & set(path.relative_to(ROOT).parts)
)
WRITTEN_BY_THE_BUILD = ("gallery/", "generated/")
_LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("evidence")


def prose(path: Path) -> str:
    """Return a page without its code."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts and MyST make them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path, base: Path) -> Iterator[str]:
    for link in _LINK.findall(prose(page)):
        name, _, anchor = link.partition("#")
        if link.startswith(("http://", "https://")) or WRITTEN_BY_THE_BUILD[0] in name:
            continue
        if WRITTEN_BY_THE_BUILD[1] in name:
            continue
        target = (base / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    base = page.parent
    if base.name == "cards":  # the text of a card, which lies beside the prior
        base = BUNDLED / page.stem
    elif base.name == "evidence" and base.parent.name == "benchmarks":
        base = DOCS / "evidence"
    assert not list(broken_links(page, base))


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](page.md#one-two) [b](#no) [c](gone.md) `[d](code.md)`\n")
    assert list(broken_links(page, tmp_path)) == ["#no", "gone.md"]


def test_pages_are_short() -> None:
    lengths = {page.name: len(page.read_text().splitlines()) for page in DOCS.rglob("*.md")}
    kept = {name: n for name, n in lengths.items() if name != "commands.md"}
    assert max(kept.values()) < 200
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_every_public_name_is_in_the_reference() -> None:
    page = (DOCS / "reference" / "api.md").read_text()
    shown = set(re.findall(r":: mrcascade\.(\w+)$", page, re.M)) | {"KERNELS", "RECIPES"}
    assert all(f"`{name}`" in page for name in ("KERNELS", "RECIPES"))
    assert shown == set(mrcascade.__all__) - {"__version__"}


def test_every_adapter_is_in_the_reference() -> None:
    page = (DOCS / "reference" / "api.md").read_text()
    shown = set(re.findall(r":: mrcascade\.adapters\.(\w+)\.(\w+)$", page, re.M))
    defined = set()
    for library in ("deepinv", "monai", "torchio"):
        code = (ROOT / "src" / "mrcascade" / "adapters" / f"{library}.py").read_text()
        for node in ast.parse(code).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                defined.add((library, node.name))
    assert defined <= shown
    assert len(defined) == 5


def test_evidence_is_what_its_files_say(evidence: ModuleType) -> None:
    written = {path.stem: path.read_text() for path in (DOCS / "evidence").glob("*.md")}
    assert written == evidence.render_all()


def test_evidence_is_of_the_shipped_prior() -> None:
    digest = file_sha256(BUNDLED / "mr-small" / PRIOR_FILE)
    data = DOCS / "evidence" / "data"
    tasks = json.loads((data / "in-plane.json").read_text())["tasks"]
    thick = json.loads((data / "isotropic.json").read_text())
    for document in (*tasks.values(), thick):
        assert document["methods"]["mean"]["prior_sha256"] == digest


def test_words_of_the_evidence_hold_no_figures(evidence: ModuleType) -> None:
    for path in evidence.TEMPLATES.glob("*.md"):
        words = re.sub(r"`[^`]*`|\(.*?\)", "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"\d\.\d|\d (?:dB|MiB)", words), path


def test_collecting_takes_only_known_data(evidence: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(mrcascade.MRCascadeError, match=r"'speeds': choose from benchmark, "):
        evidence.collect("speeds", tmp_path)
    with pytest.raises(mrcascade.MRCascadeError, match="no study, no evaluation and no JSON file"):
        evidence.collect("domain", tmp_path)


def test_citation_agrees_with_the_package_and_the_readme() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert (cited["cff-version"], cited["license"]) == ("1.2.0", "Apache-2.0")
    readme = (ROOT / "README.md").read_text()
    (paper,) = cited["references"]
    assert f"title   = {{{cited['title']}}}" in readme
    assert f"title  = {{{paper['title']}}}" in readme
    names = [f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]]
    assert f"author = {{{' and '.join(names)}}}" in readme
    assert f"version = {{{cited['version']}}}" in readme
    assert cited["version"] == mrcascade.__version__


@pytest.mark.parametrize("command", ["make demo", "make test", "make docs"])
def test_the_readme_names_the_commands(command: str) -> None:
    assert command in (ROOT / "README.md").read_text()
    target = command.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_the_page_of_modes_explains_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sphinx", reason="Sphinx is an extra of the documentation")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    page = list(importlib.import_module("reference_pages").modes_page())
    options = page[page.index("## Options") : page.index("## Defaults of each mode")]
    rows = [line.split(" | ") for line in options if line.startswith("| `")]
    assert {name.strip("| `") for name, *_ in rows} == {
        name for recipe in mrcascade.RECIPES.values() for name in flat(recipe.run)
    } | {name for guidance in GUIDANCE.values() for name in flat(guidance)}
    assert all(values and meaning.strip(" |") for _, values, meaning in rows)
