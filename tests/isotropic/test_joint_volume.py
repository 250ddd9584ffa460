"""One volume from several stacks: solutions against dense matrices, and a known volume."""

from __future__ import annotations

import numpy as np
import pytest

from mrcascade.operators.profile import GAUSSIAN
from mrcascade.operators.stack import StackOperator
from mrcascade.restore.volume import (
    SMOOTHNESS,
    StackData,
    ThickSlices,
    average_estimates,
    joint,
    joint_least_squares,
    joint_projection,
    least_squares,
)

SHAPE = (8, 11, 10)
THICK = 2  # voxels per slice


def across(axis: int, volume: tuple[int, int, int], dtype: type = np.float64) -> StackOperator:
    """Slices of two voxels across an axis of a volume; those across axis 0 are its own."""
    order = [axis, *(a for a in range(3) if a != axis)]
    stack = np.eye(4)[:, [*order, 3]]
    stack[:, 0] *= THICK
    stack[axis, 3] = THICK / 2 - 0.5
    shape = [volume[a] for a in order]
    shape[0] //= THICK
    return StackOperator(
        volume, np.eye(4), tuple(shape), stack, THICK, GAUSSIAN, ends=axis == 0, dtype=dtype
    )


def oblique() -> StackOperator:
    """A stack turned by 20 degrees that leaves the volume."""
    turn = np.deg2rad(20)
    stack = np.eye(4)
    stack[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    stack = stack @ np.diag([1.0, 2.0, 1.3, 1.0])
    stack[:3, 3] = 0.0, 3.0, 3.0
    return StackOperator(SHAPE, np.eye(4), (2, 8, 4), stack[:, [1, 0, 2, 3]], 2.2, GAUSSIAN)


def dense(operator: StackOperator) -> np.ndarray:
    """Matrix of the rows that lie within the volume."""
    columns = [operator(one.reshape(SHAPE)) for one in np.eye(np.prod(SHAPE))]
    return np.stack([c[operator.inside] for c in columns], 1)


def second_differences() -> np.ndarray:
    """Matrix of the second differences along all axes."""
    rows = []
    for axis in range(3):
        d = np.diff(np.eye(SHAPE[axis]), 2, axis=0)
        sides = [d if a == axis else np.eye(n) for a, n in enumerate(SHAPE)]
        rows.append(np.kron(np.kron(sides[0], sides[1]), sides[2]))
    return np.concatenate(rows)


@pytest.fixture
def precise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "_TOLERANCE", 1e-13)
    monkeypatch.setattr(joint, "_ITERATIONS", 3000)


def measured(truth: np.ndarray, noise: float = 0.0) -> list[StackData]:
    rng = np.random.default_rng(1)
    operators = [across(0, SHAPE), across(2, SHAPE), oblique()]
    assert 0 < operators[2].inside.sum() < operators[2].inside.size
    made = []
    for weight, one in zip((1.0, 0.5, 2.0), operators, strict=True):
        y = one(truth)
        y = np.where(one.inside, y + noise * rng.normal(size=y.shape), 1e3)  # beyond: not used
        made.append(StackData(one, y, weight))
    return made


def weighted(data: list[StackData]) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and data of all stacks, multiplied by the roots of their weights."""
    a = np.concatenate([np.sqrt(d.weight) * dense(d.operator) for d in data])
    return a, np.concatenate([np.sqrt(d.weight) * d.values[d.operator.inside] for d in data])


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_least_squares_are_those_of_the_dense_matrices(precise: None, noise: float) -> None:
    truth = np.random.default_rng(0).normal(size=SHAPE).cumsum(0).cumsum(1)
    data = measured(truth, noise)
    start = least_squares(data[0].values, ThickSlices(4, 8))
    found = joint_least_squares(data, start)
    a, y = weighted(data)
    d = second_differences()
    expected = np.linalg.solve(a.T @ a + found.weight * d.T @ d, a.T @ y)
    # The gradient ends at 1e-13 of the data's; the smallest eigenvalue is some 1e-7.
    np.testing.assert_allclose(found.volume.ravel(), expected, atol=1e-5 * np.abs(truth).max())


def test_noise_makes_the_volume_smoother(precise: None) -> None:
    """The weight is the variance of the noise over that of the second differences."""
    truth = np.random.default_rng(0).normal(size=SHAPE).cumsum(0).cumsum(1)
    data, d = measured(truth, 3.0), second_differences()
    a, y = weighted(data)
    weight = 3.0**2 / (np.sum((d @ truth.ravel()) ** 2) / truth.size)
    x = np.linalg.solve(a.T @ a + weight * d.T @ d, a.T @ y)
    found = joint_least_squares(data, truth, 3.0)
    assert found.weight == pytest.approx(weight, rel=1e-6)
    np.testing.assert_allclose(found.volume.ravel(), x, atol=1e-5 * np.abs(truth).max())
    assert joint_least_squares(data, truth).weight == SMOOTHNESS < weight


def test_without_noise_the_change_is_the_smallest(precise: None) -> None:
    rng = np.random.default_rng(0)
    truth, start = rng.normal(size=(2, *SHAPE))
    data = measured(truth)
    found = joint_projection(data, start)
    a, y = weighted(data)
    # Singular values that are zero are 1e-16 of the largest; others begin at some 1e-4.
    expected = start.ravel() + np.linalg.pinv(a, rcond=1e-9) @ (y - a @ start.ravel())
    np.testing.assert_allclose(found.volume.ravel(), expected, atol=1e-5)
    assert max(one.residual(found.volume) for one in data) < 1e-7


def test_noise_keeps_the_volume_where_it_is(precise: None) -> None:
    rng = np.random.default_rng(0)
    truth, start = rng.normal(size=(2, *SHAPE))
    data = measured(truth, 0.1)
    found = joint_projection(data, start, 0.16)
    a, y = weighted(data)
    normal = a.T @ a + 0.16 * np.eye(a.shape[1])
    expected = start.ravel() + np.linalg.solve(normal, a.T @ (y - a @ start.ravel()))
    np.testing.assert_allclose(found.volume.ravel(), expected, atol=1e-8)


def test_three_stacks_show_what_one_does_not() -> None:
    """A volume whose waves are slow along one axis at least is known from three stacks."""
    shape, rng = (24, 24, 24), np.random.default_rng(0)
    places = np.indices(shape)
    truth = np.full(shape, 20.0)
    for _ in range(12):  # up to 0.3 cycles per voxel along two axes; a slice of 2 sees these little
        slow = rng.integers(3)
        cycles = rng.uniform(0, 0.3, 3)
        cycles[slow] = rng.uniform(0, 0.05)
        truth += np.cos(2 * np.pi * (np.tensordot(cycles, places, 1) + rng.random()))
    truth = truth.astype(np.float32)
    operators = [across(axis, shape, np.float32) for axis in range(3)]
    data = [StackData(one, one(truth)) for one in operators]
    alone = least_squares(data[0].values, ThickSlices(12, 24))
    found = joint_least_squares(data, alone)
    inner = (slice(4, -4),) * 3
    missed, single = (
        np.std((x - truth)[inner]) / np.std(truth[inner]) for x in (found.volume, alone)
    )
    # Along its fast axes a wave has a response of 0.5 or more in one stack, against a penalty of
    # 1e-3 times at most (2 - 2 cos(0.6 pi))^2 = 6.9 per axis.
    assert missed < 2 * 1e-3 * 6.9 / 0.5**2
    assert single > 5 * missed


def test_each_estimate_counts_where_its_stack_measured() -> None:
    """A wave along one axis comes from the stacks whose slices do not cross it."""
    shape, thickness = (32, 32, 32), 4.0
    waves = [np.cos(2 * np.pi * 0.25 * place).astype(np.float32) for place in np.indices(shape)]
    vectors = [thickness * np.eye(3)[axis] for axis in range(3)]
    zero = np.zeros(shape, np.float32)
    unmeasured = np.exp(-((2 * np.pi / 2.3548200450309493 * thickness * 0.25) ** 2)) + 0.02
    for axis, wave in enumerate(waves):
        for number in range(3):
            estimates = [wave if k == number else zero for k in range(3)]
            average = average_estimates(estimates[0], estimates[1:], vectors)
            weight = unmeasured if number == axis else 1.02
            share = weight / (unmeasured + 2 * 1.02)
            np.testing.assert_allclose(average, share * wave, atol=1e-5)
