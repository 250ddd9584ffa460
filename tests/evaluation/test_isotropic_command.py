"""``evaluate --isotropic`` on small volumes, with a random prior."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from skimage.io import imread
from tests.evaluation.isotropic_cases import blobs, test_file, write_volume

from mrcascade import Intensity
from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.isotropic import bench as bench_module
from mrcascade.evaluation.isotropic import run as run_module
from mrcascade.evaluation.isotropic.bench import VolumeBench
from mrcascade.evaluation.isotropic.job import (
    IsotropicEvaluation,
    checked_volume_methods,
    load_prior,
)
from mrcascade.evaluation.isotropic.methods import MODES_ALONG, find_volume_method
from mrcascade.evaluation.isotropic.run import evaluate_isotropic
from mrcascade.evaluation.isotropic.scores import VolumeScorer
from mrcascade.evaluation.isotropic.survey import case_seed, survey_volumes
from mrcascade.evaluation.isotropic.volumes import Slicing, read_thin_volume, simulate_thick
from mrcascade.evaluation.metrics import spread_skill
from mrcascade.evaluation.units import Unit
from mrcascade.restore import resolve_settings
from mrcascade.restore.volume import RestoredVolume, VolumePlan, VolumeRestorer

CUBE = 26, 24, 28
NAMES = "brain/test/s1_T1w.nii.gz", "brain/test/s2_T2w.nii.gz"
THICK, ARRAY = "brain/test/s3_T1w.nii.gz", "knee/test/k_x.npy"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two near-isotropic volumes, one with thick slices and an array without geometry."""
    folder = tmp_path / "data"
    for number, name in enumerate(NAMES):
        write_volume(folder / name, blobs(CUBE, number), (1.0, 1.05, 0.98))
    write_volume(folder / THICK, blobs(CUBE), (1.0, 1.0, 3.0))
    (folder / ARRAY).parent.mkdir(parents=True)
    np.save(folder / ARRAY, blobs(CUBE))
    return folder


@pytest.fixture
def job(root: Path, prior_folder: Path) -> IsotropicEvaluation:
    return IsotropicEvaluation(root, 2.0, ("cubic", "lsq"), size=24, prior=prior_folder)


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else here."""

    def blank(folder: Path, *_: object) -> Path:
        return folder / "slices.png"

    monkeypatch.setattr(run_module, "write_figure", blank)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(job: IsotropicEvaluation, output: Path, stop_after: int | None = None) -> list[str]:
    lines: list[str] = []

    def progress(total: int):  # type: ignore[no-untyped-def]
        done = 0

        def tick(volumes: int, text: str) -> None:
            nonlocal done
            done += volumes
            if done == stop_after:
                raise KeyboardInterrupt

        return tick

    evaluate_isotropic(job, output, say=lines.append, progress=progress)
    return lines


def test_everything_once(
    root: Path, prior_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    given = ["evaluate", "--data", str(root), "--isotropic", "2", "--size", "24", "-o", str(output)]
    assert main([*given, "--prior", str(prior_folder), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "2 volumes, thick along the slice axis, of 2 files; 2 left out" in said
    assert f"Left out, voxel sizes differ by more than 10%: {THICK}." in said
    assert f"Left out, no voxel sizes: {ARRAY}." in said
    rows = table(output / "metrics.csv")
    assert [(r["file"], r["method"]) for r in rows] == [
        (name, method) for name in NAMES for method in ("cubic", "lsq", "mean")
    ]
    for row in rows:
        exact = row["method"] != "cubic"
        assert (float(row["residual"]) < 1e-5) == exact
        assert (float(row["gflop"]) > 0) == (row["method"] == "mean")
        assert (float(row["nfe"]) > 0) == (row["method"] == "mean")
        assert row["spread_skill"] == ""
        assert float(row["cpu_seconds"]) >= 0
    text = (output / "table.md").read_text()
    for heading in ("Per anatomy", "Per contrast", "Per source"):
        assert f"## {heading}" in text
    assert "| brain/T2 | lsq | 1 | 1 | 1 |" in text
    document = json.loads((output / "table.json").read_text())
    assert document["left_out"].keys() == {THICK, ARRAY}
    brain = document["volumes"][0]
    assert (brain["name"], brain["method"], brain["volumes"]) == ("brain", "cubic", 2)
    values = [float(r["psnr"]) for r in rows if r["method"] == "cubic"]
    assert brain["metrics"]["psnr"]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
    assert brain["metrics"]["psnr"]["low"] <= min(values) + 1e-6
    picture = imread(output / "slices.png")
    assert picture.shape[0] > picture.shape[1] / 2
    listed = json.loads((output / "evaluation.json").read_text())["outputs"]
    assert {f"slices/{row}_mean.npy" for row in range(4)} < set(listed)
    # Rows are the slice axis: 24 samples, and 12 slices.
    planes = [np.load(output / "slices" / f"0_{name}.npy") for name in ("truth", "measured")]
    assert [plane.shape for plane in planes] == [(24, 24), (12, 24)]


@pytest.mark.usefixtures("no_picture")
def test_rows_are_the_scores_of_each_method_by_itself(
    job: IsotropicEvaluation, root: Path, prior_folder: Path, tmp_path: Path
) -> None:
    """The same measurement, plan and scorer outside the command."""
    job = replace(job, methods=("lsq", "mean"), axes=(0, 2))
    run(job, tmp_path / "out")
    rows = {(r["method"], r["axis"]): r for r in table(tmp_path / "out" / "metrics.csv")[:4]}
    volume = read_thin_volume(test_file(root / NAMES[0]))
    prior = load_prior(checked_volume_methods(job), job)
    assert prior is not None
    for axis in (0, 2):
        case = simulate_thick(volume, axis, Slicing(2.0, 24), case_seed(0, NAMES[0], axis))
        settings = resolve_settings(prior, "mean")
        plan = VolumePlan.of(prior, case.thick, case.truth.shape[1:], 0.0, settings)
        image = VolumeRestorer(prior, plan)(
            case.measurement, Intensity.of(case.measurement), batch_size=4
        )
        scores = VolumeScorer(case)(image.mean)
        row = rows["mean", str(axis)]
        for name in ("psnr", "ssim", "gain", "power"):
            assert float(row[name]) == pytest.approx(scores[name], rel=1e-5)
        assert float(row["nfe"]) == sum(image.evaluations.values())


@pytest.mark.slow
@pytest.mark.usefixtures("no_picture")
def test_an_interrupted_evaluation_goes_on_to_the_same_end(
    job: IsotropicEvaluation, tmp_path: Path
) -> None:
    job = replace(job, axes=(2, 0), noise=0.02)
    run(job, tmp_path / "whole")
    for stop in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            run(job, tmp_path / "parts", stop_after=stop)
        assert not (tmp_path / "parts" / "table.md").exists()
    run(job, tmp_path / "parts")
    whole, parts = (table(tmp_path / n / "metrics.csv") for n in ("whole", "parts"))
    timed = ("seconds", "cpu_seconds")
    assert len(whole) == 8
    for one, two in zip(whole, parts, strict=True):
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in two.items() if k not in timed
        }
    before = (tmp_path / "parts" / "metrics.csv").read_bytes()
    run(job, tmp_path / "parts")
    assert (tmp_path / "parts" / "metrics.csv").read_bytes() == before
    with pytest.raises(MRCascadeError, match=r"noise 0\.02 then, 0\.1 now"):
        run(replace(job, noise=0.1), tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.usefixtures("no_picture")
def test_folders_of_the_other_kind_are_refused_unless_overwritten(
    job: IsotropicEvaluation, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    run(job, output)
    slices = ["evaluate", "--data", str(root), "--methods", "bicubic", "-o", str(output)]
    slices += ["--factor", "2", "--device", "cpu", "--noise-handling", "known", "--split", "test"]
    assert main(slices) == 2
    assert "holds an evaluation with other settings" in capsys.readouterr().err
    assert main([*slices, "--overwrite"]) == 0
    assert "slice" in table(output / "metrics.csv")[0]
    with pytest.raises(MRCascadeError, match="holds an evaluation with other settings"):
        run(job, output)
    run(replace(job, overwrite=True), output)
    assert "axis" in table(output / "metrics.csv")[0]


@pytest.mark.slow
@pytest.mark.usefixtures("no_picture")
def test_processes_share_the_work_without_changing_it(
    job: IsotropicEvaluation, tmp_path: Path
) -> None:
    job = replace(job, methods=("lsq", "mean"))
    run(job, tmp_path / "one")
    run(replace(job, workers=2), tmp_path / "two")
    one, two = (
        sorted(table(tmp_path / n / "metrics.csv"), key=lambda r: (r["method"], r["file"]))
        for n in ("one", "two")
    )
    for a, b in zip(one, two, strict=True):
        assert (a["file"], a["method"]) == (b["file"], b["method"])
        # Another number of threads changes the order of float32 sums.
        assert float(a["psnr"]) == pytest.approx(float(b["psnr"]), abs=1e-3)


def test_samples_are_averaged_and_their_spread_scored(
    job: IsotropicEvaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``posterior-mean`` asks for K samples; here they come from a source with a known spread."""
    asked = []

    class Sampling(VolumeRestorer):
        def __call__(self, measurement, intensity, *, samples, seed, batch_size, progress):  # type: ignore[no-untyped-def]
            asked.append((samples, seed))
            mean = np.repeat(measurement, 2, axis=0)
            return RestoredVolume(
                mean, mean, np.full_like(mean, 7.0), 0.0, {1: 5, 2: 3}, 1.0, {"name": "sample"}
            )

    monkeypatch.setattr(bench_module, "VolumeRestorer", Sampling)
    monkeypatch.setattr(
        bench_module, "settings_of", lambda m, j, prior: resolve_settings(prior, "mean")
    )
    job = replace(job, methods=("posterior-mean",), samples=6, seed=4)
    methods = checked_volume_methods(job)
    prior = load_prior(methods, job)
    file = test_file(job.data / NAMES[0])
    volumes = survey_volumes([file], job, []).volumes
    bench = VolumeBench(job, methods, prior, volumes, [])
    scored = bench.run(Unit(file.name, "posterior-mean", (2,)), lambda done, text: None)
    (row,) = scored.rows  # type: ignore[union-attr]
    assert asked == [(6, case_seed(4, file.name, 2))]
    assert row["nfe"] == 6 * 8
    case = simulate_thick(read_thin_volume(file), 2, job.slicing, 0)
    mean = np.repeat(case.measurement, 2, axis=0)
    body = VolumeScorer(case).body
    expected = spread_skill(case.truth, mean, np.full_like(mean, 7.0), 6, body)
    assert row["spread_skill"] == pytest.approx(expected)
    assert row["psnr"] == pytest.approx(VolumeScorer(case)(mean)["psnr"])


@pytest.mark.usefixtures("no_picture")
def test_samples_meet_the_slices_and_their_mean_has_a_spread(
    job: IsotropicEvaluation, tmp_path: Path
) -> None:
    (job.data / NAMES[1]).unlink()
    job = replace(job, methods=("sample", "posterior-mean"), steps=4, samples=2, batch_size=16)
    run(job, tmp_path / "out")
    one, mean = table(tmp_path / "out" / "metrics.csv")
    assert (one["spread_skill"], float(mean["spread_skill"]) > 0) == ("", True)
    assert float(mean["nfe"]) == 2 * float(one["nfe"]) > 0
    for row in (one, mean):
        assert float(row["residual"]) < 1e-5
    # The mean of two has half the power of what differs between them, and all of what does not.
    assert float(mean["power"]) < float(one["power"])
    assert "the mean of 2 samples" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.usefixtures("no_picture")
def test_evaluating_on_training_files_is_remarked_on(
    job: IsotropicEvaluation, prior_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "prior"
    copytree(prior_folder, folder)
    document = json.loads((folder / "prior.json").read_text())
    document["provenance"]["files"] = [NAMES[0]]
    (folder / "prior.json").write_text(json.dumps(document))
    (job.data / NAMES[1]).unlink()
    lines = run(replace(job, methods=("mean",), prior=folder), tmp_path / "out")
    assert any("Careful: 1 of 1 files (brain) are of subjects" in line for line in lines)
    assert "Careful: 1 of 1 files" in (tmp_path / "out" / "table.md").read_text()


def test_modes_of_the_cascade_are_methods() -> None:
    assert {"mean", "sample", "balanced", "paper", "posterior-mean"} <= set(MODES_ALONG)
    assert not {"regression", "diffpir", "cascade-2level"} & set(MODES_ALONG)
    method = find_volume_method("mean:orientations=4")
    assert method.mode is not None
    assert method.mode.overrides == {"orientations": 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--factor", "2"), "--factor has no effect with --isotropic"),
        (("--kernel", "fourier"), "--kernel has no effect with --isotropic"),
        (("--max-slices", "2"), "--max-slices has no effect with --isotropic"),
        (("--simulate-phase",), "--simulate-phase has no effect with --isotropic"),
        (("--lpips-weights", "x"), "--lpips-weights has no effect with --isotropic"),
        (("--baselines", "x"), "--baselines has no effect with --isotropic"),
        (("--methods", "zero-fill"), "unknown method 'zero-fill' for thick slices: choose from"),
        (("--methods", "lsq:x=1"), "method 'lsq:x=1': lsq has no settings"),
        (("--methods", "lsq", "--steps", "3"), "none of lsq samples; drop --steps"),
        (("--methods", "lsq", "--samples", "3"), "none of lsq averages samples; drop --samples"),
        (("--relative-thickness", "4"), "give it over the slice distance, above 0 and up to 2"),
        (("--slice-profile", "box"), "slice profile box: neither one of gaussian, rect nor a file"),
        (("--split", "val"), "no files in split 'val'"),
        (("--isotropic", "9"), "--isotropic 9: give a factor above 1 and up to 8"),
        (("--isotropic", "1"), "--isotropic 1: give a factor above 1 and up to 8"),
        (("--isotropic", "8", "--size", "16"), "no near-isotropic volume among 4 files"),
        (("--prior", "mr-small-complex"), "models complex images, and --isotropic compares"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    root: Path,
    prior_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    output = tmp_path / "out"
    given = ["evaluate", "--data", str(root), "--isotropic", "2", "-o", str(output), "--size", "24"]
    assert main([*given, "--device", "cpu", "--prior", str(prior_folder), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --factor F, or --isotropic FACTOR for thick slices"),
        (("--factor", "2", "--axis", "0"), "--axis needs --isotropic FACTOR"),
        (("--factor", "2", "--size", "64"), "--size needs --isotropic FACTOR"),
        (("--factor", "2", "--slice-profile", "rect"), "--slice-profile needs --isotropic"),
        (("--factor", "2", "--relative-thickness", "1"), "--relative-thickness needs --isotropic"),
    ],
)
def test_options_of_thick_slices_need_them(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    assert main(["evaluate", "--data", str(root), "-o", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("axis", ["3", "0,0", "x", "0,"])
def test_axes_are_those_of_an_array(axis: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["evaluate", "--data", ".", "-o", "out", "--isotropic", "2", f"--axis={axis}"]
    with pytest.raises(SystemExit, match="2"):
        main(given)
    assert capsys.readouterr().err.count("\n") == 1
