"""Forecast of a training run: its data, networks and time on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from mrcascade.messages.duration import rounded
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.prior.level import LevelStatistics
from mrcascade.training.bands import BandSlice, level_patch
from mrcascade.training.config import STAGES, TrainConfig
from mrcascade.training.distributed import Processes
from mrcascade.training.level import LevelTrainer
from mrcascade.training.level_data import LevelData
from mrcascade.training.loop import VALIDATIONS
from mrcascade.training.measurements import Measurements
from mrcascade.training.patches import PatchSource
from mrcascade.training.selection import volume_subject
from mrcascade.training.validation import VALIDATION_PATCHES, VALIDATION_SIGMAS
from mrcascade.training.volume import Volume

FORWARD_SHARE = 1 / 3  # share of the forward pass in a step; the gradient takes the rest
STEP_SECONDS = 0.25  # longest timed step; the batch is reduced to keep to it


def forecast(
    train: Sequence[Volume],
    validation: Sequence[Volume],
    config: TrainConfig,
    seen: Mapping[int, int],
    processes: Processes,
) -> Iterator[str]:
    """Yield lines about data, networks, the time of the run, and each remaining stage.

    The time of the whole run comes first, then the levels in the order of their training. Times
    come from a few steps of this process on random patches, which take some seconds. That of
    messages between processes is not known.

    Args:
        train, validation: the volumes.
        config: settings of the run.
        seen: level -> patches so far, for the levels to train, in order.
        processes: processes that share the batches.
    """
    yield f"training data: {_volumes(train)}; to validate: {_volumes(validation)}"
    if both := {v.subject for v in train if v.subject} & {v.subject for v in validation}:
        yield (
            f"careful: {len(both)} subject{'s' * (len(both) > 1)} to train on also validate; the"
            " folders train and val should hold different people"
        )
    preset = config.networks
    with torch.device("meta"):  # parameters are counted without memory
        networks = [LevelNetworks(shapes, config.channels) for shapes in preset]
    weights = [sum(p.numel() for p in level.parameters()) for level in networks]
    millions = ", ".join(f"{n / 1e6:.2f}" for n in weights)
    yield f"networks {config.network!r}: {millions} million weights at levels 1 to {len(preset)}"
    lines: list[str] = []
    times: dict[int, float] = {}
    for level, done in seen.items():
        left = _left(config.stages(level), done)
        seconds = _stage_seconds(level, left, config, processes, bool(validation))
        if any(left):
            times[level] = sum(seconds)
        parts = [
            f"{n:,} patches for the {stage} (about {rounded(s)})"
            for n, stage, s in zip(left, STAGES, seconds, strict=True)
            if n
        ]
        size = level_patch(level, config)
        said = f"{', then '.join(parts)}, each {size} x {size}" if parts else "nothing is left"
        lines.append(f"level {level}: {said}")
    if times:
        each = ", then ".join(f"level {i} about {rounded(s)}" for i, s in times.items())
        yield f"in all about {rounded(sum(times.values()))}{f': {each}' if len(times) > 1 else ''}"
    yield from lines


def _stage_seconds(
    level: int,
    left: tuple[int, int],
    config: TrainConfig,
    processes: Processes,
    validated: bool,
) -> list[float]:
    """Return the remaining seconds of each stage."""
    stages = config.stages(level)
    nothing = Speed(0.0, 0.0)
    speeds = [nothing, nothing]
    for stage in (0, 1):
        if any(left) and stages[stage]:
            speeds[stage] = measure_speed(level, stage, config, processes.device)
    validation = 0.0
    if validated and any(left):
        figures = len(VALIDATION_SIGMAS) if stages[1] else 2
        evaluations = len(config.ema) * VALIDATION_PATCHES * figures
        seconds = evaluations * FORWARD_SHARE * (speeds[1].patch or speeds[0].patch)
        validation = seconds * min(VALIDATIONS / sum(stages), 1 / config.batch)
    return [
        n * (speed.step / config.batch + speed.patch / processes.count + validation)
        for n, speed in zip(left, speeds, strict=True)
    ]


@dataclass(frozen=True)
class Speed:
    """Speed of training: a step on n patches takes ``step + n patch`` seconds."""

    step: float
    patch: float


def measure_speed(level: int, stage: int, config: TrainConfig, device: str | torch.device) -> Speed:
    """Time steps of one process in a stage of a level; fast networks with larger batches.

    stage: 0 for the regression branch, 1 for the U-Net.
    """
    trainer = LevelTrainer(level, config, _random_data(level, config), Processes(device))
    first = trainer.stages[0] if stage else 0

    def timed(batch: int) -> float:
        trainer.config, trainer.seen = replace(config, batch=batch), first
        started = time.perf_counter()
        trainer.step()
        return time.perf_counter() - started

    alone = timed(1)  # also warms up
    if alone < STEP_SECONDS:
        alone = min(timed(1), timed(1))
    batch = min(config.batch, int(STEP_SECONDS / alone))
    if batch < 2:
        return Speed(0.0, alone)
    patch = max(min(timed(batch), timed(batch)) - alone, 0.0) / (batch - 1)
    return Speed(max(alone - patch, 0.0), patch)


def _random_data(level: int, config: TrainConfig) -> LevelData:
    size = level_patch(level, config)
    pixels = np.random.default_rng(0).standard_normal((3, config.channels, size, size), np.float32)
    source = PatchSource([BandSlice(pixels, (1.0,))], np.ones(1), level, config)
    statistics = LevelStatistics(0.0, 1.0, 0.0, 1.0)
    measurements = Measurements(level, size, config) if config.networks[level - 1].data else None
    coarser = statistics if level < config.levels else None
    return LevelData(source, None, statistics, coarser, measurements)


def _left(stages: tuple[int, int], done: int) -> tuple[int, int]:
    branch, unet = stages
    return max(branch - done, 0), max(unet - max(done - branch, 0), 0)


def _volumes(volumes: Sequence[Volume]) -> str:
    if not volumes:
        return "nothing"
    slices: dict[str, int] = {}
    for volume in volumes:
        slices[volume.group] = slices.get(volume.group, 0) + len(volume.slices)
    groups = ", ".join(f"{group} {count}" for group, count in sorted(slices.items()))
    count, people = len(volumes), len({volume_subject(v) for v in volumes})
    files = f"{count} file{'s' * (count > 1)}"
    if any(v.subject for v in volumes):
        files += f" of {people} subject{'s' * (people > 1)}"
    return f"{files}, {sum(slices.values())} slices ({groups})"
