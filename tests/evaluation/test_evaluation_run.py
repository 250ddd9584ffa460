"""The whole command on synthetic images, with a random prior and random LPIPS weights."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from skimage.io import imread
from tests.conftest import REGRESSION, SINGLE, write_random_prior

from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.figure import (
    Picture,
    choose_pictures,
)
from mrcascade.evaluation.job import Evaluation
from mrcascade.evaluation.ledger import SLICE_COLUMNS, VOLUME_COLUMNS
from mrcascade.evaluation.run import evaluate
from mrcascade.operators import SeparableOperator

NAMES = ("brain/test/s1_x.npy", "brain/test/s2_x.npy", "knee/test/k_x.npy", "knee/train/t.npy")
TestSet = Callable[..., Path]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_time(path: Path) -> list[dict[str, str]]:
    rows = [{k: v for k, v in r.items() if k != "seconds"} for r in table(path)]
    return sorted(rows, key=lambda r: (r["method"], r["file"], r.get("slice", "")))


def arguments(root: Path, output: Path, prior: Path, *more: str) -> list[str]:
    given = ["evaluate", "--data", str(root), "-o", str(output), "--prior", str(prior)]
    return [*given, "--factor", "2", "--device", "cpu", "--noise-handling", "known", *more]


def test_everything_once(
    test_set: TestSet,
    prior_folder: Path,
    random_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, output = test_set(NAMES), tmp_path / "out"
    options = ("--steps", "4", "--noise", "0", "--lpips-weights", str(random_weights))
    assert main(arguments(root, output, prior_folder, *options)) == 0
    said = capsys.readouterr().out
    assert "6 slices of 3 files; 0 empty slices left out" in said
    assert "acquired matrix (of 3 files, 3 by the stored matrix, as nothing tells more)" in said
    assert str(output / "table.md") in said

    rows, volumes = table(output / "metrics.csv"), table(output / "volumes.csv")
    assert tuple(rows[0]) == SLICE_COLUMNS
    assert tuple(volumes[0]) == VOLUME_COLUMNS
    methods = ["zero-fill", "bicubic", "mean", "paper"]
    assert [(r["file"], r["method"]) for r in volumes] == [
        (n, m) for m in methods for n in NAMES[:3]
    ]
    assert len(rows) == 6 * 4
    # Noise-free results meet their data; only interpolation does not know them.
    exact = [float(r["residual"]) for r in rows if r["method"] != "bicubic"]
    assert max(exact) < 1e-5
    assert {r["method"]: r["nfe"] for r in rows} == dict(
        zip(methods, ["0", "0", "1", "4"], strict=True)
    )
    truth = np.load(root / NAMES[0]).astype(np.float64)[..., 1]
    operator = SeparableOperator.from_kernel("fourier", 2, (32, 32))
    filled = operator.pinv(operator(torch.from_numpy(truth))).numpy()
    expected = 10 * np.log10(truth.max() ** 2 / np.mean((filled - truth) ** 2))
    # float32 in the evaluation: relative errors of 1e-6 in an rmse of some per cent
    assert float(rows[1]["psnr_slice"]) == pytest.approx(expected, abs=1e-3)

    document = json.loads((output / "table.json").read_text())
    for group in document["slices"]:
        if group["kind"] == "anatomy":
            chosen = [
                float(r["lpips"])
                for r in rows
                if (r["anatomy"], r["method"]) == (group["name"], group["method"])
            ]
            assert group["metrics"]["lpips"]["mean"] == pytest.approx(np.mean(chosen))
            assert group["slices"] == len(chosen) == 2 * group["files"]
    markdown = (output / "table.md").read_text()
    for fact in ("AlexNet, LPIPS v0.1", "fourier 2x", "T = 4", "CPU thread", "knee/k", "uniform"):
        assert fact in markdown
    # Truth and four methods beside one another, four slices with their errors below.
    picture = imread(output / "slices.png")
    assert picture.shape[0] > picture.shape[1] > 1000


@pytest.mark.slow
def test_baselines_that_have_priors_of_their_own(
    test_set: TestSet, prior_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, output, baselines = test_set(NAMES[:2]), tmp_path / "out", tmp_path / "baselines"
    write_random_prior(baselines / "single-scale", cascade=SINGLE)
    write_random_prior(baselines / "regression-4x", cascade=REGRESSION)
    write_random_prior(baselines / "half-resolution", cascade=SINGLE)
    methods_named = "diffpir,regression,cascade-2level"
    options = ["--methods", methods_named, "--baselines", str(baselines), "--steps", "3"]
    command = arguments(root, output, prior_folder, *options)
    assert main(command) == 2
    assert f"unknown prior '{baselines}/regression-2x'" in capsys.readouterr().err
    assert not output.exists()
    command[command.index("--factor") + 1] = "4"
    assert main(command) == 0
    rows = table(output / "metrics.csv")
    # Three steps are split over two levels, the remainder goes to the coarser one.
    expected = {"diffpir": "3", "regression": "1", "cascade-2level": "3"}
    assert {r["method"]: r["nfe"] for r in rows} == expected
    assert max(float(r["residual"]) for r in rows) < 1e-5
    methods = json.loads((output / "evaluation.json").read_text())["methods"]
    assert {m: s["prior"] for m, s in methods.items()} == {
        "diffpir": "single-scale",
        "regression": "regression-4x",
        "cascade-2level": f"{prior_folder.name} + half-resolution",
    }
    command[command.index(methods_named)] = "multigrid,multigrid-pnp"
    assert main([*command, "--overwrite", "--steps", "6"]) == 0
    rows = table(output / "metrics.csv")
    # Noise-free 4x skips the third of three grids.
    assert {r["method"]: r["nfe"] for r in rows} == {"multigrid": "4", "multigrid-pnp": "4"}
    report = (output / "table.md").read_text()
    assert "not trained on the images of the coarser grids, T = 6, one sample" in report
    assert "not trained on the images of the coarser grids, T = 6\n" in report
    # A regression network cannot take the place of a prior.
    copytree(baselines / "regression-4x", baselines / "single-scale", dirs_exist_ok=True)
    assert main([*command, "--overwrite"]) == 2
    assert "has no samples" in capsys.readouterr().err


def run(job: Evaluation, output: Path, stop_after: int | None = None) -> list[str]:
    """Evaluate; ``stop_after`` slices the process "dies"."""
    lines: list[str] = []

    def progress(total: int) -> Callable[[int, str], None]:
        done = 0

        def tick(count: int, text: str) -> None:
            nonlocal done
            done += count
            assert done <= total
            if stop_after is not None and done >= stop_after:
                raise KeyboardInterrupt

        return tick

    evaluate(job, output, say=lines.append, progress=progress)
    return lines


@pytest.fixture
def job(test_set: TestSet, prior_folder: Path) -> Evaluation:
    root = test_set(NAMES)
    return Evaluation(root, ("bicubic", "paper"), prior=prior_folder, steps=3, noise=0.02)


def test_an_interrupted_evaluation_goes_on_to_the_same_end(job: Evaluation, tmp_path: Path) -> None:
    run(job, tmp_path / "whole")
    output = tmp_path / "interrupted"
    for stop in (2, 10):  # slices; later counts include what earlier runs finished
        with pytest.raises(KeyboardInterrupt):
            run(job, output, stop_after=stop)
        assert not (output / "table.md").exists()
    before = table(output / "metrics.csv")
    assert len(before) == 10
    # What SIGKILL leaves when it comes while a row is written.
    with (output / "metrics.csv").open("a") as file:
        file.write("knee/test/k_x.npy,0,knee,paper,2,fou")
    run(job, output)
    for name in ("metrics.csv", "volumes.csv"):
        assert without_time(output / name) == without_time(tmp_path / "whole" / name)
    assert table(output / "metrics.csv")[:10] == before  # finished work was not repeated
    pictures = [sorted((p / "slices").iterdir()) for p in (output, tmp_path / "whole")]
    assert len(pictures[0]) == 4 * 4
    for one, two in zip(*pictures, strict=True):
        assert one.name == two.name
        assert np.array_equal(np.load(one), np.load(two))


@pytest.mark.slow
def test_results_depend_on_neither_batch_size_nor_the_other_files(
    job: Evaluation, tmp_path: Path
) -> None:
    run(replace(job, batch_size=1), tmp_path / "one")
    (job.data / NAMES[1]).unlink()
    run(replace(job, batch_size=3), tmp_path / "three")
    one, three = (without_time(tmp_path / n / "metrics.csv") for n in ("one", "three"))
    one = [r for r in one if r["file"] != NAMES[1]]
    assert len(one) == len(three) == 8
    for a, b in zip(one, three, strict=True):
        # A batch changes the order of float32 sums; the chain of three steps passes that on.
        assert float(a["psnr_slice"]) == pytest.approx(float(b["psnr_slice"]), abs=1e-2)


@pytest.mark.slow
def test_processes_share_the_work_without_changing_it(job: Evaluation, tmp_path: Path) -> None:
    job = replace(job, methods=("bicubic", "posterior-mean"), samples=2, batch_size=1)
    run(job, tmp_path / "one")
    (tmp_path / "two").mkdir()
    run(replace(job, workers=2), tmp_path / "two")
    one, two = (without_time(tmp_path / n / "metrics.csv") for n in ("one", "two"))
    assert len(one) == 12
    for a, b in zip(one, two, strict=True):
        for key in ("file", "slice", "method", "nfe"):
            assert a[key] == b[key]
        # Another number of threads changes the order of float32 sums.
        assert float(a["psnr_slice"]) == pytest.approx(float(b["psnr_slice"]), abs=1e-2)
    assert "for each of 2 processes" in (tmp_path / "two" / "table.md").read_text()


def test_a_bad_file_stops_the_processes_with_one_line(job: Evaluation, tmp_path: Path) -> None:
    np.save(job.data / NAMES[1], -np.ones((32, 32, 2), np.float32))  # magnitudes of a wrong sign
    job = replace(job, methods=("bicubic",), steps=None, workers=2)
    with pytest.raises(MRCascadeError, match=r"s2_x\.npy"):
        run(job, tmp_path / "out")


@pytest.mark.slow
def test_slices_per_anatomy_are_drawn_by_the_seed(job: Evaluation, tmp_path: Path) -> None:
    def drawn(seed: int) -> list[tuple[str, str]]:
        few = replace(job, methods=("bicubic",), steps=None, anatomy_slices=2, seed=seed)
        output = tmp_path / str(seed)
        lines = run(few, output)
        assert "4 slices (at most 2 per anatomy, drawn with seed" in lines[0]
        return [(r["file"], r["slice"]) for r in table(output / "metrics.csv")]

    choices = [drawn(seed) for seed in range(4)]
    for chosen in choices:
        assert len([f for f, _ in chosen if f.startswith("brain")]) == 2
        assert [f for f, _ in chosen if f.startswith("knee")] == [NAMES[2]] * 2  # it has no more
        assert len(set(chosen)) == 4
    # Two of four slices: 6 choices, so that four equal ones have a chance of 1 in 216.
    assert len(set(map(tuple, choices))) > 1


@pytest.mark.slow
def test_an_evaluation_of_an_earlier_version_goes_on(job: Evaluation, tmp_path: Path) -> None:
    """Its settings hold those without effect, too; one with an effect still counts."""
    quick = replace(job, methods=("mean",), steps=None)
    run(quick, tmp_path / "out")
    path = tmp_path / "out" / "evaluation.json"
    document = json.loads(path.read_text())
    sampler = document["methods"]["mean"]["sampler"]
    assert "zeta" not in sampler
    document["methods"]["mean"]["sampler"] = sampler | {"zeta": 0.3, "sampler": "diffpir"}
    path.write_text(json.dumps(document))
    before = table(tmp_path / "out" / "metrics.csv")
    run(quick, tmp_path / "out")
    assert table(tmp_path / "out" / "metrics.csv") == before
    assert json.loads(path.read_text())["methods"]["mean"]["sampler"] == sampler
    document["methods"]["mean"]["sampler"] = sampler | {"orientations": 8}
    path.write_text(json.dumps(document))
    with pytest.raises(MRCascadeError, match=r"mean sampler differs.*add --overwrite"):
        run(quick, tmp_path / "out")


@pytest.mark.slow
def test_methods_are_added_to_a_finished_evaluation(job: Evaluation, tmp_path: Path) -> None:
    quick = replace(job, methods=("zero-fill",), steps=None)
    first = run(quick, tmp_path / "out")
    assert any("LPIPS column is empty" in line for line in first)
    before = table(tmp_path / "out" / "metrics.csv")
    assert {r["lpips"] for r in before} == {""}
    run(replace(quick, methods=("bicubic",)), tmp_path / "out")
    assert table(tmp_path / "out" / "metrics.csv")[: len(before)] == before
    assert "| knee | zero-fill |" in (tmp_path / "out" / "table.md").read_text()
    assert "| knee | bicubic |" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.slow
def test_evaluating_training_files_is_remarked_on(
    job: Evaluation, tmp_path: Path, prior_folder: Path
) -> None:
    folder = tmp_path / "prior"
    copytree(prior_folder, folder)
    document = json.loads((folder / "prior.json").read_text())
    document["provenance"]["files"] = [NAMES[2], "other.npy"]
    (folder / "prior.json").write_text(json.dumps(document))
    lines = run(replace(job, methods=("mean",), steps=None, prior=folder), tmp_path / "out")
    assert any("1 of 3 files (knee) are of subjects" in line for line in lines)
    assert "Careful: 1 of 3 files" in (tmp_path / "out" / "table.md").read_text()


def test_pictures_are_shared_out_among_anatomies_and_files() -> None:
    numbers = np.arange(5)
    files = [(f"{a}{i}", a, numbers) for a, n in (("a", 6), ("b", 1), ("c", 1)) for i in range(n)]
    # Two of a (files in the middle of each half), one of b and c, all in the middle slice.
    assert choose_pictures(files) == [
        Picture(0, "a1", 2),
        Picture(1, "a4", 2),
        Picture(2, "b0", 2),
        Picture(3, "c0", 2),
    ]
    assert [(p.file, p.number) for p in choose_pictures([files[0]])] == [
        ("a0", n) for n in (0, 1, 3, 4)
    ]
    assert len(choose_pictures([("a0", "a", numbers[:2])])) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "mean,magic"), "unknown method 'magic'"),
        (("--split", "val"), "no files in split 'val'"),
        (("--lpips-weights", "nowhere"), "--lpips-weights nowhere: LPIPS needs"),
        (("--prior", "nothing"), "unknown prior 'nothing'"),
        (("--methods", "mean", "--steps", "3"), "none of mean samples; drop --steps"),
        (("--methods", "paper", "--samples", "3"), "none of paper averages samples; drop --samp"),
        (("--factor", "1"), "factor 1: give factors above 1"),
        (
            ("--methods", "mean,paper", "--steps", "2", "--noise", "0.1"),
            "2 steps cannot be split over",
        ),
        (("--factor", "8"), "factor 8 is larger than prior 'random' can do"),
        (("--factor", "3"), "s1_x.npy: the result would be 30x30; prior 'random' needs at least"),
        (("--effective-matrix", "nowhere.csv"), "nowhere.csv: cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    test_set: TestSet,
    prior_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    output = tmp_path / "out"
    assert main(arguments(test_set(NAMES), output, prior_folder, *options)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not output.exists()


def test_images_too_small_for_the_metrics_are_named(
    test_set: TestSet, random_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = test_set(NAMES)
    np.save(root / NAMES[1], np.load(root / NAMES[1])[:28])
    quick = arguments(root, tmp_path / "out", tmp_path, "--methods", "bicubic")
    assert main([*quick, "--lpips-weights", str(random_weights)]) == 2
    assert "s2_x.npy: 28x32 pixels are too few for LPIPS (31)" in capsys.readouterr().err
    assert main(quick) == 0


@pytest.mark.slow
def test_other_settings_are_refused_unless_overwritten(
    test_set: TestSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = arguments(test_set(NAMES), tmp_path / "out", tmp_path, "--methods", "bicubic")
    assert main(quick) == 0
    assert main([*quick, "--kernel", "area"]) == 2
    assert 'other settings (kernel "fourier" then, "area" now)' in capsys.readouterr().err
    assert main([*quick, "--kernel", "area", "--overwrite"]) == 0
    assert {r["kernel"] for r in table(tmp_path / "out" / "metrics.csv")} == {"area"}


def test_names_that_are_not_utf8(prior_folder: Path, tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    names = [os.fsdecode(b"caf\xe9.npy"), "\u8133.npy", "a$\\q$.npy"]
    for name in names:
        np.save(root / name, np.random.default_rng(0).normal(size=(32, 32, 1)) + 100)
    given = arguments(root, output, prior_folder, "--methods", "bicubic")
    assert main(given) == 0
    assert {
        row.split(b",")[0] for row in (output / "metrics.csv").read_bytes().splitlines()[1:]
    } == {os.fsencode(name) for name in names}
    before = (output / "metrics.csv").read_bytes()
    assert main(given) == 0
    assert (output / "metrics.csv").read_bytes() == before  # both were found again
