"""Reports of the benchmarks: costs against the networks' own, step sizes against ours."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mrcascade import CascadePrior, SeparableOperator
from mrcascade.arrays.intensity import Intensity
from mrcascade.evaluation.data import Measurement
from mrcascade.evaluation.methods import METHODS, Context
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.recipes.samplers.ancestral import Ancestral
from mrcascade.restore import Plan, Restorer
from mrcascade.sampling import RECIPES, NoiseSource, run_chain, with_gradient

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIDE, STEPS = 32, 3


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a script of benchmarks/ by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture(scope="module")
def context():
    operator = SeparableOperator.from_kernel("fourier", 4, (SIDE, SIDE))
    measurement = np.random.default_rng(0).random((1, *operator.out_shape), np.float32)
    prior = CascadePrior.from_pretrained("mr-small-baselines/single-scale")
    return Context(measurement, (0,), operator, "fourier", 1.0, prior=prior, steps=STEPS)


@pytest.mark.parametrize("script", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_every_script_has_what_it_imports(benchmark, script):
    assert benchmark(script).__doc__


def test_method_speed_counts_forward_and_backward_passes(benchmark, context):
    script = benchmark("method_speed")
    diffpir, dps = (script.counted(METHODS[name], context) for name in ("diffpir", "dps"))
    assert diffpir["levels"] == dps["levels"] == {1: STEPS}
    assert diffpir["gflop_forward"] == dps["gflop_forward"] > 0
    assert diffpir["gflop_backward"] == 0
    # A gradient with respect to the input repeats every convolution but the shares of the noise
    # label, and the last evaluation takes none.
    share = dps["gflop_backward"] / dps["gflop_forward"] * STEPS / (STEPS - 1)
    assert share == pytest.approx(1, abs=0.05)


def test_meter_restores_the_networks(benchmark):
    forward = LevelNetworks.forward
    with benchmark("common").NetworkMeter(lambda: 0.0).attached():
        assert LevelNetworks.forward is not forward
    assert LevelNetworks.forward is forward


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
