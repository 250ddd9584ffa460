"""Operators and priors for deepinv against dense matrices and our own restoration.

deepinv's classes are doubles of what the adapters use; the
cases named `real` take the library where it imports.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import SINGLE, write_random_prior
from torch import Tensor

from mrcascade import (
    CascadePrior,
    IdentityOperator,
    Intensity,
    MRCascadeError,
    Plan,
    Restorer,
    SeparableOperator,
    super_resolve,
)
from mrcascade.adapters import deepinv as adapter
from mrcascade.adapters.deepinv import as_denoiser, as_operator, as_physics
from mrcascade.adapters.libraries import import_deepinv
from mrcascade.restore import resolve_settings

FINE, COARSE = (8, 6), (4, 3)


class LinearPhysics(torch.nn.Module):
    def __init__(self, A: Any, A_adjoint: Any, img_size: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.A, self.A_adjoint, self.img_size = A, A_adjoint, img_size


@pytest.fixture(params=["double", "real"])
def deepinv(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "real":
        try:
            return import_deepinv()
        except MRCascadeError as error:
            pytest.skip(str(error))
    double = SimpleNamespace(
        physics=SimpleNamespace(LinearPhysics=LinearPhysics),
        models=SimpleNamespace(Denoiser=torch.nn.Module),
    )
    monkeypatch.setattr(adapter, "import_deepinv", lambda: double)
    return double


@pytest.fixture
def operator() -> SeparableOperator:
    return SeparableOperator.from_kernel("area", 2, FINE)


def dense(operator: SeparableOperator) -> Tensor:
    """Return H for images that are flattened row by row."""
    return torch.from_numpy(np.kron(operator.rows, operator.cols))


def test_physics_is_the_dense_matrix(deepinv: Any, operator: SeparableOperator) -> None:
    physics, H = as_physics(operator), dense(operator)
    assert isinstance(physics, deepinv.physics.LinearPhysics)
    x = torch.randn(2, 3, *FINE, dtype=torch.float64)
    y = torch.randn(2, 3, *COARSE, dtype=torch.float64)
    near = {"rtol": 0, "atol": 1e-12}  # sums of 48 products of numbers around 1 in float64
    flat = physics.A(x).flatten(2)
    torch.testing.assert_close(flat, x.flatten(2) @ H.T, **near)
    torch.testing.assert_close(physics.A_adjoint(y).flatten(2), y.flatten(2) @ H, **near)
    inverse = torch.linalg.pinv(H)
    torch.testing.assert_close(physics.A_dagger(y).flatten(2), y.flatten(2) @ inverse.T, **near)


@pytest.mark.parametrize("gamma", [4.0, torch.tensor(4.0), torch.tensor([4.0, 0.5])])
@pytest.mark.parametrize("start", ["image", 0.0, None])
def test_prox_is_the_dense_minimiser(
    deepinv: Any, operator: SeparableOperator, gamma: float | Tensor, start: Any
) -> None:
    H = dense(operator)
    y = torch.randn(2, 3, *COARSE, dtype=torch.float64)
    z = torch.randn(2, 3, *FINE, dtype=torch.float64) if start == "image" else start
    found = as_physics(operator).prox_l2(z, y, gamma).flatten(2)
    flat = torch.zeros(2, 3, H.shape[1]).double() if not isinstance(z, Tensor) else z.flatten(2)
    for n in range(2):
        g = float(gamma.flatten()[n % gamma.numel()] if isinstance(gamma, Tensor) else gamma)
        # gamma H^T (H x - y) + x - z = 0
        right = g * y[n].flatten(1) @ H + flat[n]
        expected = torch.linalg.solve(g * H.T @ H + torch.eye(H.shape[1]).double(), right.T).T
        torch.testing.assert_close(found[n], expected, rtol=0, atol=1e-12)


def test_an_infinite_gamma_is_the_projection(deepinv: Any, operator: SeparableOperator) -> None:
    z, y = torch.randn(1, 1, *FINE), torch.randn(1, 1, *COARSE)
    found = as_physics(operator).prox_l2(z, y, torch.tensor([np.inf]))
    assert torch.equal(found, operator.project(z, y))


def test_a_physics_comes_back_as_the_same_operator(
    deepinv: Any, operator: SeparableOperator
) -> None:
    again = as_operator(as_physics(operator).double(), FINE)
    assert (again.in_shape, again.out_shape) == (FINE, COARSE)
    x = torch.randn(2, *FINE, dtype=torch.complex128)
    y = torch.randn(2, 1, *COARSE, dtype=torch.float64)
    z = torch.randn(2, 1, *FINE, dtype=torch.float64)
    near = {"rtol": 0, "atol": 1e-5}  # deepinv's one buffer, or the double, may say float32
    torch.testing.assert_close(again(x), operator(x), **near)
    torch.testing.assert_close(again.adjoint(y), operator.adjoint(y), **near)
    torch.testing.assert_close(again.prox(z, y, 0.3), operator.prox(z, y, 0.3), **near)


def test_images_of_a_physics_must_be_images(deepinv: Any) -> None:
    def coils(x: Tensor) -> Tensor:
        return torch.stack([x, x], 2)

    physics = deepinv.physics.LinearPhysics(A=coils, A_adjoint=lambda y: y.sum(2))
    with pytest.raises(MRCascadeError, match=r"maps an image to \(1, 1, 2, 8, 6\)"):
        as_operator(physics, FINE)

    def fixed(x: Tensor) -> Tensor:
        return x.reshape(1, 1, 2, 2)

    physics = deepinv.physics.LinearPhysics(A=fixed, A_adjoint=fixed)
    with pytest.raises(MRCascadeError, match=r"takes no image of \(1, 1, 8, 6\): shape"):
        as_operator(physics, FINE)


def test_slices_are_restored_with_a_physics(
    deepinv: Any, prior: CascadePrior, operator: SeparableOperator
) -> None:
    H = SeparableOperator.from_kernel("area", 2, (32, 32))
    low = H @ np.random.default_rng(0).random((1, 32, 32), dtype=np.float32)
    found = super_resolve(low, as_operator(as_physics(H), (32, 32)), prior, noise=0.0, mode="mean")
    assert found.residual[0] < 1e-5  # rounding of float32
    assert found.mean.shape == (1, 32, 32)


# ---- denoisers ----


def test_a_prior_of_one_level_is_its_network(deepinv: Any, tmp_path: Any) -> None:
    single = CascadePrior.from_pretrained(write_random_prior(tmp_path / "single", cascade=SINGLE))
    denoiser = as_denoiser(single)
    assert isinstance(denoiser, deepinv.models.Denoiser)
    assert len(list(denoiser.parameters())) > 0  # for denoiser.to
    x = torch.rand(2, 1, 32, 32, requires_grad=True)
    expected = single.levels[0].condition(None).denoise(x, 0.25)
    found = denoiser(x, 0.25)
    assert torch.equal(found, expected)
    assert torch.equal(denoiser(x, torch.full((2, 1, 1, 1), 0.25)), expected)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert gradient.abs().max() > 0
    each = denoiser(x, torch.tensor([0.25, 0.5]))
    assert torch.equal(each[:1], denoiser(x[:1], 0.25))
    assert torch.equal(each[1:], denoiser(x[1:], 0.5))
    assert torch.equal(denoiser(x, 0.0), x)
    # powers of two scale without rounding
    assert torch.equal(as_denoiser(single, 1024.0)(1024 * x, 256.0), 1024 * expected)


def test_a_cascade_is_the_mean_of_an_identity_measurement(
    deepinv: Any, prior: CascadePrior
) -> None:
    x = torch.rand(2, 1, 32, 32)
    identity = IdentityOperator((32, 32))
    plan = Plan.of(prior, identity, 0.125, resolve_settings(prior, "mean"))
    expected = Restorer(prior, plan)(x[:, 0].numpy(), Intensity(1.0), batch_size=2).mean
    assert torch.equal(as_denoiser(prior)(x, 0.125)[:, 0], torch.from_numpy(expected))


# ---- the library itself ----


@pytest.mark.parametrize("deepinv", ["real"], indirect=True)
def test_deepinv_finds_the_adjoint_exact(deepinv: Any, operator: SeparableOperator) -> None:
    assert float(as_physics(operator).adjointness_test(dtype=torch.float64)) < 1e-12


@pytest.mark.parametrize("deepinv", ["real"], indirect=True)
def test_a_downsampling_of_deepinv_is_the_dense_matrix(deepinv: Any) -> None:
    kernel = torch.rand(1, 1, 3, 3)  # without a symmetry that would hide a wrong adjoint
    physics = deepinv.physics.Downsampling((1, *FINE), kernel, factor=2, padding="circular")
    operator = as_operator(physics, FINE)
    units = torch.eye(FINE[0] * FINE[1]).reshape(-1, *FINE)
    H = operator(units).flatten(1).T.double()
    y = torch.randn(3, *operator.out_shape)
    adjoint = operator.adjoint(y).flatten(1).double()
    torch.testing.assert_close(adjoint, y.flatten(1).double() @ H, rtol=0, atol=1e-6)
    z, tau = torch.randn(3, *FINE), 0.5
    right = H.T @ y.flatten(1).double().T + tau * z.flatten(1).double().T
    expected = torch.linalg.solve(H.T @ H + tau * torch.eye(len(units)).double(), right).T
    found = operator.prox(z, y, tau).flatten(1).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("deepinv", ["real"], indirect=True)
def test_a_sampler_of_deepinv_runs(deepinv: Any, tmp_path: Any) -> None:
    single = CascadePrior.from_pretrained(write_random_prior(tmp_path / "single", cascade=SINGLE))
    H = SeparableOperator.from_kernel("fourier", 2, (32, 32))
    model = deepinv.sampling.DiffPIR(
        as_denoiser(single), deepinv.optim.data_fidelity.L2(), sigma=0.01, max_iter=3
    )
    y = torch.rand(1, 1, 16, 16)
    image = model(y, as_physics(H))
    assert image.shape == (1, 1, 32, 32)
    assert image.isfinite().all()
