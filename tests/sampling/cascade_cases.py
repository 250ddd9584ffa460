"""Cascades on Gaussian images, shared by the tests of the cascade."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from gaussian_prior import (
    GaussianPrior,
    dense,
    image_gaussian,
)
from torch import Tensor

from mrcascade.operators import (
    KERNELS,
    LinearOperator,
    SeparableOperator,
)
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.sampling import (
    CascadePlan,
    NoiseSource,
    Recipe,
    cascade_sample,
    plan_cascade,
)

SHAPE = (8, 8)
SHORT = Recipe("short", steps=30, zeta=0.3)


class Silence(NoiseSource):
    """Zeros for noise: an affine sampler then returns the mean of its law."""

    def draws(self, count, shape, device="cpu", dtype=torch.float32):  # type: ignore[no-untyped-def]
        return (torch.zeros(tuple(shape), device=device, dtype=dtype) for _ in range(count))


class UnitNoise(Silence):
    """The columns of the identity for all noise of a run, as channels of one image."""

    def __init__(self, size: int) -> None:
        super().__init__([0])
        self.size, self.given = size, 0

    def draws(self, count, shape, device="cpu", dtype=torch.float32):  # type: ignore[no-untyped-def]
        for noise in super().draws(count, shape, device, dtype):
            pixels = noise.shape[-2] * noise.shape[-1]
            if self.size:
                block = noise[0, self.given : self.given + pixels].reshape(pixels, pixels)
                block.copy_(torch.eye(pixels, dtype=dtype))
            self.given += pixels
            yield noise


def law_of_samples(case: Case) -> tuple[np.ndarray, np.ndarray, GaussianPrior, CascadePlan, Tensor]:
    """Exact mean and covariance of the image that a cascade samples, with what it was built from.

    On a Gaussian prior every sampler without clamping is affine in its noise: the result without
    noise is the mean, and what unit noise adds are the columns of the factor of the covariance.
    """
    prior, plan, y = case.build()
    count = UnitNoise(0)
    mean = cascade_sample(prior, plan, y, count).image.flatten().numpy()
    many = y.expand(1, count.given, *y.shape[-2:])
    images = cascade_sample(prior, plan, many, UnitNoise(count.given)).image
    factor = images.reshape(count.given, -1).numpy() - mean
    return mean, factor.T @ factor, prior, plan, y


@dataclass
class Case:
    kernel: str
    factor: int
    sigma_y: float
    levels: int = 3
    settings: Recipe = SHORT

    def build(self, draws: int = 1) -> tuple[GaussianPrior, CascadePlan, Tensor]:
        """Prior, plan, and one measurement repeated over the channels."""
        operator = SeparableOperator.from_kernel(self.kernel, self.factor, SHAPE)
        plan = plan_cascade(self.kernel, self.levels, operator, self.sigma_y, self.settings)
        prior, y = prior_and_measurement(plan.pyramid, operator, self.sigma_y)
        return prior, plan, y.expand(1, draws, *operator.out_shape)


def prior_and_measurement(
    pyramid: LaplacianPyramid, operator: LinearOperator, sigma_y: float
) -> tuple[GaussianPrior, Tensor]:
    mean, cov = image_gaussian(pyramid.shapes[0], 4)
    rng = np.random.default_rng(5)
    y = dense(operator) @ rng.multivariate_normal(mean, cov)
    y = y + sigma_y * rng.standard_normal(len(y))
    prior = GaussianPrior(mean, cov, pyramid)
    return prior, torch.tensor(y).reshape(1, 1, *operator.out_shape)


CASES = [
    Case("fourier", 4, 0.0),
    Case("fourier", 4, 0.0, settings=replace(SHORT, skip_determined=False)),
    Case("fourier", 4, 0.05),
    Case("fourier", 2, 0.0),
    Case("fourier", 2, 0.05),
    Case("fourier", 4, 0.0, levels=2),
    Case("fourier", 4, 0.05, levels=2),
    Case("fourier", 2, 0.05, levels=1),
    Case("fourier", 1, 0.1),
    Case("fourier", 4, 0.0, settings=replace(SHORT, consistency="cascade")),
    Case("fourier", 4, 0.05, settings=replace(SHORT, consistency="cascade")),
    Case("fourier", 4, 0.05, levels=2, settings=replace(SHORT, consistency="cascade")),
    *(
        Case(kernel, factor, sigma_y, settings=replace(SHORT, consistency=consistency))
        for kernel in list(KERNELS)[1:]
        for factor, sigma_y in ((4, 0.0), (2, 0.05))
        for consistency in ("measurement", "cascade")
    ),
]


def label(case: Case) -> str:
    changes = "" if case.settings.skip_determined else "-noskip"
    return (
        f"{case.kernel}-{case.factor}x-{case.sigma_y}-L{case.levels}-{case.settings.consistency}"
        f"{changes}"
    )


OTHER_OPERATORS = {
    "3x": SeparableOperator.from_kernel("fourier", 3, (12, 12)),
    "1.5x": SeparableOperator.from_kernel("fourier", 1.5, (12, 12)),
    "one axis": SeparableOperator.from_kernel("fourier", (2, 1), (12, 12)),
    "area": SeparableOperator.from_kernel("area", 2, (12, 12)),
    "area 4x3": SeparableOperator.from_kernel("area", (4, 3), (12, 12)),
}
