"""Training of the whole cascade: data, levels, export."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrcascade.errors import MRCascadeError
from mrcascade.networks import network_preset
from mrcascade.prior import LevelSpec, LevelStatistics, write_prior
from mrcascade.training.config import TrainConfig
from mrcascade.training.level import (
    LevelData,
    LevelTrainer,
    largest_condition_error,
    train_level,
)
from mrcascade.training.patches import PatchSource, band_slices, slice_weights
from mrcascade.training.slices import Volume, load_volumes

SPECTRUM_BINS = 48
Progress = Callable[[int, str], None]


class CascadeData:
    """Volumes of a run with what every level needs of them."""

    def __init__(self, volumes: list[Volume], config: TrainConfig) -> None:
        self.config = config
        self.train = [v for v in volumes if v.split == "train" and len(v.slices)]
        self.validation = [v for v in volumes if v.split == "val" and len(v.slices)]
        self._statistics: dict[int, LevelStatistics] = {}

    def source(self, volumes: list[Volume], level: int) -> PatchSource:
        """Patches of ``volumes`` on the grid of ``level``."""
        slices = band_slices(volumes, level, self.config)
        return PatchSource(slices, slice_weights(volumes), level, self.config)

    def statistics(self, level: int, source: PatchSource | None = None) -> LevelStatistics:
        """Statistics of ``level`` over random training patches (the same ones in every run)."""
        if level not in self._statistics:
            source = source or self.source(self.train, level)
            rng = np.random.default_rng([self.config.seed, level, 1])
            self._statistics[level] = source.statistics(rng)
        return self._statistics[level]

    def level(self, level: int) -> LevelData:
        """Everything that training ``level`` reads."""
        train = self.source(self.train, level)
        coarser = self.statistics(level + 1) if level < self.config.levels else None
        validation = self.source(self.validation, level) if self.validation else None
        return LevelData(train, validation, self.statistics(level, train), coarser)

    def spectrum(self) -> list[float]:
        """Radial power spectral density of the training slices, see ``CascadePrior``."""
        total, count = np.zeros(SPECTRUM_BINS), np.zeros(SPECTRUM_BINS)
        for volume in self.train:
            reference = next(iter(volume.scales.values()))
            weight = 1 / np.sqrt(len(volume.slices))
            for image in volume.slices:
                power = np.abs(np.fft.fft2(image / reference)) ** 2 / image.size
                fr, fc = (np.fft.fftfreq(n) for n in image.shape)
                radius = np.hypot(fr[:, None], fc[None]) / np.sqrt(0.5)
                bins = np.minimum((radius * SPECTRUM_BINS).astype(int), SPECTRUM_BINS - 1).ravel()
                total += weight * np.bincount(bins, power.ravel(), SPECTRUM_BINS)
                count += weight * np.bincount(bins, minlength=SPECTRUM_BINS)
        return list(total / np.maximum(count, 1e-12))


def train_cascade(
    data: Path,
    output: Path,
    config: TrainConfig,
    *,
    levels: Sequence[int] | None = None,
    resume: bool = False,
    device: str = "cpu",
    name: str | None = None,
    progress: Callable[[int, int, int], Progress] | None = None,
) -> Path | None:
    """Train ``levels`` (all by default) on ``data`` and write a prior to ``output / "prior"``.

    Checkpoints, logs and plots go to ``output``. With ``resume`` a level goes on from its
    checkpoint. ``progress(level, images, done)`` makes the per-step callback of a level. Returns
    the prior's folder, or None while some level has no checkpoint yet.
    """
    wanted = sorted(levels or range(1, config.levels + 1), reverse=True)
    if not set(wanted) <= set(range(1, config.levels + 1)):
        raise MRCascadeError(f"levels {wanted} asked for, but the cascade has 1 to {config.levels}")
    found = [output / f"level{i}.ckpt" for i in wanted if (output / f"level{i}.ckpt").exists()]
    if found and not resume:
        raise MRCascadeError(f"{found[0]}: exists; use --resume to go on, or another output folder")
    multiple = 2 ** (config.levels - 1)
    cascade = CascadeData(load_volumes(data, multiple, (2, multiple)), config)
    output.mkdir(parents=True, exist_ok=True)
    for level in wanted:
        trainer = LevelTrainer(level, config, cascade.level(level), device)
        checkpoint = output / f"level{level}.ckpt"
        if resume and checkpoint.exists():
            trainer.load(checkpoint)
        report = progress(level, config.images, trainer.seen) if progress else _silent
        train_level(trainer, output, progress=report)
        del trainer
    if not all((output / f"level{i}.ckpt").exists() for i in range(1, config.levels + 1)):
        return None
    return export(output, config, cascade, data, name or output.name)


def _silent(images: int, message: str) -> None:
    """Progress of a run that nobody watches."""


def export(
    output: Path, config: TrainConfig, cascade: CascadeData, data: Path, name: str
) -> Path:
    """Write the prior of a run's checkpoints: per level the EMA profile that validates best."""
    levels = []
    for level in range(1, config.levels + 1):
        state = torch.load(output / f"level{level}.ckpt", map_location="cpu", weights_only=True)
        saved = TrainConfig(**_tuples(json.loads(state["config"])))
        records = _records(output / f"level{level}.jsonl")
        profile = _best_profile(saved, records)
        weights = {**state["networks"], **state["ema"][profile]}
        training = {
            "images": state["seen"],
            "seconds": round(state["seconds"], 1),
            "ema": saved.ema[profile],
            "config": {k: v for k, v in asdict(saved).items() if k not in ("images", "ema")},
            "validation": records[-1].get(f"val_ema{saved.ema[profile]:g}") if records else None,
        }
        spec = LevelSpec(
            networks=network_preset(config.network)[level - 1],
            statistics=cascade.statistics(level),
            condition_error=(
                largest_condition_error(level, saved) if level < saved.levels else 0.0
            ),
            training=training,
        )
        levels.append((spec, weights))
    folder = output / "prior"
    provenance = {
        "data": data.name,
        "files": [v.file for v in cascade.train],
        "slices": sum(len(v.slices) for v in cascade.train),
        "network": config.network,
        "hardware": _hardware(),
    }
    write_prior(
        folder,
        name=name,
        kernel=config.kernel,
        channels=config.channels,
        levels=levels,
        spectrum=cascade.spectrum(),
        provenance=provenance,
        sampling={},
    )
    return folder


def _best_profile(config: TrainConfig, records: list[dict[str, Any]]) -> int:
    if not records or f"val_ema{config.ema[0]:g}" not in records[-1]:
        return 0
    scores = [sum(records[-1][f"val_ema{std:g}"].values()) for std in config.ema]
    return int(np.argmin(scores))


def _records(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _tuples(config: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads ({platform.machine()})"


def shortened(config: TrainConfig, images: int | None) -> TrainConfig:
    """``config`` with another number of images per level, if one is given."""
    if images is None:
        return config
    if images < config.batch:
        raise MRCascadeError(f"--images {images} is less than one batch of {config.batch}")
    return replace(config, images=images)
