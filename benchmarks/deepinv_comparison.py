"""Comparison of DiffPIR and DPS with those of the library deepinv: same denoiser, same data.

    python benchmarks/deepinv_comparison.py --steps 100 --repeats 3
    python benchmarks/deepinv_comparison.py --data DATA --kernel area --factor 4 --noise 0.01

deepinv (checked with 0.5.0) is called through its public classes and attributes. Its denoiser is
our single-scale prior; its physics is our operator with its exact proximal step. Each sampler runs
in both libraries, first as published, then with all equal that can be made equal: noise levels,
start, random numbers, step sizes, clamping. The rest is rounding, which bfloat16 magnifies. The
differences that no setting removes are printed below the tables. The runs take turns. The image is
a slice from the package dipy, or with --data one slice per anatomy.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common import names, run, write_json
from deepinv_differences import NOTES, matched_weights
from deepinv_report import OURS, report
from mrcascade import CascadePrior, SeparableOperator, super_resolve
from mrcascade.adapters.deepinv import as_physics
from mrcascade.adapters.libraries import import_deepinv
from mrcascade.arrays.channels import to_channels
from mrcascade.arrays.intensity import Intensity
from mrcascade.benchmark.clock import NetworkClock
from mrcascade.benchmark.deepinv_library import LONGEST, CountedDenoiser, deepinv_diffpir
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import (
    TestFile,
    Truth,
    find_files,
    load_truth,
    measure,
    truth_operator,
)
from mrcascade.evaluation.metrics import slice_metrics
from mrcascade.operators import KERNELS
from mrcascade.operators.crop import centre_crop
from mrcascade.recipes.samplers.ancestral import Ancestral
from mrcascade.recipes.samplers.diffpir import DiffPIR
from mrcascade.recipes.traversals import Cascade
from mrcascade.restore import make_plan, relative_residual, resolve_settings
from mrcascade.sampling import (
    NoiseSource,
    Recipe,
    level_sigmas,
    proximal_step,
    run_chain,
    with_data_step,
    with_gradient,
)

# ---- what is compared ----


@dataclass(frozen=True)
class Problem:
    """Measurement ``y`` (1, 1, h, w) in units of its robust maximum, and how to restore it."""

    truth: Truth
    operator: SeparableOperator
    y: Tensor
    scale: float
    sigma_y: float
    prior: CascadePrior
    steps: int
    zeta: float
    weight: float | None
    seed: int

    def recipe(self, mode: str) -> Recipe:
        settings = resolve_settings(self.prior, mode, self.steps)
        return settings.changed(zeta=self.zeta) if "zeta" in settings.tunable else settings

    def sigmas(self, mode: str) -> tuple[float, ...]:
        """Return the noise levels of our chain."""
        settings = self.recipe(mode)
        assert isinstance(settings.run, Cascade)  # as in all modes that are compared
        plan = make_plan(self.prior, self.operator, self.sigma_y, settings)
        return level_sigmas(self.prior.levels[0], settings.run.noise_levels, plan.tasks[0])


@dataclass(frozen=True)
class Outcome:
    """Images (1, 1, H, W) of one chain by name of the row, and the chain's cost."""

    images: dict[str, Tensor]
    evaluations: int


Runs = dict[str, Callable[[], Outcome]]


def as_shipped(problem: Problem, mode: str) -> Outcome:
    result = super_resolve(
        problem.y[0, 0].numpy() * problem.scale,
        problem.operator,
        problem.prior,
        noise=problem.sigma_y,
        mode=problem.recipe(mode),
        seed=problem.seed,
        intensity=Intensity(problem.scale),
    )
    image = to_channels(result.mean[None] / problem.scale)
    return Outcome({OURS: image}, sum(result.evaluations.values()))


def diffpir_runs(deepinv: ModuleType, problem: Problem) -> Runs:
    physics = as_physics(problem.operator)
    start = problem.operator.pinv(problem.y)
    recipe = problem.recipe("paper")

    def theirs_model(denoise: CountedDenoiser) -> Any:
        return deepinv_diffpir(denoise, recipe, problem.sigma_y, problem.prior.device)

    def theirs() -> Outcome:
        denoise = CountedDenoiser(problem.prior)
        torch.manual_seed(problem.seed)
        image = theirs_model(denoise)(problem.y, physics, x_init=start)
        assert denoise.last is not None  # as it was called
        images = {"deepinv": image, "deepinv, its dropped estimate": denoise.last.clamp(0, 1)}
        return Outcome(images, denoise.calls)

    def ours(row: str, clamp: Callable[[Tensor, float], Tensor] | None) -> Outcome:
        denoise = CountedDenoiser(problem.prior, clamp)
        model = theirs_model(denoise)
        sigmas = (model.sigmas[model.seq] / 2).tolist()  # deepinv's are those of [-1, 1]
        noise = NoiseSource([problem.seed])
        spread = (sigmas[0] ** 2 - problem.sigma_y**2) ** 0.5
        step = proximal_step(problem.operator, problem.y, problem.sigma_y, recipe.lam)
        image = run_chain(
            with_data_step(denoise, step),
            DiffPIR(problem.zeta),
            start + spread * noise.randn(start.shape),
            sigmas,
            noise,
        )
        return Outcome({row: image}, denoise.calls)

    free, clamped = "ours, deepinv's levels", "ours, deepinv's levels and clamp"
    return {
        OURS: lambda: as_shipped(problem, "paper"),
        "deepinv": theirs,
        free: lambda: ours(free, None),
        clamped: lambda: ours(clamped, lambda x, sigma: x.clamp(0, 1)),
    }


def dps_runs(deepinv: ModuleType, problem: Problem) -> Runs:
    physics = as_physics(problem.operator)
    sigmas = problem.sigmas("dps")
    scale = problem.recipe("dps").step_size

    def deepinv_chain(row: str, weight: float) -> Outcome:
        denoise = CountedDenoiser(problem.prior)
        generator = torch.Generator().manual_seed(problem.seed)
        model = deepinv.sampling.DPS(
            denoise,
            weight=weight,
            solver=deepinv.sampling.DDPMSolver(timesteps=vp_times(problem, deepinv), rng=generator),
        )
        return Outcome({row: model(problem.y, physics).float()}, denoise.calls)

    def deepinv_matched(row: str) -> Outcome:
        weights = matched_weights(sigmas, scale)

        def set_weight() -> None:
            model.data_fidelity.weight = next(weights)

        denoise = CountedDenoiser(problem.prior, before=set_weight)
        times = torch.log(torch.tensor(sigmas, dtype=torch.float64) * 2 / 0.001) / np.log(8e4)
        model = deepinv.sampling.DPS(
            denoise,
            schedule="ve",
            solver=deepinv.sampling.DDPMSolver(
                timesteps=times, rng=torch.Generator().manual_seed(problem.seed)
            ),
            dtype=torch.float32,
        )
        return Outcome({row: model(problem.y, physics)}, denoise.calls)

    def ours_matched(row: str) -> Outcome:
        # deepinv clips every estimate but the last.
        denoise = CountedDenoiser(
            problem.prior, lambda x, s: x.clamp(-1, 1) if s > sigmas[-1] else x
        )
        noise = NoiseSource([problem.seed])
        shape = (1, 1, *problem.operator.in_shape)
        image = run_chain(
            with_gradient(denoise, problem.operator, problem.y, scale),
            Ancestral(),
            0.5 + sigmas[0] * noise.randn(shape),  # deepinv's start: zero on [-1, 1]
            sigmas,
            noise,
        )
        return Outcome({row: image}, denoise.calls)

    total = total_weight(problem, deepinv, scale)
    weights = [1.0, total] if problem.weight is None else [problem.weight]
    chains = {f"deepinv, variance-preserving, weight {w:.3g}": w for w in weights}
    ours, theirs = "ours, deepinv's start and clip", "deepinv, our levels and step sizes"
    return {
        OURS: lambda: as_shipped(problem, "dps"),
        **{row: partial(deepinv_chain, row, w) for row, w in chains.items()},
        ours: lambda: ours_matched(ours),
        theirs: lambda: deepinv_matched(theirs),
    }


def vp_times(problem: Problem, deepinv: ModuleType) -> Tensor:
    """Return T + 1 equidistant times of deepinv's variance-preserving process, down to 0.

    They start at the largest noise level that the denoiser knows; deepinv's default is beyond it.
    """
    sde = deepinv.sampling.VariancePreservingDiffusion()
    grid = torch.linspace(0, 1, 10001, dtype=torch.float64)
    known = sde.sigma_t(grid) <= 2 * problem.prior.levels[0].sigma_max
    return torch.linspace(float(grid[known][-1]), 0, problem.steps + 1, dtype=torch.float64)


def total_weight(problem: Problem, deepinv: ModuleType, scale: float) -> float:
    """Return the constant weight that gives deepinv's gradient the same sum of factors as ours.

    Our factor is ``scale`` in each step, for the norm on [-1, 1].
    """
    sde = deepinv.sampling.VariancePreservingDiffusion()
    times = vp_times(problem, deepinv)
    sigma, shrink = sde.sigma_t(times), sde.scale_t(times)
    factors = shrink[:-1] * shrink[1:] * (sigma[:-1] ** 2 - sigma[1:] ** 2) / 2
    return scale * problem.steps / float(factors.sum())


# ---- data, rounds, report ----


def truths(data: Path | None, split: str, factor: tuple[float, float]) -> dict[str, Truth]:
    """Return one slice per anatomy, the middle one of its first file."""
    if data is None:
        try:
            from importlib.resources import files

            path = files("dipy") / "data/files/t1_coronal_slice.npy"
        except ImportError:
            raise MRCascadeError(
                "without --data the slice comes from dipy: pip install dipy"
            ) from None
        stack = np.load(str(path)).astype(np.float32)[None]
        stack = np.ascontiguousarray(centre_crop(stack, factor))
        return {"brain (dipy)": Truth(stack, np.array([0]), 0, "")}
    first: dict[str, TestFile] = {}
    for file in find_files(data, split):
        first.setdefault(file.anatomy, file)
    return {anatomy: load_truth(file, factor, 1) for anatomy, file in first.items()}


def compared(runs: Runs, problem: Problem, repeats: int) -> tuple[list[dict], dict[str, Tensor]]:
    """Return a row per image, and the images. The runs take turns in each repeat."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    outside: dict[str, list[float]] = {name: [] for name in runs}
    outcomes: dict[str, Outcome] = {}
    for _ in range(repeats):
        for name, call in runs.items():
            clock = NetworkClock(problem.prior)
            with clock.running():
                started = time.perf_counter()
                outcomes[name] = call()
                seconds[name].append(time.perf_counter() - started)
            outside[name].append(seconds[name][-1] - clock.seconds)
    rows, images = [], {}
    for name, outcome in outcomes.items():
        pairs = zip(seconds[name], seconds[OURS], strict=True)
        cost = {
            "evaluations": outcome.evaluations,
            "ms": 1000 * statistics.median(seconds[name]) / outcome.evaluations,
            "ms_outside": 1000 * statistics.median(outside[name]) / outcome.evaluations,
            "time_ratio": statistics.median(a / b for a, b in pairs),
        }
        for row, image in outcome.images.items():
            images[row] = image
            rows.append({"run": row, **quality(problem, image), **cost})
    return rows, images


def quality(problem: Problem, image: Tensor) -> dict[str, float | None]:
    restored = image[0].numpy() * problem.scale
    measured = problem.y[0].numpy() * problem.scale
    residual = float(relative_residual(restored, measured, problem.operator)[0])
    projected = None
    if problem.sigma_y == 0:
        projected = slice_psnr(problem, problem.operator.project(image, problem.y))
    return {"psnr": slice_psnr(problem, image), "projected": projected, "residual": residual}


def slice_psnr(problem: Problem, image: Tensor) -> float:
    truth, maximum = problem.truth.slices[0], problem.truth.maximum
    return slice_metrics(truth, image[0, 0].numpy() * problem.scale, maximum)["psnr_slice"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="default: a slice of the package dipy")
    parser.add_argument("--split", default="test")
    parser.add_argument("--prior", default="mr-small-baselines/single-scale")
    parser.add_argument("--kernel", default="fourier", choices=sorted(KERNELS))
    parser.add_argument("--factor", type=float, default=4.0)
    parser.add_argument(
        "--noise", type=float, default=0.0, help="of the measurement, as in evaluate"
    )
    parser.add_argument("--steps", type=int, default=100, help="T")
    parser.add_argument("--zeta", type=float, help="zeta of DiffPIR in both; default: the prior's")
    parser.add_argument("--weight", type=float, help="of deepinv's DPS; default: 1 and ours in sum")
    parser.add_argument("--samplers", type=names, default=list(NOTES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--output", type=Path, help="JSON")
    options = parser.parse_args()
    longest = LONGEST if "DiffPIR" in options.samplers else math.inf
    if not 2 <= options.steps <= longest or options.repeats < 1:
        raise MRCascadeError(
            f"--steps must be 2 or more (DiffPIR: up to {LONGEST}), --repeats 1 or more"
        )
    if set(options.samplers) - set(NOTES):
        raise MRCascadeError(f"--samplers: choose from {', '.join(NOTES)}")
    deepinv = import_deepinv()
    prior = CascadePrior.from_pretrained(options.prior, precision=options.precision)
    if len(prior.levels) != 1:
        raise MRCascadeError(f"prior {prior.name!r} has several levels; deepinv needs one of one")
    zeta = resolve_settings(prior, "paper").zeta if options.zeta is None else options.zeta
    factor = (options.factor,) * 2

    print(f"deepinv {deepinv.__version__}, torch {torch.__version__}, prior {prior.name},")
    print(f"{options.factor:g}x {options.kernel}, noise {options.noise:g}, T = {options.steps},")
    print(f"zeta {zeta:g}, {options.precision}, {torch.get_num_threads()} threads,")
    print(f"median of {options.repeats} repeats in turns; PSNR with the slice's maximum")
    results = []
    for anatomy, truth in truths(options.data, options.split, factor).items():
        operator = truth_operator(truth, options.kernel, factor)
        low = measure(truth, operator, options.noise, options.seed, True)
        problem = Problem(
            truth=truth,
            operator=operator,
            y=to_channels(low.slices / low.scale),
            scale=low.scale,
            sigma_y=low.noise,
            prior=prior,
            steps=options.steps,
            zeta=zeta,
            weight=options.weight,
            seed=options.seed,
        )
        print(f"\n{anatomy}, {operator.in_shape[0]} x {operator.in_shape[1]}")
        for sampler in options.samplers:
            runs = {"DiffPIR": diffpir_runs, "DPS": dps_runs}[sampler](deepinv, problem)
            rows, images = compared(runs, problem, options.repeats)
            distances = report(sampler, rows, images)
            results.append(
                {"anatomy": anatomy, "sampler": sampler, "rows": rows, "differences": distances}
            )
    for sampler in options.samplers:
        print(f"\n{sampler}, what no setting removes or the runs above had to work around:")
        print(NOTES[sampler])
    write_json(options, deepinv=deepinv.__version__, notes=NOTES, results=results)


if __name__ == "__main__":
    run(main)
