"""Methods that a benchmark times, each as a function that restores a batch of slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from mrcascade.adapters.deepinv import as_physics
from mrcascade.adapters.libraries import has_deepinv, import_deepinv
from mrcascade.arrays.channels import to_channels
from mrcascade.arrays.intensity import Intensity, robust_maximum
from mrcascade.benchmark.deepinv_library import LONGEST, CountedDenoiser, deepinv_diffpir
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.job import Evaluation, load_priors
from mrcascade.evaluation.methods import METHODS, Method, choose_methods
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior
from mrcascade.recipes.modes import MODES
from mrcascade.restore import Plan, Restorer, check_measurement, resolve_settings
from mrcascade.sampling import Recipe

KERNEL = "fourier"
SINGLE_SCALE = "diffpir"  # method of ours that deepinv's DiffPIR is compared with
DEEPINV = "deepinv"
#: What is timed unless modes are named; deepinv only where it is installed.
DEFAULT = (*MODES, SINGLE_SCALE, DEEPINV)

# Restores a batch of slices with a seed; returns the network evaluations per slice.
Restore: TypeAlias = Callable[[int, int], int]


@dataclass(frozen=True)
class Problem:
    """What all contenders restore: slices of noise, as the cost does not depend on the content.

    The noise fills the field of view. Mode ``mean`` passes over air, so it is cheaper on most
    images.

    Attributes:
        side: side of the result in pixels.
        factor: (row, column) factors.
        noise: sigma_y as a fraction of the robust maximum.
        slices: largest batch.
    """

    side: int
    factor: tuple[float, float]
    noise: float
    slices: int

    def operator(self) -> SeparableOperator:
        """Return a new H."""
        return SeparableOperator.from_kernel(KERNEL, self.factor, (self.side, self.side))

    def measurement(self, channels: int) -> np.ndarray:
        """Return the measured slices (S, h, w), complex for two channels."""
        shape = (channels, self.slices, *self.operator().out_shape)
        parts = np.abs(np.random.default_rng(0).normal(size=shape)).astype(np.float32)
        return parts[0] if channels == 1 else parts[0] + 1j * parts[1]


@dataclass(frozen=True)
class Contender:
    """A method, its prior and its settings.

    Attributes:
        name: name of the mode or method.
        prior: its prior.
        problem: what it restores.
        recipe: its settings, with the number of steps T.
        prepare: makes the operator, its decompositions and the plan for these settings, and returns
            the function that restores.
    """

    name: str
    prior: CascadePrior
    problem: Problem
    recipe: Recipe
    prepare: Callable[[Recipe], Restore]


def choose_contenders(
    names: Sequence[str] | None,
    problem: Problem,
    *,
    prior: str | Path,
    baselines: str | Path,
    steps: int | None = None,
    device: str = "cpu",
    precision: str = "float32",
    compiled: bool = False,
    say: Callable[[str], None] = print,
) -> list[Contender]:
    """Return the contenders in the order in which they are timed.

    Args:
        names: modes for users, methods of ``evaluate`` that have networks, or "deepinv"; None for
            ``DEFAULT``. Settings may follow a name, as in ``sample:orientations=1``.
        problem: what they restore.
        prior: the cascade.
        baselines: folder of the priors of the other methods.
        steps: number of steps T instead of each mode's own, for those that sample.
        device: device of the networks.
        precision: precision of the networks.
        compiled: whether to compile the U-Nets.
        say: called with a line where deepinv is left out.

    Raises:
        MRCascadeError: a name or setting is unknown, a prior does not fit, or deepinv is named and
            not installed.
    """
    asked = list(dict.fromkeys(DEFAULT if names is None else names))
    if DEEPINV in asked and not has_deepinv():
        if names is not None:
            raise MRCascadeError(
                f"{DEEPINV} is not installed; pip install deepinv, or leave it out"
            )
        say("deepinv is not installed, so its DiffPIR is left out (pip install deepinv)")
        asked.remove(DEEPINV)
    methods = choose_methods([name for name in asked if name != DEEPINV])
    for name, method in methods.items():
        if method.recipe is None or method.averaged:
            raise MRCascadeError(
                f"method {name!r} {'averages samples' if method.averaged else 'has no networks'}"
                f" and is not timed; choose from {', '.join((*_timed_methods(), DEEPINV))}"
            )
    if steps is not None and DEEPINV not in asked and not any(m.sampled for m in methods.values()):
        raise MRCascadeError(f"none of {', '.join(asked)} samples; drop --steps")
    single = {DEEPINV: METHODS[SINGLE_SCALE]} if DEEPINV in asked else {}
    job = Evaluation(
        data=Path(),  # not read
        factor=problem.factor,
        prior=prior,
        baselines=baselines,
        steps=steps,
        device=device,
        precision=precision,
        compile=compiled,
    )
    priors = load_priors(methods | single, job)
    found = []
    for name in asked:
        measured = problem.measurement(priors[name].channels)
        check_measurement(measured.shape, measured.dtype, problem.operator(), priors[name])
        if name == DEEPINV:
            found.append(_of_deepinv(priors[name], problem, steps))
        else:
            found.append(_ours(name, methods[name], priors[name], problem, steps))
    return found


def _timed_methods() -> list[str]:
    return [name for name, m in METHODS.items() if m.recipe is not None and not m.averaged]


def _ours(
    name: str, method: Method, prior: CascadePrior, problem: Problem, steps: int | None
) -> Contender:
    measured = problem.measurement(prior.channels)
    intensity = Intensity(robust_maximum(measured))

    def prepare(recipe: Recipe) -> Restore:
        restorer = Restorer(prior, Plan.of(prior, problem.operator(), problem.noise, recipe))

        def restore(batch: int, seed: int) -> int:
            result = restorer(measured[:batch], intensity, seed=seed, batch_size=batch)
            return sum(result.evaluations.values())

        return restore

    recipe = method.settings(prior, steps)
    prepare(recipe)  # refuses what does not fit, before any other method is timed
    return Contender(name, prior, problem, recipe, prepare)


def _of_deepinv(prior: CascadePrior, problem: Problem, steps: int | None) -> Contender:
    import_deepinv()  # fails before any other method is timed
    measured = problem.measurement(prior.channels)
    scale = robust_maximum(measured)
    recipe = resolve_settings(prior, "paper", steps)
    if recipe.steps is not None and recipe.steps > LONGEST:
        raise MRCascadeError(f"deepinv's DiffPIR takes at most {LONGEST} steps; lower --steps")

    def prepare(recipe: Recipe) -> Restore:
        operator = problem.operator()
        physics = as_physics(operator)
        denoiser = CountedDenoiser(prior)
        sampler = deepinv_diffpir(denoiser, recipe, problem.noise, prior.device)

        def restore(batch: int, seed: int) -> int:
            before = denoiser.calls
            torch.manual_seed(seed)
            y = to_channels(measured[:batch] / scale, prior.device)
            sampler(y, physics, x_init=operator.pinv(y)).cpu()
            return denoiser.calls - before

        return restore

    return Contender(DEEPINV, prior, problem, recipe, prepare)
