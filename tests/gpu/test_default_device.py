"""torch's default device, which a user's script may set, does not affect results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import SINGLE, write_random_prior
from tests.quick import slow

from mrcascade import SeparableOperator, super_resolve
from mrcascade.measurement.noise import estimate_noise
from mrcascade.operators import CallableOperator, squared_norm


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """Tensors on the default device have no values here."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_prior(tmp_path_factory.mktemp("single"), cascade=SINGLE)


def _restored(folder: Path, mode: str, noise: float | None) -> np.ndarray:
    y = np.random.default_rng(0).normal(1, 0.2, size=(2, 16, 16)).astype(np.float32)
    operator = SeparableOperator.from_kernel("area", 2, (32, 32))
    steps = None if mode == "mean" else 9
    return super_resolve(y, operator, folder, noise=noise, mode=mode, steps=steps).mean


@pytest.mark.parametrize(
    ("mode", "noise"),
    [
        ("mean", 0.0),
        ("sample", 0.02),
        ("dps", 0.0),
        slow("mean", 0.02),
        slow("sample", 0.0),
        slow("dps", 0.02),
        slow("balanced", 0.0),
        slow("balanced", 0.02),
    ],
)
def test_modes_of_a_cascade(
    prior_folder: Path, request: pytest.FixtureRequest, mode: str, noise: float
) -> None:
    expected = _restored(prior_folder, mode, noise)
    request.getfixturevalue("elsewhere")
    np.testing.assert_array_equal(_restored(prior_folder, mode, noise), expected)


@pytest.mark.parametrize("mode", [slow("paper"), slow("multigrid"), "multigrid-pnp"])
def test_modes_of_one_level(single: Path, request: pytest.FixtureRequest, mode: str) -> None:
    expected = _restored(single, mode, 0.02)
    request.getfixturevalue("elsewhere")
    np.testing.assert_array_equal(_restored(single, mode, 0.02), expected)


def test_the_noise_estimate(request: pytest.FixtureRequest) -> None:
    image = np.random.default_rng(0).normal(5, 1, size=(48, 48)).astype(np.float32)
    expected = estimate_noise([image]).sigma
    request.getfixturevalue("elsewhere")
    assert estimate_noise([image]).sigma == expected


def test_other_operators(request: pytest.FixtureRequest) -> None:
    inner = SeparableOperator.from_kernel("bicubic", 2, (16, 16))
    operator = CallableOperator(inner, inner.adjoint, inner.in_shape, inner.out_shape)
    y = torch.ones(1, 1, 8, 8)
    expected = squared_norm(operator, y), operator.pinv(y)
    request.getfixturevalue("elsewhere")
    assert squared_norm(operator, y) == expected[0]
    assert torch.equal(operator.pinv(y), expected[1])
