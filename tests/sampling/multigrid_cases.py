"""Multi-grid problems on Gaussian images, written out with dense matrices.

Each grid has a Gaussian prior: the true law of the coarser images, or another one, as the denoiser
of a single-scale prior need not fit coarser grids. Nothing here uses a plan.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from cascade_cases import OTHER_OPERATORS
from gaussian_prior import Array, condition_on, dense, image_gaussian, shrinkage, times
from torch import Tensor

from mrcascade.operators import SeparableOperator, downsampler, upsampler
from mrcascade.operators.pyramid import LaplacianPyramid
from mrcascade.sampling import CascadePlan, Recipe, plan_cascade

Shape = tuple[int, int]
MISSING = [0.0, 0.03, 0.06]
START = 0.35  # a mean image of one number, as that of a trained prior


@dataclass
class GridGaussian:
    """A level of whole images with a law for each grid; it counts its evaluations by grid."""

    laws: dict[Shape, tuple[Array, Array]]
    std: float
    sigma_max: float = 20.0
    sigma_min: float = 0.002
    seen: list[Shape] = field(default_factory=list)

    def condition(self, coarse: Tensor | None, error: float) -> "GridGaussian":
        assert (coarse, error) == (None, 0.0)
        return self

    def mean(self) -> Tensor:
        return torch.tensor(START, dtype=torch.float64)

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        shape = tuple(x.shape[-2:])
        self.seen.append(shape)
        mean, cov = self.laws[shape]
        offset = torch.tensor(mean).reshape(shape)
        return offset + times(shrinkage(cov, sigma), x - offset)


@dataclass
class GridPrior:
    levels: list[GridGaussian]


@dataclass(frozen=True)
class DenseGrid:
    """One grid: image ~ N(mean, cov) for the denoiser, compared with target = h x + sigma noise.

    ``up`` and ``down`` lead from the next coarser grid and to it (None on the coarsest). A grid
    that is not ``sampled`` is the target itself.
    """

    shape: Shape
    mean: Array
    cov: Array
    h: Array
    target: Array
    sigma: float
    up: Array | None
    down: Array | None
    sampled: bool


@dataclass(frozen=True)
class GridCase:
    """A measurement on three grids; steps: what each of them gets of T, finest first."""

    operator: str
    sigma_y: float
    settings: Recipe
    steps: tuple[int, int, int]
    true_laws: bool = False

    def __str__(self) -> str:
        return f"{self.operator}-{self.sigma_y}-T{self.settings.steps}-{self.steps}"

    def build(self) -> "GridProblem":
        if self.operator in OTHER_OPERATORS:
            operator, missing = OTHER_OPERATORS[self.operator], MISSING
        else:
            kernel, factor = self.operator.split()
            operator = SeparableOperator.from_kernel(kernel, int(factor[:-1]), (8, 8))
            missing = None
        kernel = "area" if self.operator == "area 2x" else "fourier"
        plan = plan_cascade(kernel, 3, operator, self.sigma_y, self.settings, missing=missing)
        return GridProblem(self, operator, kernel, plan)


class GridProblem:
    """Prior, plan, measurement and the dense matrices of a case."""

    def __init__(
        self, case: GridCase, operator: SeparableOperator, kernel: str, plan: CascadePlan
    ) -> None:
        self.case, self.operator, self.plan = case, operator, plan
        self.shapes = LaplacianPyramid(kernel, operator.in_shape, 3).shapes
        self.mean, self.cov = image_gaussian(self.shapes[0], 4)
        self.h = dense(operator)
        rng = np.random.default_rng(5)
        clean = self.h @ rng.multivariate_normal(self.mean, self.cov)
        self.flat = clean + case.sigma_y * rng.standard_normal(len(self.h))
        self.y = torch.tensor(self.flat).reshape(1, 1, *operator.out_shape)
        pairs = list(zip(self.shapes, self.shapes[1:], strict=False))
        self.ups = [dense(upsampler(kernel, *pair)) for pair in pairs]
        self.downs = [dense(downsampler(kernel, *pair)) for pair in pairs]
        self.laws = self._laws()
        std = float(np.sqrt(np.trace(self.cov) / len(self.cov)))
        self.level = GridGaussian(dict(zip(self.shapes, self.laws, strict=True)), std)
        self.prior = GridPrior([self.level])
        self.grids = self._grids()

    def _laws(self) -> list[tuple[Array, Array]]:
        laws = [(self.mean, self.cov)]
        for down, shape in zip(self.downs, self.shapes[1:], strict=True):
            mean, cov = laws[-1]
            true = down @ mean, down @ cov @ down.T
            laws.append(true if self.case.true_laws else image_gaussian(shape, 9))
        return laws

    def _grids(self) -> list[DenseGrid]:
        """||y - H P_i x||^2 on every grid, P_i = up...up, but for ``area`` (not down(up(z)) = z),
        whose grids on and beyond that of y compare with y and down(y)."""
        lifts = [np.eye(len(self.cov)), self.ups[0], self.ups[0] @ self.ups[1]]
        grids = []
        for i, (shape, law, lift) in enumerate(zip(self.shapes, self.laws, lifts, strict=True)):
            h, target, sigma = self.h @ lift, self.flat, self.case.sigma_y
            if self.case.operator in OTHER_OPERATORS:
                sigma = float(np.hypot(sigma, MISSING[i]))
            if self.case.operator == "area 2x" and i > 0:
                h = np.eye(len(lift.T))
                if i == 2:
                    target, sigma = self.downs[1] @ target, sigma / 2  # a mean over 2x2 blocks
            sampled = self.case.steps[i] > 0
            if not sampled:
                target = np.linalg.pinv(h) @ target
            up, down = (self.ups[i], self.downs[i]) if i < 2 else (None, None)
            grids.append(DenseGrid(shape, *law, h, target, sigma, up, down, sampled))
        return grids

    def posterior(self) -> tuple[Array, Array]:
        return condition_on(self.mean, self.cov, self.h, self.flat, self.case.sigma_y)
