"""What a run will train on, and how long that will take on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from mrcascade.denoiser import LevelNetworks
from mrcascade.duration import rounded
from mrcascade.networks import network_preset
from mrcascade.prior import LevelStatistics
from mrcascade.training.config import STAGES, TrainConfig
from mrcascade.training.level import LevelData, LevelTrainer
from mrcascade.training.patches import BandSlice, PatchSource, level_patch
from mrcascade.training.slices import Volume

TIMED_SECONDS = 4.0  # no stage is timed after these
STEP_SECONDS = 0.3  # of a timed step, whose batch is made that small


def forecast(
    train: Sequence[Volume],
    validation: Sequence[Volume],
    config: TrainConfig,
    seen: Mapping[int, int],
    device: str,
) -> Iterator[str]:
    """Lines on data, networks, and the patches and time of each stage that is left.

    seen: the levels to train, in their order, and how many patches each has had. Times come from
    a few steps on random patches, which take some seconds; data that are read anew, and
    validations, are not counted.
    """
    yield f"training data: {_volumes(train)}; to validate: {_volumes(validation)}"
    preset = network_preset(config.network).levels
    with torch.device("meta"):  # counts without weights
        networks = [LevelNetworks(shapes, config.channels) for shapes in preset]
    weights = [sum(p.numel() for p in level.parameters()) for level in networks]
    millions = ", ".join(f"{n / 1e6:.2f}" for n in weights)
    yield f"networks {config.network!r}: {millions} million weights at levels 1 to {len(preset)}"
    started, total = time.perf_counter(), 0.0
    known = True
    for level, done in seen.items():
        left = _left(config.stages(level), done)
        if not any(left):
            yield f"level {level}: nothing left to train"
            continue
        parts = []
        for stage, patches in enumerate(left):
            part = f"{patches:,} patches for the {STAGES[stage]}"
            if patches and time.perf_counter() - started < TIMED_SECONDS:
                seconds = patches * seconds_per_patch(level, stage, config, device)
                total += seconds
                part += f" (about {rounded(seconds)})"
            elif patches:
                known = False
            parts += [part] if patches else []
        size = level_patch(level, config)
        yield f"level {level}: {', then '.join(parts)}, each {size} x {size}"
    if total and known:
        yield f"in all about {rounded(total)}"


def seconds_per_patch(level: int, stage: int, config: TrainConfig, device: str) -> float:
    """The time that a patch takes in a stage (0: regression branch, 1: U-Net) of a level."""
    trainer = LevelTrainer(level, config, _random_data(level, config), device)
    trainer.seen = trainer.stages[0] if stage else 0

    def timed(batch: int) -> float:
        trainer.config = replace(config, batch=batch)
        started, before = time.perf_counter(), trainer.seen
        trainer.step()
        trainer.seen = before
        return (time.perf_counter() - started) / batch

    alone = timed(1)  # which also prepares
    if alone > STEP_SECONDS:
        return alone
    batch = max(1, min(config.batch, int(STEP_SECONDS / timed(1))))
    return min(timed(batch), timed(batch))


def _random_data(level: int, config: TrainConfig) -> LevelData:
    size = level_patch(level, config)
    pixels = np.random.default_rng(0).standard_normal((3, config.channels, size, size), np.float32)
    source = PatchSource([BandSlice(pixels, (1.0,))], np.ones(1), level, config)
    statistics = LevelStatistics(0.0, 1.0, 0.0, 1.0)
    return LevelData(source, None, statistics, statistics if level < config.levels else None)


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
    count = len(volumes)
    return f"{count} file{'s' * (count > 1)}, {sum(slices.values())} slices ({groups})"
