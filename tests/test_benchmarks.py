"""Reports of the benchmarks: tables, step sizes against ours."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mrcascade import SeparableOperator
from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import Measurement
from mrcascade.recipes.samplers.ancestral import Ancestral
from mrcascade.restore import Plan, Restorer
from mrcascade.sampling import RECIPES, NoiseSource, run_chain, with_gradient

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIDE = 32


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a script of benchmarks/ by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.mark.parametrize("script", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_every_script_has_what_it_imports(benchmark, script):
    assert benchmark(script).__doc__


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
    weights = list(benchmark("deepinv_adapter").matched_weights((5.0, 1.0), 0.3))
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
