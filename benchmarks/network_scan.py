"""Shapes of one network of a level, compared at equal training time.

    python benchmarks/network_scan.py --data slices.hdf5 --seconds 1200 -o scan

Trains the regression branch of a level (``--stage unet``: its U-Net) once per shape, from the same
patches, seed and settings. ``64x8s2`` is a network of 64 channels and 8 blocks behind a stem of 2;
``m1-2-4`` at its end sets a U-Net's multipliers, which are the preset's otherwise.

Time is the process's CPU time on one thread, or the time of the wall with ``--device cuda``. Steps
of all shapes are timed in turn before the training, so that other work on the machine slows them
alike. This sets each shape's number of patches, and its rate schedule ends with them.

Repeat the command to continue an interrupted scan. ``--only 64x8s2`` trains one shape, so that
several can train at the same time. ``scan.json`` and ``scan.md`` hold the shapes trained so far.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common import names, run, settings
from mrcascade.cli.progress import ProgressBar
from mrcascade.devices.facts import hardware, synchronize
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.tables import markdown_table
from mrcascade.io import atomic_output
from mrcascade.networks import (
    LevelConfig,
    MeanConfig,
    UNetConfig,
    count_flop,
    fold,
    network_preset,
    parameter_count,
    register_network,
)
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.storage.outputs import only_writer
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.config import TrainConfig
from mrcascade.training.distributed import Processes
from mrcascade.training.level import LevelTrainer, checkpoint_file
from mrcascade.training.level_data import LevelData
from mrcascade.training.loop import train_level
from mrcascade.training.progress import StageProgress
from mrcascade.training.slices import load_volumes
from mrcascade.training.start import start_of
from mrcascade.training.validation import validate

SHAPES = "64x8s2,96x4s2,48x14s2,32x8s1,128x8s4"
OUTPUT_SIDE = 256
WARM_UP = 2  # steps that allocate memory
PLAN, RESULT = "plan.json", "result.json"
LONGEST_PLAN = 3600.0  # seconds to wait for another process that times the shapes
# Options that all shapes of a scan share.
SHARED = (
    *("data", "network", "level", "stage", "seconds", "branch"),
    *("set", "seed", "precision", "device", "patches"),
)
_SHAPE = re.compile(r"(\d+)x(\d+)s(\d+)(?:m(\d+(?:-\d+)*))?")

Clock = Callable[[], float]


class TimedTrainer(LevelTrainer):
    """Trainer that counts the seconds of its steps by a clock of its own."""

    clock: Clock

    def step(self) -> dict[str, float]:
        before, started = self.seconds, self.clock()
        losses = super().step()
        self.seconds = before + self.clock() - started
        return losses


class Scan:
    """One level's data, and trainers of any shape on it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.level, self.device = options.level, options.device
        configs = {shape: self._config(shape) for shape in options.shapes}
        first = configs[options.shapes[0]]
        volumes = load_volumes(options.data, first.multiple, first.factors)
        channels = volumes[0].channels
        self.configs = {shape: replace(c, channels=channels) for shape, c in configs.items()}
        self.branch: nn.Module | None = None
        begin = None
        if options.branch:
            whole = replace(first, network=options.network, channels=channels, start=options.branch)
            begin, weights = start_of(whole)
            source = LevelNetworks(whole.networks[self.level - 1], channels)
            source.load_state_dict(weights[self.level - 1])
            self.branch = source.mean
            if self.branch is None:
                raise MRCascadeError(f"--branch: level {self.level} has none")
        cascade = CascadeData(volumes, self.configs[options.shapes[0]], begin)
        if not cascade.validation:
            raise MRCascadeError(f"{options.data}: no validation images, by which shapes compare")
        self.data: LevelData = cascade.level(self.level)

    def _config(self, shape: str) -> TrainConfig:
        """Return the settings of a shape, whose networks become a preset of this process."""
        options = self.options
        preset = network_preset(options.network)
        levels = list(preset.levels)
        if not 1 <= self.level <= len(levels):
            raise MRCascadeError(
                f"--level {self.level}: {options.network} has {len(levels)} levels"
            )
        own = shaped(levels[self.level - 1], shape, options.stage)
        levels[self.level - 1] = own
        name = f"{options.network}-{shape}"
        register_network(name, replace(preset, levels=tuple(levels)))
        return TrainConfig(
            network=name,
            mean_images=0 if own.unet and own.mean else None,
            seed=options.seed,
            precision=options.precision,
            **settings(options.set),
        )

    def trainer(self, shape: str, patches: int) -> TimedTrainer:
        """Return a trainer of a shape at its beginning, for a run of ``patches``."""
        config = replace(self.configs[shape], images=patches)
        data = replace(self.data, validation=None)  # shapes are validated at the end only
        processes = Processes(self.device)
        make = partial(TimedTrainer, self.level, config, data, processes)
        trainer = make()
        if self.branch is not None:  # before the averages begin
            assert trainer.networks.mean is not None
            trainer.networks.mean.load_state_dict(self.branch.state_dict())
            trainer = make(trainer.networks.state_dict())
        trainer.clock = clock_of(self.device)
        return trainer

    def network(self, shape: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
        """Return the scanned network and inputs of it for an output of 256 x 256."""
        config = self.configs[shape]
        networks = LevelNetworks(config.networks[self.level - 1], config.channels)
        width, side = networks.condition_channels, OUTPUT_SIDE // config.step ** (self.level - 1)
        if self.options.stage == "branch":
            return _present(networks.mean), (torch.zeros(1, width, side, side),)
        width += config.channels * (2 if width else 1)  # noisy band and, with a condition, mean
        return _present(networks.unet), (torch.zeros(1, width, side, side), torch.zeros(1))


def _present(network: nn.Module | None) -> nn.Module:
    assert network is not None  # `shaped` gives the scanned one
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="images, or a cache file of them")
    parser.add_argument("--shapes", type=names, default=names(SHAPES), help="default: %(default)s")
    parser.add_argument("--network", default="small", help="preset that gives everything else")
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--stage", choices=("branch", "unet"), default="branch")
    parser.add_argument("--seconds", type=float, default=1200.0, help="training time of a shape")
    parser.add_argument(
        "--branch", default="", help="for U-Nets: prior with the trained branch (default: none)"
    )
    parser.add_argument("--set", default="", help="settings of all shapes, such as mean_rate=0.001")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=12, help="timed steps of each shape")
    parser.add_argument("--patches", type=int, default=256, help="validation patches at the end")
    parser.add_argument("--only", help="shape to train; default: all, one after the other")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    check(options)
    torch.set_num_threads(1)
    scan = Scan(options)
    plan = planned(scan)
    for shape in [options.only] if options.only else options.shapes:
        with only_writer(options.output / shape / RESULT):
            train(scan, shape, plan[shape])
    report(options, plan)


def check(options: argparse.Namespace) -> None:
    """Raise MRCascadeError if options do not fit together."""
    if options.only and options.only not in options.shapes:
        raise MRCascadeError(f"--only {options.only}: not among {', '.join(options.shapes)}")
    if len(set(options.shapes)) < len(options.shapes):
        raise MRCascadeError(f"--shapes {','.join(options.shapes)}: a shape stands there twice")
    if options.branch and options.stage != "unet":
        raise MRCascadeError("--branch: is for --stage unet, whose U-Nets need a trained branch")
    if not options.seconds > 0 or min(options.rounds, options.patches) < 1:
        raise MRCascadeError("--seconds, --rounds and --patches must be above 0")


def shaped(level: LevelConfig, shape: str, stage: str) -> LevelConfig:
    """Return a level with the scanned network in another shape.

    A scanned branch is the level's only network. Raises MRCascadeError for shapes that no network
    has, and for a network that the level lacks.
    """
    found = _SHAPE.fullmatch(shape)
    if not found or (found[4] and stage == "branch"):
        raise MRCascadeError(f"shape {shape!r}: give WIDTHxBLOCKSsSTEM, such as 64x8s2")
    width, blocks, stem = (int(found[i]) for i in (1, 2, 3))
    try:
        if stage == "branch" and level.mean:
            return LevelConfig(None, MeanConfig(width, blocks, stem))
        if stage == "unet" and level.unet:
            given = tuple(int(m) for m in found[4].split("-")) if found[4] else None
            multipliers = given or level.unet.multipliers
            attention = tuple(i for i in level.unet.attention if i < len(multipliers))
            return replace(level, unet=UNetConfig(width, multipliers, blocks, attention, stem))
    except ValueError as error:
        raise MRCascadeError(f"shape {shape!r}: {error}") from error
    raise MRCascadeError(f"--stage {stage}: the level has no such network")


def clock_of(device: str) -> Clock:
    """Return the clock of a device: CPU time of the process, or the wall's for a GPU."""
    if torch.device(device).type == "cpu":
        return time.process_time

    def wall() -> float:
        synchronize(device)
        return time.perf_counter()

    return wall


def planned(scan: Scan) -> dict[str, dict[str, float]]:
    """Return seconds per step and per evaluation and the number of patches of each shape.

    ``plan.json`` keeps them. Shapes added to a scan are timed beside its first one, and their
    times are scaled to it.
    """
    options = scan.options
    path = options.output / PLAN
    shared = {k: v if isinstance(v := getattr(options, k), int | float) else str(v) for k in SHARED}
    with only_writer(path, wait=LONGEST_PLAN):
        stored: dict[str, Any] = {"options": shared, "shapes": {}}
        if path.exists():
            stored = json.loads(path.read_text())
        if changed := [k for k in shared if stored["options"][k] != shared[k]]:
            raise MRCascadeError(
                f"{path}: made with another --{changed[0]} ({stored['options'][changed[0]]});"
                " use that, or another output folder"
            )
        known = stored["shapes"]
        if missing := [shape for shape in options.shapes if shape not in known]:
            first = next(iter(known), missing[0])
            steps, evaluations = timed(scan, list(dict.fromkeys([first, *missing])))
            for shape in missing:
                reference = known.get(
                    first, {"step": steps[first], "evaluation": evaluations[first]}
                )
                step = reference["step"] * steps[shape] / steps[first]
                count = max(round(options.seconds / step), 1)
                known[shape] = {
                    "step": step,
                    "evaluation": reference["evaluation"] * evaluations[shape] / evaluations[first],
                    "patches": count * scan.configs[shape].batch,
                }
            write(path, stored)
    return {shape: known[shape] for shape in known if shape in options.shapes}


def timed(scan: Scan, shapes: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Return median seconds of a training step and of an evaluation per shape, timed in turn."""
    clock, config = clock_of(scan.device), next(iter(scan.configs.values()))
    trainers = {shape: scan.trainer(shape, 10**6) for shape in shapes}
    networks = {shape: scan.network(shape) for shape in shapes}
    for network, _ in networks.values():
        fold(network.to(scan.device))
    steps: dict[str, list[float]] = {shape: [] for shape in shapes}
    evaluations: dict[str, list[float]] = {shape: [] for shape in shapes}
    kind = torch.device(scan.device).type
    autocast = partial(torch.autocast, kind, torch.bfloat16, config.precision == "bfloat16")
    for _ in range(scan.options.rounds + WARM_UP):
        for shape in shapes:
            before = trainers[shape].seconds
            trainers[shape].step()
            steps[shape].append(trainers[shape].seconds - before)
            network, inputs = networks[shape]
            started = clock()
            with torch.inference_mode(), autocast():
                network(*(x.to(scan.device) for x in inputs))
            evaluations[shape].append(clock() - started)
    medians = (
        {shape: statistics.median(s[WARM_UP:]) for shape, s in seconds.items()}
        for seconds in (steps, evaluations)
    )
    return next(medians), next(medians)


def train(scan: Scan, shape: str, plan: Mapping[str, float]) -> None:
    """Train one shape to the end of its budget, unless it is trained, and validate it."""
    folder = scan.options.output / shape
    if (folder / RESULT).exists():
        return
    trainer = scan.trainer(shape, int(plan["patches"]))
    checkpoint = checkpoint_file(folder, scan.level)
    if checkpoint.exists():
        trainer.load(checkpoint)
    print(f"{shape}: {trainer.images:,} patches, about {scan.options.seconds:g} s", flush=True)
    with closing(ProgressBar("patches")) as bar:
        report = StageProgress(
            trainer, bar.say, lambda stage, patches, done: bar.counting(patches, done, stage)
        )
        train_level(trainer, folder, progress=report)
    profiles = range(len(trainer.ema.stds))
    figures = [validated(scan, trainer, profile) for profile in profiles]
    network, inputs = scan.network(shape)
    result = {
        "weights": parameter_count(network),
        "flop_per_pixel": count_flop(network, *inputs) / inputs[0][0, 0].numel(),
        "patches": trainer.seen,
        "seconds": round(trainer.seconds, 2),
        "hardware": hardware(scan.device),
        "validation": min(figures, key=lambda errors: sum(errors.values())),
    }
    write(folder / RESULT, result)


def validated(scan: Scan, trainer: LevelTrainer, profile: int) -> dict[str, float]:
    """Return validation errors of the averaged weights of a profile."""
    networks = trainer.averaged(profile)
    return validate(networks, scan.data, scan.level, trainer.config, scan.options.patches)


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n")


def report(options: argparse.Namespace, plan: Mapping[str, Mapping[str, float]]) -> None:
    """Print and write the table of the shapes that are trained."""
    found = {
        shape: json.loads(path.read_text())
        for shape in options.shapes
        if (path := options.output / shape / RESULT).exists()
    }
    first = options.shapes[0]
    for shape, result in found.items():
        result["evaluation"] = plan[shape]["evaluation"] / plan[first]["evaluation"]
    write(options.output / "scan.json", {"first": first, "plan": plan, "shapes": found})
    text = table(found, first)
    with atomic_output(options.output / "scan.md", overwrite=True) as temporary:
        temporary.write_text(text + "\n")
    print(text)
    if left := [shape for shape in options.shapes if shape not in found]:
        print(f"not trained yet: {', '.join(left)}")


def table(found: Mapping[str, Mapping[str, Any]], first: str) -> str:
    """Return the table in Markdown; in brackets the error's difference from the first shape's."""
    keys = list(next(iter(found.values()))["validation"])
    titles = ["shape", "weights", "kFLOP / pixel", "evaluation", "patches", "seconds", *keys]
    rows = []
    for shape, result in found.items():
        cells = [shape, f"{result['weights']:,}", f"{result['flop_per_pixel'] / 1e3:.1f}"]
        cells += [f"{result['evaluation']:.2f}", f"{result['patches']:,}"]
        cells.append(f"{result['seconds']:.0f}")
        for key in keys:
            cells.append(f"{result['validation'][key]:.5f}")
            if first in found and shape != first:
                ratio = result["validation"][key] / found[first]["validation"][key]
                cells[-1] += f" ({10 * math.log10(ratio):+.2f} dB)"
        rows.append(cells)
    return markdown_table(titles, rows)


if __name__ == "__main__":
    run(main)
