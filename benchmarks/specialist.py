"""A regression network for one task alone, against mode "mean" of priors that serve all tasks.

    python benchmarks/specialist.py --data DATA --cache CACHE --task one-axis-4x -o specialist

Trains a residual CNN of the priors' kind (Lim et al. 2017) to map the minimum-norm image of the
data to the image, on patches of the training slices that are all measured by the task. Restores
the validation slices with it, averaged over the orientations that ``mean`` uses at level 1, and
with the priors. Prints the mean PSNR over slices (data range: the slice's maximum) of the
minimum-norm image, and what network and priors add to it. A trained network is kept in OUTPUT.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common import names, run, table_row, write_json
from informed_mean import TASKS, Task, chosen, operator_of, psnr, restored
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import file_seed, find_files, load_truth, measure
from mrcascade.networks import MeanConfig, MeanNetwork, fold
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior
from mrcascade.sampling.orientations import ORIENTATIONS
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.config import TrainConfig
from mrcascade.training.level import MEAN_ADAM_SHARE
from mrcascade.training.muon import Muon
from mrcascade.training.patches import PatchSource
from mrcascade.training.slices import load_volumes

ORIENTATIONS_USED = 2  # of "mean" at level 1
REPORT_EVERY = 100  # steps


class Specialist:
    """Network for one task, and the intensity to which its inputs are scaled."""

    def __init__(self, task: Task, channels: int, blocks: int) -> None:
        torch.manual_seed(0)
        self.task = task
        self.network = MeanNetwork(MeanConfig(channels, blocks), 1, 1)

    def __call__(self, low: Tensor, operator: SeparableOperator) -> Tensor:
        """Restore data (N, 1, h, w) in units of the robust maximum; exact data are met."""
        start = operator.pinv(low)
        image = start + self.network(start)
        return image if self.task.noise else operator.project(image, low)

    def patches(
        self, source: PatchSource, count: int, rng: np.random.Generator, seen: int
    ) -> tuple[Tensor, Tensor, SeparableOperator]:
        """Return ``count`` patches, their data, and the operator."""
        truth = torch.from_numpy(source.raw(count, rng, seen).sum(1))
        shape = (truth.shape[-2], truth.shape[-1])
        operator = operator_of(self.task, shape, turned=bool(rng.integers(2)))
        low = operator(truth)
        noise = rng.standard_normal(low.shape, np.float32) * np.float32(self.task.noise)
        return truth, low + torch.from_numpy(noise), operator


def train(specialist: Specialist, source: PatchSource, config: TrainConfig) -> float:
    """Train for ``config.images`` patches, and return the seconds of the CPU."""
    network, rng = specialist.network, np.random.default_rng(0)
    matrices = [p for p in network.body.parameters() if p.ndim == 4]
    others = [p for p in network.parameters() if all(p is not m for m in matrices)]
    optimizers = [
        (Muon(matrices, lr=0.0), config.mean_rate),
        (torch.optim.Adam(others, lr=0.0, betas=(0.9, 0.99)), config.mean_rate * MEAN_ADAM_SHARE),
    ]
    started, seen, losses = time.process_time(), 0, []
    while seen < config.images:
        truth, low, operator = specialist.patches(source, config.batch, rng, seen)
        loss = (specialist(low, operator) - truth).square().mean()
        network.zero_grad(set_to_none=True)
        (loss / source_std(truth) ** 2).backward()
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * config.learning_rate(seen / config.images)
            optimizer.step()
        seen += config.batch
        losses.append(loss.item())
        if seen % (REPORT_EVERY * config.batch) == 0:
            error = 10 * np.log10(np.mean(losses[-REPORT_EVERY:]))
            print(
                f"{seen} patches, {time.process_time() - started:.0f} s, {error:.2f} dB", flush=True
            )
    return time.process_time() - started


def source_std(truth: Tensor) -> float:
    """A scale of the errors that keeps the loss near one."""
    return 0.1 * float(truth.std()) + 1e-3


def trained(task: Task, weights: dict[str, Tensor]) -> Specialist:
    """Return the specialist with weights that `main` kept, folded."""
    blocks = sum(name.endswith("conv0.weight") for name in weights)
    specialist = Specialist(task, len(weights["head.weight"]), blocks)
    specialist.network.load_state_dict(weights)
    specialist.network = fold(specialist.network)  # type: ignore[assignment]
    return specialist


@torch.no_grad()
def restore(
    specialist: Specialist, slices: np.ndarray, scale: float, operator: SeparableOperator
) -> np.ndarray:
    low = torch.from_numpy(slices / np.float32(scale))[:, None]
    start = operator.pinv(low)
    turns = ORIENTATIONS[:ORIENTATIONS_USED]
    added = sum(turn.undo(specialist.network(turn.apply(start))) for turn in turns) / len(turns)
    image = start + added
    if not specialist.task.noise:
        image = operator.project(image, low)
    return (image[:, 0] * scale).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="cache file, for training")
    parser.add_argument("--task", required=True, choices=list(TASKS))
    parser.add_argument("--priors", type=names, default=["mr-small"])
    parser.add_argument("--images", type=int, default=60_000, help="patches of 64 x 64")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--mean-rate", type=float, default=1.5e-3)
    parser.add_argument("--max-slices", type=int, default=2, help="slices per file")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if options.images < 1:
        raise MRCascadeError("--images must be 1 or more")
    config = TrainConfig(
        images=options.images,
        mean_rate=options.mean_rate,
        anatomy_balance=0.5,
        contrast_balance=0.5,
    )
    task = TASKS[options.task]
    specialist = Specialist(task, options.channels, options.blocks)
    kept = options.output / f"{options.task}.pt"
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        seconds = state["seconds"]
        specialist.network.load_state_dict(state["network"])
    else:
        data = CascadeData(load_volumes(options.cache, config.multiple, config.factors), config)
        seconds = train(specialist, data.source(data.shown, 1), config)
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"network": specialist.network.state_dict(), "seconds": seconds}, kept)
    specialist.network = fold(specialist.network)  # type: ignore[assignment]

    priors = [CascadePrior.from_pretrained(p) for p in options.priors]
    rows: list[tuple[float, ...]] = []
    for number, file in enumerate(chosen(find_files(options.data, "val"), None)):
        truth = load_truth(file, (4.0, 4.0), options.max_slices)
        shape = (truth.stack.shape[1], truth.stack.shape[2])
        operator = operator_of(task, shape, turned=number % 2 == 1)
        low = measure(truth, operator, task.noise, file_seed(0, file.name), known=True)
        images = [
            operator.pinv(torch.from_numpy(low.slices)).numpy(),
            restore(specialist, low.slices, low.scale, operator),
            *(restored(prior, low, operator, "mean", 2) for prior in priors),
        ]
        rows.extend(zip(*(psnr(truth.slices, image) for image in images), strict=True))
    mean = np.array(rows).mean(0)
    print(f"trained for {seconds:.0f} s of one core, {options.images} patches")
    print(table_row(["task", "slices", "minimum norm (dB)", "specialist (+dB)", *options.priors]))
    gains = [f"{gain:+.2f}" for gain in mean[1:] - mean[0]]
    print(table_row([options.task, len(rows), f"{mean[0]:.2f}", *gains]))
    options.output = options.output / f"{options.task}.json"
    write_json(options, seconds=seconds, slices=len(rows), psnr=mean.tolist())


if __name__ == "__main__":
    run(main)
