"""Power-function EMA against its definition, and profiles rebuilt from snapshots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mrcascade import MRCascadeError
from mrcascade.training.ema import (
    PowerEMA,
    decay,
    gamma_from_std,
    synthesis_weights,
    synthesize,
)
from mrcascade.training.snapshots import drop_snapshots, rebuild_profile, save_snapshot

STEPS, BATCH = 400, 16
TOTAL = STEPS * BATCH
STDS = (0.05, 0.10)


class Point(nn.Module):
    """One parameter vector that a test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(3, dtype=torch.float64))


def trajectory(seed: int = 0) -> np.ndarray:
    """(STEPS, 3): parameters after each step, a decay and a random walk."""
    rng = np.random.default_rng(seed)
    t = np.arange(1, STEPS + 1)[:, None] / STEPS
    walk = rng.normal(size=(STEPS, 3)).cumsum(0) / np.sqrt(STEPS)
    return np.exp(-5 * t) + 0.3 * walk


def tracked(stds: tuple[float, ...], each=None) -> PowerEMA:
    """The EMA after the whole trajectory; ``each(images, ema)`` is called after every step."""
    point = Point()
    ema = PowerEMA(point, stds)
    for i, value in enumerate(trajectory()):
        with torch.no_grad():
            point.value.copy_(torch.from_numpy(value))
        ema.update(i * BATCH, (i + 1) * BATCH)
        if each is not None:
            each((i + 1) * BATCH, ema)
    return ema


def profile(std: float) -> np.ndarray:
    """Weight of each step: the integral of t^gamma over the step, normalised to sum one."""
    edges = (np.arange(STEPS + 1) / STEPS) ** (gamma_from_std(std) + 1)
    return np.diff(edges)


@pytest.mark.parametrize("std", [0.01, 0.05, 0.10, 0.25])
def test_gamma_gives_the_relative_std(std: float) -> None:
    gamma = gamma_from_std(std)
    n = 400_000
    t = (np.arange(n) + 0.5) / n
    density = (gamma + 1) * t**gamma
    mean = np.mean(density * t)
    variance = np.mean(density * (t - mean) ** 2)
    # The midpoint rule errs by about (gamma / n)^2 of each integral, and the variance is a
    # small share, std^2, of the integrals that it is made of.
    assert np.sqrt(variance) == pytest.approx(std, rel=1e-6)


def test_known_gammas() -> None:
    # Karras et al. 2024, section 3.1, give 0.05 and 0.10 as gamma = 16.97 and 6.94.
    assert gamma_from_std(0.05) == pytest.approx(16.97, abs=0.005)
    assert gamma_from_std(0.10) == pytest.approx(6.94, abs=0.005)


@pytest.mark.parametrize("std", STDS)
def test_average_is_the_integral_of_the_profile(std: float) -> None:
    expected = profile(std) @ trajectory()
    assert profile(std).sum() == pytest.approx(1)
    result = tracked((std,)).parameters(0)["value"].numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_first_step_forgets_the_initial_weights() -> None:
    assert decay(0.05, 0, 16) == 0
    point = Point()
    ema = PowerEMA(point, STDS)
    with torch.no_grad():
        point.value.fill_(2.0)
    ema.update(0, 16)
    assert all(torch.equal(ema.parameters(i)["value"], point.value) for i in range(2))


def test_state_round_trip() -> None:
    ema = tracked(STDS)
    other = PowerEMA(Point(), STDS)
    other.load_state_dict([{k: v.clone() for k, v in p.items()} for p in ema.state_dict()])
    for i in range(2):
        assert torch.equal(other.parameters(i)["value"], ema.parameters(i)["value"])


# ---- synthesis ----


def snapshots(count: int = 8) -> tuple[list[dict[str, torch.Tensor]], list[float], list[float]]:
    """Both profiles at ``count`` equal distances: weights, images seen, profiles."""
    found: list[dict[str, torch.Tensor]] = []
    times: list[float] = []

    def each(images: int, ema: PowerEMA) -> None:
        if images % (TOTAL // count) == 0:
            for i in range(2):
                found.append({k: v.clone() for k, v in ema.parameters(i).items()})
                times.append(images)

    tracked(STDS, each)
    return found, times, list(STDS) * count


def test_a_stored_profile_comes_back_exactly() -> None:
    _, times, stds = snapshots()
    for i, std in enumerate(STDS):
        weights = synthesis_weights(times, stds, TOTAL, std)
        expected = np.zeros(len(times))
        expected[len(times) - 2 + i] = 1
        # The solution is exact; the Gram matrix has a condition number of about 1e6.
        np.testing.assert_allclose(weights, expected, atol=1e-7)


def residual(times: list[float], stds: list[float], std: float) -> float:
    """Norm, relative to the target profile's, of what the snapshots cannot express, from a dense
    sampling of the continuous profiles: independent of the closed-form inner products."""
    t = (np.arange(200_000) + 0.5) / 200_000

    def density(end: float, s: float) -> np.ndarray:
        gamma = gamma_from_std(s)
        return np.where(t <= end, (gamma + 1) / end * (t / end) ** gamma, 0)

    weights = synthesis_weights(times, stds, TOTAL, std)
    parts = zip(weights, times, stds, strict=True)
    rebuilt = sum(w * density(a / TOTAL, s) for w, a, s in parts)
    target = density(1, std)
    return float(np.linalg.norm(rebuilt - target) / np.linalg.norm(target))


@pytest.mark.parametrize("std", [0.04, 0.06, 0.07, 0.12, 0.15])
def test_other_profiles_are_rebuilt(std: float) -> None:
    """|rebuilt - direct| <= ||p_rebuilt - p_target|| ||theta||, by Cauchy-Schwarz in L2, plus
    what the step of the trajectory adds to profiles that are continuous."""
    found, times, stds = snapshots()
    result = synthesize(found, times, stds, std)["value"].numpy()
    expected = profile(std) @ trajectory()
    gamma = gamma_from_std(std)
    target_norm = (gamma + 1) / np.sqrt(2 * gamma + 1)
    theta = np.linalg.norm(trajectory(), axis=0) / np.sqrt(STEPS)
    bound = residual(times, stds, std) * target_norm * theta
    assert residual(times, stds, std) < 0.05  # the test would otherwise say little
    assert (np.abs(result - expected) <= bound + 1e-9).all()
    nearest = min(STDS, key=lambda s: abs(s - std))
    kept = profile(nearest) @ trajectory()
    assert np.abs(result - expected).max() < 0.5 * np.abs(kept - expected).max()


def test_weights_minimise_the_distance() -> None:
    _, times, stds = snapshots(4)
    best = synthesis_weights(times, stds, TOTAL, 0.07)
    t = (np.arange(40_000) + 0.5) / 40_000

    def density(end: float, std: float) -> np.ndarray:
        gamma = gamma_from_std(std)
        return np.where(t <= end, (gamma + 1) / end * (t / end) ** gamma, 0)

    basis = np.stack([density(a / TOTAL, s) for a, s in zip(times, stds, strict=True)], 1)
    # Normal equations of the sampled problem, to the error of the midpoint rule with a jump at
    # the end of each profile: one sample of 40,000 of a density of at most 18.
    gradient = basis.T @ (basis @ best - density(1, 0.07)) / len(t)
    assert np.abs(gradient).max() < 18**2 / len(t) * 10


# ---- snapshot files ----


def write_snapshots(folder: Path, count: int = 8) -> None:
    def each(images: int, ema: PowerEMA) -> None:
        if images % (TOTAL // count) == 0:
            save_snapshot(folder, 1, images, ema)

    tracked(STDS, each)


def test_profiles_are_rebuilt_from_files(tmp_path: Path) -> None:
    write_snapshots(tmp_path)
    assert len(list(tmp_path.iterdir())) == 8
    found, times, stds = snapshots()
    expected = synthesize(found, times, stds, 0.07)["value"].numpy()
    result = rebuild_profile(tmp_path, 1, 0.07)["value"]
    assert result.dtype == torch.float32
    # float16 rounds each weight by 2^-11 of its size.
    sizes = np.stack([np.abs(f["value"].numpy()) for f in found])
    bound = 2.0**-11 * np.abs(synthesis_weights(times, stds, TOTAL, 0.07)) @ sizes
    assert (np.abs(result.numpy() - expected) <= bound + 1e-6).all()
    assert bound.max() < 5e-3


def test_snapshots_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    write_snapshots(tmp_path, 4)
    (tmp_path / "level2-snapshot-99999.safetensors").touch()
    drop_snapshots(tmp_path, 1, TOTAL // 2)
    kept = {p.name for p in tmp_path.iterdir()}
    assert kept == {
        f"level1-snapshot-{TOTAL // 4}.safetensors",
        f"level1-snapshot-{TOTAL // 2}.safetensors",
        "level2-snapshot-99999.safetensors",
    }


def test_what_cannot_be_rebuilt_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MRCascadeError, match="0 snapshots of level 1, too few"):
        rebuild_profile(tmp_path, 1, 0.07)
    write_snapshots(tmp_path, 2)
    for std in (0.0, -0.1, 0.3, float("nan")):
        with pytest.raises(MRCascadeError, match="EMA profile"):
            rebuild_profile(tmp_path, 1, std)
    path = tmp_path / f"level1-snapshot-{TOTAL}.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(MRCascadeError, match="not a readable snapshot") as error:
        rebuild_profile(tmp_path, 1, 0.07)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
