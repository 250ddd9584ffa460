"""The methods that an evaluation compares: one explicit table, a function each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.baselines import bicubic, zero_filled
from mrcascade.operators import LinearOperator
from mrcascade.prior import CascadePrior
from mrcascade.restore import super_resolve
from mrcascade.samplers import RECIPES, Progress


@dataclass(frozen=True)
class Context:
    """All that a method may know; nothing here comes from the ground truth.

    Attributes:
        measurement: (S, h, w), slices of one file.
        operator: H.
        kernel: its name, which says where the samples lie.
        scale: robust maximum of the file's whole measurement.
        noise: sigma_y as a fraction of ``scale``.
        seed: of this file.
        prior: what the method has learned, or None.
        steps: T instead of the recipe's, for methods that sample.
        samples: K, for methods that sample.
        batch_size: slices or samples that pass through the networks together.
        callback: called after each network evaluation.
    """

    measurement: np.ndarray
    operator: LinearOperator
    kernel: str
    scale: float
    noise: float = 0.0
    seed: int = 0
    prior: CascadePrior | None = None
    steps: int | None = None
    samples: int = 1
    batch_size: int = 1
    callback: Callable[[Progress], None] | None = None


@dataclass(frozen=True)
class Reconstruction:
    """``images`` (S, H, W) in the measurement's intensities; ``evaluations`` of networks per
    slice, over all levels and samples."""

    images: np.ndarray
    evaluations: int = 0


@dataclass(frozen=True)
class Method:
    """A way to restore slices; ``about`` is its line in the report.

    ``prior`` says what it has learned from: the evaluation's prior (``CASCADE``), one of the
    baselines' folder, in whose name ``{factor}`` stands for the factor, or nothing.
    """

    run: Callable[[Context], Reconstruction]
    about: str
    prior: str | None = None
    sampled: bool = False  # takes T steps, so that --steps applies
    draws: bool = True  # if sampled: differs from seed to seed, so that --samples applies

    @property
    def many(self) -> bool:
        """Whether the mean of K samples is another result than one of them."""
        return self.sampled and self.draws


def _zero_fill(context: Context) -> Reconstruction:
    return Reconstruction(zero_filled(context.measurement, context.operator))


def _bicubic(context: Context) -> Reconstruction:
    shape = context.operator.in_shape
    return Reconstruction(bicubic(context.measurement, context.kernel, shape))


def _recipe(mode: str) -> Callable[[Context], Reconstruction]:
    """A recipe of ``super_resolve``; the mean of K samples where it draws."""
    sampled, draws = RECIPES[mode].steps is not None, RECIPES[mode].draws

    def run(context: Context) -> Reconstruction:
        assert context.prior is not None  # the table below says so
        samples = context.samples if draws else 1
        result = super_resolve(
            context.measurement,
            context.operator,
            context.prior,
            noise=context.noise,
            mode=mode,
            steps=context.steps if sampled else None,
            samples=samples,
            seed=context.seed,
            batch_size=context.batch_size,
            scale=context.scale,
            callback=context.callback,
        )
        return Reconstruction(result.mean, samples * sum(result.evaluations.values()))

    return run


CASCADE = "cascade"
_COARSE = "its prior was not trained on the images of the coarser grids"

METHODS: dict[str, Method] = {
    "zero-fill": Method(_zero_fill, "pseudo-inverse of the measurement (k-space zero filling)"),
    "bicubic": Method(_bicubic, "cubic interpolation on the grid of the measurement's kernel"),
    "regression": Method(
        _recipe("mean"), "supervised network, projected onto the data", "regression-{factor}x"
    ),
    "diffpir": Method(_recipe("paper"), "single-scale DiffPIR", "single-scale", sampled=True),
    "dps": Method(_recipe("dps"), "single-scale DPS", "single-scale", sampled=True),
    "multigrid": Method(
        _recipe("multigrid"),
        f"Multi-Grid PnP, diffusion form: single-scale DiffPIR from grid to grid; {_COARSE}",
        "single-scale",
        sampled=True,
    ),
    "multigrid-pnp": Method(
        _recipe("multigrid-pnp"),
        f"Multi-Grid PnP, deterministic: plug-and-play steps, coarse corrections; {_COARSE}",
        "single-scale",
        sampled=True,
        draws=False,
    ),
    "mean": Method(_recipe("mean"), "conditional mean of each level", CASCADE),
    "paper": Method(_recipe("paper"), "scale-cascaded DiffPIR", CASCADE, sampled=True),
}


def choose_methods(names: Sequence[str]) -> list[str]:
    """The names, each once; MRCascadeError for one that is not in the table."""
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise MRCascadeError(
            f"unknown method {', '.join(map(repr, unknown)) or repr('')}:"
            f" choose from {', '.join(METHODS)}"
        )
    return list(dict.fromkeys(names))
