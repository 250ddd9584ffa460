"""Time estimates: the measurement of speed, its cache, and its scaling."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mrcascade.io import image_file
from mrcascade.jobs import (
    Estimator,
    Item,
    Request,
    SuperResolution,
    expected_evaluations,
    speed,
)
from mrcascade.jobs.speed import (
    Cost,
    LevelSpeed,
    cache_file,
    slice_seconds,
    speed_of,
    timed_batch,
)
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import make_plan, resolve_settings
from mrcascade.sampling import Recipe
from tests.conftest import REGRESSION, SINGLE, write_random_prior


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mrcascade" / "speed.json"


def test_measured_once(cache: Path, prior: CascadePrior) -> None:
    first = speed_of(prior)
    assert cache_file() == cache
    assert len(first) == 3
    assert all(level.denoiser.seconds((128, 128)) > 0 for level in first)
    assert speed_of(prior) == first  # a second measurement takes another time


@pytest.mark.parametrize("change", ["threads", "prior", "precision"])
def test_measured_anew_for_another(
    change: str,
    cache: Path,
    prior: CascadePrior,
    prior_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed, "_measured", lambda level, prior, n: COUNTING)
    speed_of(prior)
    threads = torch.get_num_threads()
    other = prior
    if change == "prior":
        other = CascadePrior.from_pretrained(write_random_prior(tmp_path / "b", cascade=SINGLE))
    if change == "precision":
        other = CascadePrior.from_pretrained(prior_folder, precision="bfloat16")
    try:
        torch.set_num_threads(threads + (change == "threads"))
        speed_of(other)
    finally:
        torch.set_num_threads(threads)
    assert len(json.loads(cache.read_text())) == 2


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1]",
        '{"KEY": 3}',
        '{"KEY": [[[1, 2], [-1, 0]]]}',
        '{"KEY": [[[1], [2]], [], []]}',
        '{"KEY": [[[NaN, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]}',
    ],
)
def test_a_damaged_cache_is_measured_over(
    content: str, cache: Path, prior: CascadePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = LevelSpeed(Cost(1.0, 2.0), Cost(3.0, 4.0))
    monkeypatch.setattr(speed, "_measured", lambda *_: cost)
    assert speed_of(prior) == [cost] * 3
    whole = json.loads(cache.read_text())
    ((key, costs),) = whole.items()
    assert costs == [[[1.0, 2.0], [3.0, 4.0]]] * 3
    cache.write_text(content.replace("KEY", key))
    assert speed_of(prior) == [cost] * 3
    assert json.loads(cache.read_text()) == whole


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, prior: CascadePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("precious")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(speed_of(prior)) == 3
    assert (tmp_path / "file").read_text() == "precious"


def test_the_cache_forgets_the_oldest(
    cache: Path, prior: CascadePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(json.dumps({str(number): [] for number in range(100)}))
    monkeypatch.setattr(speed, "_measured", lambda *_: LevelSpeed(Cost(0, 0), Cost(0, 0)))
    speed_of(prior)
    kept = list(json.loads(cache.read_text()))
    assert kept[:-1] == [*map(str, range(37, 100))]
    assert kept[-1] not in map(str, range(100))


# ---- what one slice takes ----

# One second for each evaluation of a denoiser; conditions cost nothing.
COUNTING = LevelSpeed(Cost(1.0, 0.0), Cost(0.0, 0.0))


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("steps", [30, 200])
def test_a_chain_takes_its_steps(
    noise: float, factor: int, steps: int, prior: CascadePrior
) -> None:
    operator = SeparableOperator.from_kernel("fourier", factor, (64, 64))
    settings = Recipe("chain", steps=steps)
    plan = make_plan(prior, operator, noise, settings)
    count = expected_evaluations(plan)
    assert slice_seconds(plan, [COUNTING] * 3) == pytest.approx(1.1 * count)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_mean_takes_one_condition_per_level_and_turn(noise: float, prior: CascadePrior) -> None:
    operator = SeparableOperator.from_kernel("fourier", 2, (64, 64))
    settings = replace(resolve_settings(prior, "mean"), orientations=(8, 2))
    plan = make_plan(prior, operator, noise, settings)
    conditions = slice_seconds(plan, [LevelSpeed(Cost(0, 0), Cost(1, 0))] * 3)
    denoisers = slice_seconds(plan, [COUNTING] * 3)
    # Noise-free data fix level 2; noisy ones are denoised there and at level 3.
    assert conditions == pytest.approx(1.1 * (8 if noise == 0 else 8 + 2 + 2))
    assert denoisers == pytest.approx(1.1 * (0 if noise == 0 else 2 + 2))


def test_a_chain_takes_one_condition_per_level(prior: CascadePrior) -> None:
    """Its orientations share the conditional mean of the first."""
    operator = SeparableOperator.from_kernel("fourier", 4, (64, 64))
    plan = make_plan(prior, operator, 0.0, Recipe("chain", steps=30, orientations=4))
    conditions = slice_seconds(plan, [LevelSpeed(Cost(0, 0), Cost(1, 0))] * 3)
    assert conditions == pytest.approx(1.1 * 2)  # noise-free data fix level 3


def test_seconds_grow_with_the_pixels(prior: CascadePrior) -> None:
    per_pixel = [LevelSpeed(Cost(0, 1e-6), Cost(0, 0))] * 3
    settings = Recipe("chain", steps=30)
    seconds = []
    for side in (64, 128):
        operator = SeparableOperator.from_kernel("fourier", 2, (side, side))
        seconds.append(slice_seconds(make_plan(prior, operator, 0.1, settings), per_pixel))
    assert seconds[1] == pytest.approx(4 * seconds[0])
    assert seconds[0] == pytest.approx(1.1 * 10 * (64**2 + 32**2 + 16**2) * 1e-6)


def test_a_batch_shares_what_each_evaluation_costs(prior: CascadePrior) -> None:
    operator = SeparableOperator.from_kernel("fourier", 2, (64, 64))
    plan = make_plan(prior, operator, 0.1, Recipe("chain", steps=30))
    assert slice_seconds(plan, [COUNTING] * 3, 6) == pytest.approx(1.1 * 30 / 6)
    per_pixel = [LevelSpeed(Cost(0, 1e-6), Cost(0, 0))] * 3
    assert slice_seconds(plan, per_pixel, 6) == pytest.approx(slice_seconds(plan, per_pixel))


def test_a_line_through_measurements_of_batches() -> None:
    """Of 8 images: 2 s, and 1 s for each 10^5 pixels."""
    seconds = [2 + 8 * side**2 / 1e5 for side in speed._SIDES]
    cost = speed._line(seconds, 8)
    assert (cost.fixed, cost.per_pixel) == pytest.approx((2, 1e-5))


def test_a_job_is_timed_in_batches_like_its_own(
    cache: Path, prior: CascadePrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[int] = []
    monkeypatch.setattr(speed, "_measured", lambda level, prior, n: timed.append(n) or COUNTING)
    rng = np.random.default_rng(0)
    job = SuperResolution((2, 2), noise=0.01, mode="paper", steps=6, batch_size=7)
    estimator, request = Estimator(prior), Request.of(prior, job)
    seconds = []
    for slices in (6, 5, 2, 20):
        path = tmp_path / f"{slices}.npy"
        np.save(path, rng.normal(size=(16, 16, slices)))
        seconds.append(estimator.file(Item(image_file(path)), tmp_path / "out", request).seconds)
    assert timed == [4] * 3 + [2] * 3  # each level of each batch once
    assert seconds[:3] == pytest.approx([seconds[0]] * 3)  # one batch each
    assert seconds[3] == pytest.approx(20 / 7 * seconds[0])
    assert [timed_batch(n) for n in (1, 3, 64, 100, 1000)] == [1, 2, 64, 64, 64]


def test_a_gradient_costs_three_evaluations(prior: CascadePrior) -> None:
    operator = SeparableOperator.from_kernel("fourier", 2, (64, 64))
    plans = [
        make_plan(prior, operator, 0.1, Recipe("chain", steps=30, sampler=sampler))
        for sampler in ("diffpir", "dps")
    ]
    plain, gradient = (slice_seconds(plan, [COUNTING] * 3) for plan in plans)
    assert gradient == pytest.approx(3 * plain)


def test_priors_of_other_kinds(tmp_path: Path, cache: Path) -> None:
    """A regression network for 4x, and one level that runs on three grids."""
    regression = CascadePrior.from_pretrained(write_random_prior(tmp_path / "r", 1, REGRESSION))
    assert len(speed_of(regression)) == 2
    single = CascadePrior.from_pretrained(write_random_prior(tmp_path / "s", 1, SINGLE))
    settings = resolve_settings(single, "multigrid", 30)
    operator = SeparableOperator.from_kernel("fourier", 2, (64, 64))
    plan = make_plan(single, operator, 0.1, settings)
    assert slice_seconds(plan, [COUNTING]) == pytest.approx(1.1 * 30)
