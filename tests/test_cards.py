"""Model cards of the bundled priors: every figure comes from facts, and the facts fit the prior."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mrcascade import MRCascadeError
from mrcascade.cli import main
from mrcascade.networks import network_preset
from mrcascade.prior.format import BUNDLED, PRIOR_FILE, read_document
from mrcascade.storage.digest import file_sha256
from mrcascade.training.config import TrainConfig
from tests.conftest import ROOT

PRIORS = sorted(path.parent.relative_to(BUNDLED).as_posix() for path in BUNDLED.rglob(PRIOR_FILE))
CARDS = sorted(path.parent for path in BUNDLED.glob("*/README.md"))
LONGEST = 75  # lines of a card, which is one page

Import = Callable[[str], Any]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Import:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def facts_of(prior: Path) -> dict[str, Any]:
    return json.loads((prior / "facts.json").read_text())


def test_every_prior_is_on_a_card(benchmark: Import) -> None:
    page = benchmark("card_page")
    found = [prior for card in CARDS for prior in page.priors_below(card).values()]
    assert sorted(found) == sorted(BUNDLED / name for name in PRIORS)
    assert all(page.card_folder(prior) in CARDS for prior in found)


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.name)
def test_card_is_what_its_facts_say(benchmark: Import, card: Path) -> None:
    page = benchmark("card_page")
    written = (card / "README.md").read_text()
    assert written == page.render(card)
    assert written.count("\n") <= LONGEST
    by_hand = re.sub(r"`[^`]*`|\(.*?\)", "", page.text_file(card).read_text(), flags=re.DOTALL)
    assert not re.search(r"(?<![A-Za-z])\d", by_hand), "figures belong in facts.json"


@pytest.mark.parametrize("name", PRIORS)
def test_facts_are_those_of_the_prior(benchmark: Import, name: str) -> None:
    facts, document = facts_of(BUNDLED / name), read_document(BUNDLED / name)
    assert facts["prior"] == benchmark("card_facts").prior_facts(BUNDLED / name)
    assert facts["data"]["slices"] == document["provenance"]["slices"]
    # Earlier runs are those of the priors that the last one began with.
    last = {run["level"]: run["sha256"] for run in facts["training"]}
    levels = enumerate(document["levels"], start=1)
    assert last == {i: level["sha256"] for i, level in levels if any(level["networks"].values())}


@pytest.mark.parametrize("name", PRIORS)
def test_every_training_file_has_a_licence(benchmark: Import, name: str) -> None:
    facts = facts_of(BUNDLED / name)
    card = (benchmark("card_page").card_folder(BUNDLED / name) / "README.md").read_text()
    sources = facts["data"]["train"]["sources"]
    for file in read_document(BUNDLED / name)["provenance"]["files"]:
        (own,) = [s for s in sources if any(fnmatchcase(file, p) for p in s["files"])]
        for text in (*own["files"], own["licence"], own["attribution"]):
            assert text
            assert text in card


def test_sources_are_those_of_the_manifest(benchmark: Import, data_folder: Path) -> None:
    provenance = read_document(BUNDLED / "mr-small")["provenance"]
    found = benchmark("card_facts").data_facts(provenance, data_folder / "manifest.json")
    assert found["train"] == facts_of(BUNDLED / "mr-small")["data"]["train"]
    strange = {"slices": 1, "files": ["x.npy"]}
    with pytest.raises(MRCascadeError, match=r"no licence and attribution of x\.npy"):
        benchmark("card_facts").data_facts(strange, data_folder / "manifest.json")


def test_command_gives_the_settings(
    benchmark: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(
        network="mini",
        images=320,
        mean_images=96,
        batch=8,
        seed=3,
        rate=0.01,
        data_condition=False,
        precision="bfloat16",
        start="mr-small",
        exclude=("contrast=FLAIR", "anatomy=knee"),
    )
    told = {k: v for k, v in asdict(config).items() if k not in ("images", "ema", "microbatch")}
    training = json.loads(json.dumps({"images": 320, "config": told}))
    words = shlex.split(benchmark("card_facts").command(2, training, both=True))
    calls = []
    monkeypatch.setattr(
        "mrcascade.training.run.train_cascade", lambda *given, **more: calls.append((given, more))
    )
    monkeypatch.chdir(tmp_path)
    Path("slices.hdf5").touch()
    assert main(words[1:]) == 0
    (((_, _, found), more),) = calls
    assert found == config
    assert more["levels"] == [2]


def test_one_command_makes_facts_and_card(
    benchmark: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior, evaluation = tmp_path / "mr-small-complex", tmp_path / "evaluation"
    copytree(BUNDLED / "mr-small-complex", prior)
    digest = file_sha256(prior / "prior.json")
    sizes = {"name": "brain", "kind": "anatomy", "slices": 2, "files": 2, "subjects": 2}
    groups = [
        {**sizes, "method": method, "metrics": {k: {"mean": v} for k, v in means.items()}}
        for method, means in (
            ("zero-fill", {"psnr_slice": 30.0, "nmse_complex": 0.04, "lpips": None}),
            ("mean", {"psnr_slice": 31.5, "nmse_complex": 0.03, "lpips": None}),
        )
    ]
    settings = {"split": "test", "factor": "4x1", "kernel": "area", "noise": 0.01}
    table = {
        "settings": {**settings, "slices": {"a": [3], "b": [4, 5]}},
        "methods": {"zero-fill": {}, "mean": {"prior_sha256": digest, "precision": "float32"}},
        "notes": ["A note."],
        "slices": groups,
    }
    evaluation.mkdir()
    (evaluation / "table.json").write_text(json.dumps(table))
    script = benchmark("card")
    monkeypatch.setattr(sys, "argv", ["card.py", str(prior), "--evaluation", str(evaluation)])
    script.main()
    card = (prior / "README.md").read_text()
    assert "| brain | 2 | 2 | +1.50 dB, complex NMSE -25 % |" in card
    assert "| 4x1, area, 1 % noise |" in card
    assert "at most 2 slices per file. A note." in card
    kept = facts_of(BUNDLED / "mr-small-complex")
    assert {k: v for k, v in facts_of(prior).items() if k != "evaluations"} == {
        k: v for k, v in kept.items() if k != "evaluations"
    }
    table["methods"]["mean"]["prior_sha256"] = "0"
    (evaluation / "table.json").write_text(json.dumps(table))
    with pytest.raises(MRCascadeError, match="made with other weights or settings"):
        script.main()


def test_calibration_reaches_the_card(
    benchmark: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two anatomies whose squared errors are 4 and 1 times the predicted variance."""
    script, output = benchmark("calibration"), tmp_path / "calibration.json"
    files = [SimpleNamespace(anatomy="brain"), SimpleNamespace(anatomy="knee")]
    sums = {"brain": [1, 2, 3, 1.0, 4.0], "knee": [1, 2, 3, 2.0, 2.0]}
    monkeypatch.setattr(script, "find_files", lambda *_: files)
    monkeypatch.setattr(script, "of_file", lambda file, *_: np.array(sums[file.anatomy]))
    words = ["--data", "x", "--prior", "mr-small-complex", "--noise", "0.05", "-o", str(output)]
    monkeypatch.setattr(sys, "argv", ["calibration.py", *words])
    script.main()
    digest = file_sha256(BUNDLED / "mr-small-complex" / "prior.json")
    rows = benchmark("card_facts").calibration_facts(output, digest)
    found = {row["anatomy"]: row["spread_skill"] for row in rows}
    assert found == pytest.approx({"brain": 0.5, "knee": 1.0, "all": (3 / 6) ** 0.5})
    text = "\n".join(benchmark("card_page")._figures({"p": {"calibration": rows}}))
    assert "Single anatomies lie between 0.50 and 1.00." in text
    assert "| added noise | test 4x |\n| --- | --- |\n| 5 % | 0.71 |" in text
    with pytest.raises(MRCascadeError, match="calibrate this prior"):
        benchmark("card_facts").calibration_facts(output, "0")


def test_patterns_match_no_other_file(benchmark: Import) -> None:
    files = ["a/val/x01", "a/val/x02", "a/val/y", "b/val/x03"]
    others = ["a/val/x1", "b/val/z", "b/val/x04"]
    found = list(benchmark("card_facts").patterns(files, others))
    assert found == ["a/val/x0*", "a/val/y", "b/val/x03"]


def test_training_operations_by_hand(benchmark: Import) -> None:
    """A branch of 3 x 3 convolutions on 32 x 32 pixels behind a stem of 2."""
    level = network_preset("tiny").levels[0]
    inputs, width, pixels = 2, level.mean.channels, 16 * 16
    products = 9 * pixels * (4 * inputs * width + 2 * level.mean.blocks * width**2 + 4 * width)
    branch = replace(level, unet=None)
    told = benchmark("card_facts").petaflop(branch, 1, 32, 10**9, 0)
    assert told == pytest.approx(3 * 2 * products * 1e9 / 1e15, abs=5e-5)


def test_runs_add_up_and_count_once(benchmark: Import) -> None:
    merged = benchmark("card_facts").merged_runs
    first, second = {"sha256": "a"}, {"sha256": "b"}
    assert merged([first], [first, second]) == [first, second]
    assert merged(merged([first], [second]), [second]) == [first, second]
