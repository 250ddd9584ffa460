"""Reports of the benchmarks: tables, step sizes against ours."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mrcascade import SeparableOperator
from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import Measurement
from mrcascade.evaluation.isotropic.scores import VolumeScorer
from mrcascade.evaluation.isotropic.volumes import Slicing, simulate_thick
from mrcascade.measurement.border import Margins
from mrcascade.recipes.samplers.ancestral import Ancestral
from mrcascade.restore import Plan, Restorer
from mrcascade.restore.volume import ENDS, along, projected
from mrcascade.sampling import RECIPES, NoiseSource, run_chain, with_gradient
from tests.evaluation.isotropic_cases import blobs, thin_volume, write_volume

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIDE = 32


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a script of benchmarks/ by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.mark.parametrize("script", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_every_script_has_what_it_imports_and_explains_itself(
    benchmark, script, monkeypatch, capsys
):
    module = benchmark(script)
    assert module.__doc__
    if hasattr(module, "main"):
        monkeypatch.setattr(sys, "argv", [script, "--help"])
        with pytest.raises(SystemExit) as ended:
            module.main()
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: {script}")


def result(mode: str, batch: int, **more) -> dict:
    entry = {"mode": mode, "batch": batch, "size": 64, "steps": None, "timed_steps": None}
    costs = {"nfe": 6, "gflop": 58.66, "seconds_per_slice": 0.251, "share_of_peak": 0.4}
    return entry | costs | more


DOCUMENT = {
    "Software": [{"Name": "mrcascade", "Version": "1"}],
    "machine": {
        "processor": "two cores",
        "precision": "float32",
        "compiled": False,
        "torch": "2",
        "peak_gflops": 120.0,
    },
    "settings": {"factor": [4.0, 4.0], "kernel": "fourier", "noise": 0.0, "rounds": 3},
    "results": [
        result("mean", 1),
        result("mean", 8, seconds_per_slice=0.2, share_of_peak=0.5),
        result("dps", 1, nfe=200, gflop=1976.0, seconds_per_slice=31.4, share_of_peak=None),
        result("dps", 8, nfe=200, gflop=1976.0, seconds_per_slice=29.0, share_of_peak=None),
    ],
}


def test_the_runtime_table_has_a_row_per_mode(benchmark):
    assert benchmark("runtime_table").runtime_table(DOCUMENT) == [
        "two cores, float32, torch 2, peak 120 GFLOP/s;"
        " 4x to 64 x 64 (fourier, noise-free), median of 3 rounds",
        "",
        "| mode   | evaluations | GFLOP | s / slice, alone | s / slice, 8 at once"
        " | of peak, 8 at once |",
        "| ------ | ----------: | ----: | ---------------: | -------------------:"
        " | -----------------: |",
        "| `mean` |           6 | 58.66 |             0.25 |                  0.2"
        " |               50 % |",
        "| `dps`  |         200 |  1976 |               31 |                   29"
        " |                  - |",
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"machine": {}, "results": []}, "not a file that mrcascade benchmark wrote"),
        (DOCUMENT | {"results": [result("paper", 1, steps=200, timed_steps=12)]}, "--seconds"),
    ],
)
def test_the_runtime_table_takes_whole_benchmarks_only(
    benchmark, tmp_path, monkeypatch, document, message
):
    path = tmp_path / "b.json"
    path.write_text(json.dumps(document))
    monkeypatch.setattr(sys, "argv", ["runtime_table.py", str(path)])
    with pytest.raises(MRCascadeError, match=message):
        benchmark("runtime_table").main()


def test_deepinv_weights_give_the_steps_of_dps(benchmark):
    """deepinv moves x by (s^2 - s_next^2) weight grad; ours by what a chain without it lacks."""
    start, y = torch.rand(1, 1, SIDE, SIDE), torch.zeros(1, 1, SIDE // 4, SIDE // 4)
    operator = SeparableOperator.from_kernel("area", 4, (SIDE, SIDE))

    def chain(scale):  # with a denoiser that changes nothing
        guided = with_gradient(lambda x, s: x, operator, y, scale)
        return run_chain(guided, Ancestral(), start, (5.0, 1.0), NoiseSource([0]))

    low = operator(start)
    gradient = operator.adjoint(low) / low.norm()
    weights = list(benchmark("deepinv_differences").matched_weights((5.0, 1.0), 0.3))
    expected = (5.0**2 - 1.0**2) * weights[0] * gradient
    assert chain(0.0) - chain(0.3) == pytest.approx(expected, abs=1e-5)
    assert weights[1:] == [0]


def test_scanned_detail_is_what_the_mode_gives(benchmark, prior):
    operator = SeparableOperator.from_kernel("fourier", 4, (SIDE, SIDE))
    low = np.random.default_rng(0).random((2, *operator.out_shape), np.float32)
    truth = np.zeros((2, SIDE, SIDE), np.float32)  # which no method may see
    case = benchmark("val_slices").Case(
        "brain", [3, 7], truth, Measurement(low, 2.0, 0.0), operator, 5
    )
    settings = replace(RECIPES["paper"], steps=6)
    shares = [(1.0,), (1.0, 0.6), (0.5,)]
    for share, images in zip(
        shares, benchmark("tune_detail").restored(case, prior, settings, shares), strict=True
    ):
        mode = replace(settings, detail=share)
        restorer = Restorer(prior, Plan.of(prior, operator, 0.0, mode))
        expected = restorer(low, Intensity(2.0), seed=5, numbers=[3, 7], batch_size=2)
        assert np.array_equal(images, expected.mean)


def test_steps_between_planes_change_the_quotient_of_finest_detail(benchmark):
    """Waves of 0.4 cycles a sample along one axis each have the quotient of their squares."""
    wave = np.cos(2 * np.pi * 0.4 * np.arange(20))
    rows, columns = wave[None, :, None], wave[None, None, :]
    truth, image = (np.ones((4, 1, 1)) * (a * rows + columns) for a in (1.0, 3.0))
    assert benchmark("thick_slices").seam(image, truth) == pytest.approx(9.0)


ROW = {"psnr": 27.0, "ssim": 0.87, "gain": 0.2, "power": 0.1, "seam": 1.0, "residual": 1e-7}


def test_goals_compare_with_the_figures_of_other_methods(benchmark):
    rows = {
        "cubic": ROW | {"psnr": 25.5},
        "mean": ROW | {"cpu_seconds": 40.0},
        "sample": ROW | {"gain": 0.4, "power": 0.8, "seam": 1.2},
        "posterior-mean": ROW | {"psnr": 26.9},
        "eclare": ROW | {"psnr": 26.5, "cpu_seconds": 430.0},
    }
    found = list(benchmark("thick_slices").goals(rows, {"psnr": 27.5}))
    by_name = {goal.what: goal for goal in found}
    assert {what for what, goal in by_name.items() if not goal.reached} == {
        "seam of `sample`: |quotient - 1|",
        "psnr of `mean`",
        "`mean` over `cubic` (dB)",
    }
    assert by_name["CPU time of ECLARE over that of `mean`"].found == 430 / 40
    assert by_name["power of `sample` closer to 1 than of `mean`, by"].found == pytest.approx(0.7)
    assert len(found) == 12 - 1  # without the regression


def test_a_regression_that_adds_nothing_is_the_minimum_norm_volume(benchmark, tmp_path):
    """Its untrained network gives 0, so that both kinds of planes are pseudo-inverses."""
    script, specialist = benchmark("thick_slices"), benchmark("specialist")
    volume = thin_volume(tmp_path / "v.nii.gz", blobs((30, 26, 34)))
    case = simulate_thick(volume, 2, Slicing(4, 24), 0)
    task = benchmark("informed_mean").TASKS["slices-4x"]
    weights = specialist.Specialist(task, 4, 2).network.state_dict()
    image = script.regressed(specialist.trained(task, weights), case)
    thick, y = case.thick, case.measurement.astype(np.float64)
    whole = np.pad(y, ((ENDS, ENDS), (0, 0), (0, 0)))
    extended = Margins(rows=(ENDS, ENDS)).extend(y.reshape(1, len(y), -1)).reshape(whole.shape)
    found = along(np.linalg.pinv(thick.extended()), extended)
    expected = projected(found[thick.margin : -thick.margin], y, thick.matrix())
    # The smallest singular value of the slices is about 0.3, so that float32 loses two digits.
    np.testing.assert_allclose(image, expected, atol=1e-4 * y.max())
    torch.save({"network": weights, "seconds": 1.0}, tmp_path / "slices-4x.pt")
    row = script.regression_row(tmp_path, case, VolumeScorer(case))
    assert row["psnr"] == pytest.approx(VolumeScorer(case)(image)["psnr"])
    with pytest.raises(MRCascadeError, match="no network; train it"):
        script.regression_row(tmp_path / "none", case, VolumeScorer(case))
    other = simulate_thick(volume, 2, Slicing(3, 24), 0)
    with pytest.raises(MRCascadeError, match="for noise-free slices 4 samples apart"):
        script.regression_row(tmp_path, other, VolumeScorer(other))


def test_results_of_other_programs_are_scored_on_the_grid(benchmark, tmp_path, monkeypatch, capsys):
    """A stand-in for ECLARE's command that returns the truth has no error."""
    script = benchmark("thick_slices")
    source = write_volume(tmp_path / "v.nii.gz", blobs((30, 26, 34)), (1.0, 1.05, 0.98))
    output = tmp_path / "out"
    command = tmp_path / "bin" / "run-eclare"
    command.parent.mkdir()
    command.write_text(
        f"#!{sys.executable}\nimport shutil, sys\n"
        "assert sys.argv[1::2] == ['--in-fpath', '--out-dir', '--relative-slice-thickness']\n"
        "folder = sys.argv[4]\n"
        "shutil.copy(folder + '/truth.nii.gz', folder + '/low_eclare.nii.gz')\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent))
    given = ["thick_slices.py", str(source), "--size", "24", "--axis", "0", "-o", str(output)]
    given += ["--methods", "cubic,lsq", "--run-eclare"]
    monkeypatch.setattr(sys, "argv", given)
    script.main()
    assert "| eclare | inf | 1 | 1 | 1 | 1 |" in capsys.readouterr().out
    truth, low = (nib.load(output / f"{name}.nii.gz") for name in ("truth", "low"))
    assert (truth.shape, low.shape) == ((24, 24, 24), (6, 24, 24))
    # The grids share their edges, and the truth's samples lie where the source's do.
    source = nib.load(source)
    start = (np.linalg.inv(source.affine) @ truth.affine)[:3, 3]
    np.testing.assert_allclose(start, start.round(), atol=1e-4)
    first = tuple(int(s) for s in start.round())
    window = tuple(slice(s, s + 24) for s in first)
    np.testing.assert_array_equal(truth.get_fdata(), source.get_fdata()[window])
    edges = [image.affine @ [-0.5, 0, 0, 1] for image in (truth, low)]
    np.testing.assert_allclose(*edges, atol=1e-4)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("eclare", "give NAME=FILE"),
        ("eclare=x.nii.gz:soon", "give NAME=FILE"),
    ],
)
def test_results_need_a_name_and_a_file(benchmark, result, message):
    with pytest.raises(MRCascadeError, match=message):
        benchmark("thick_slices").parse_results(result)


def test_results_off_the_grid_are_refused(benchmark, tmp_path):
    script = benchmark("thick_slices")
    values = np.zeros((4, 5, 6), np.float32)
    truth = write_volume(tmp_path / "truth.nii.gz", values, (1.0, 1.0, 1.0))
    case = type("Case", (), {"axis": 1})
    assert script.read_result(truth, case, truth).shape == (5, 4, 6)
    other = write_volume(tmp_path / "other.nii.gz", values, (1.0, 1.0, 1.1))
    with pytest.raises(MRCascadeError, match=r"0\.50 voxels from the grid"):
        script.read_result(other, case, truth)
    small = write_volume(tmp_path / "small.nii.gz", values[1:], (1.0, 1.0, 1.0))
    with pytest.raises(MRCascadeError, match="shape"):
        script.read_result(small, case, truth)
    with pytest.raises(MRCascadeError, match="cannot be read"):
        script.read_result(tmp_path / "none.nii.gz", case, truth)
