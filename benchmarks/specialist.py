"""A regression network for one task alone, to compare a prior's mode "mean" with.

    python benchmarks/specialist.py --data slices.npz --task one-axis-4x -o runs/one-axis

Trains the regression branches of a cascade as ``mrcascade train`` does, but with every patch
measured by the task, and U-Nets of conditional levels for one batch, so that OUTPUT/prior serves
mode "mean". `informed_mean.py` compares it with other priors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from common import run
from mrcascade.errors import MRCascadeError
from mrcascade.training import run as training
from mrcascade.training.config import TrainConfig
from mrcascade.training.measurements import DrawnMeasurements, Measurements


class OneAxis(Measurements):
    """4x along one axis, rows and columns in turn."""

    def draw(self, count: int, generator: torch.Generator) -> DrawnMeasurements:
        return self.one_axis(count)


class Noisy(Measurements):
    """2x in plane with noise of 1 %: on the grid of level 2, which tells level 1 nothing."""

    def draw(self, count: int, generator: torch.Generator) -> DrawnMeasurements:
        return self.own_kernel(count) if self.level == 1 else self.noisy(count)


TASKS = {"one-axis-4x": OneAxis, "2x-noise": Noisy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", required=True, choices=list(TASKS))
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--network", default="small")
    parser.add_argument("--images", type=int, default=200_000, help="patches per branch")
    parser.add_argument("--levels", type=int, nargs="+", help="default: all")
    parser.add_argument("--start", default="", help="prior to begin with")
    parser.add_argument("--mean-rate", type=float, default=1.5e-3)
    parser.add_argument("--anatomy-balance", type=float, default=0.5)
    parser.add_argument("--contrast-balance", type=float, default=0.5)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    options = parser.parse_args()
    batch = TrainConfig().batch
    if options.images < 1:
        raise MRCascadeError("--images must be 1 or more")
    training.Measurements = TASKS[options.task]  # which `train_cascade` makes for each level
    folder = training.train_cascade(
        options.data,
        options.output,
        TrainConfig(
            network=options.network,
            images=options.images + batch,
            mean_images=options.images,
            start=options.start,
            mean_rate=options.mean_rate,
            anatomy_balance=options.anatomy_balance,
            contrast_balance=options.contrast_balance,
            precision=options.precision,
        ),
        levels=options.levels,
        resume=True,
        say=print,
    )
    print(folder or "the other levels are not trained to their end yet")


if __name__ == "__main__":
    run(main)
