"""Recipes of the images: pinned versions are declared and tested ones; both start the BIDS App."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version

from packaging.requirements import Requirement
from packaging.version import Version

from mrcascade.cli import build_parser
from tests.conftest import ROOT

FOLDER = ROOT / "containers"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
DEFINITION = (FOLDER / "mrcascade.def").read_text()


def test_pinned_versions_are_allowed_and_complete() -> None:
    lines = (FOLDER / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"]:
        needed = Requirement(text)
        assert needed.specifier.contains(pinned[needed.name.lower()]), text
    assert Version(pinned["torch"]).release[:2] == Version(version("torch")).release[:2]


def test_both_recipes_agree() -> None:
    bases = re.findall(r"^From:? (\S+)", DOCKERFILE + DEFINITION, re.MULTILINE | re.IGNORECASE)
    assert len(bases) == 3
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0])
    index = re.findall(r"torch_index=(https\S+cpu)$", DOCKERFILE + DEFINITION, re.M | re.I)
    assert len(index) == 2
    assert len(set(index)) == 1
    copied = re.findall(r"^    (\S+) /source/\1$", DEFINITION, re.MULTILINE)
    assert all((ROOT / path).exists() for path in copied)
    kept = re.findall(r"^!(\S+)", (FOLDER / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert sorted(kept) == sorted(copied)
    for path in copied:
        assert re.search(rf"^COPY .*{re.escape(path)}\b.* /source/", DOCKERFILE, re.MULTILINE), path


def test_they_start_the_bids_app() -> None:
    assert 'ENTRYPOINT ["mrcascade", "bids-app"]' in DOCKERFILE
    assert 'exec mrcascade bids-app "$@"' in DEFINITION
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert users == ["1000:1000"]
    arguments = ["bids-app", "/bids", "/out", "participant", "--factor", "2"]
    found = build_parser().parse_args([*arguments, "--participant_label", "01", "02"])
    assert (found.analysis_level, found.participant_label) == ("participant", ["01", "02"])
