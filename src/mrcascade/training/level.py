"""Training of one level: loop, validation and checkpoints."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mrcascade.errors import MRCascadeError
from mrcascade.io import atomic_output
from mrcascade.networks.compiled import Compiler
from mrcascade.prior.denoiser import LevelNetworks, diffusion_loss
from mrcascade.storage.files import check_regular
from mrcascade.training.checkpoint import not_a_checkpoint, read_state
from mrcascade.training.compiled import CompiledGradient
from mrcascade.training.config import TrainConfig
from mrcascade.training.ema import PowerEMA
from mrcascade.training.level_data import LevelData
from mrcascade.training.log import Record, append_record, cut_log, log_file, profile_key
from mrcascade.training.measurements import Unknown
from mrcascade.training.microbatch import Loss, PerPatch, follow_gradient
from mrcascade.training.muon import Muon
from mrcascade.training.noise import draw_condition_error, draw_sigma, largest_condition_error
from mrcascade.training.patches import Batch
from mrcascade.training.snapshots import drop_snapshots, save_snapshot
from mrcascade.training.validation import validate

VALIDATIONS = 12  # per run
SNAPSHOTS = 8  # snapshots of the averaged weights per run
MEAN_ADAM_SHARE = 1 / 3  # Adam's rate over Muon's; for biases, first and last convolution


class LevelTrainer:
    """Complete state of one level's training, for ``save`` and ``load``.

    On a CPU, in float32 and with the same number of threads, a resumed training ends with exactly
    the weights of an uninterrupted one. On a GPU the order of sums may differ from run to run, so
    weights agree up to rounding errors, which grow with the steps.
    """

    def __init__(
        self,
        level: int,
        config: TrainConfig,
        data: LevelData,
        device: str | torch.device,
        start: Mapping[str, Tensor] | None = None,
        compiler: Compiler | None = None,
    ) -> None:
        """Make networks and optimisers.

        Args:
            level: level to train, 1 the finest.
            config: settings of the run.
            data: patches, statistics and measurements.
            device: device of the networks.
            start: initial weights; random ones by default.
            compiler: compiles the network in training; None runs it as it is.
        """
        self.level, self.config, self.data = level, config, data
        self.device = torch.device(device)
        # Layers draw initial weights from the global generator, on the default device.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(config.seed * 1000 + level)
            networks = LevelNetworks(config.networks[level - 1], config.channels)
        if start is not None:
            networks.load_state_dict(start)
        self.networks = networks.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        mean = networks.mean
        branch = [] if mean is None else list(mean.parameters())
        # Muon trains the branch further than Adam in equal, short time. The U-Net's weights are
        # kept at unit norm (EDM2), which is designed for Adam.
        matrices = [] if mean is None else [p for p in mean.body.parameters() if p.ndim == 4]
        others = _without(branch, matrices)
        denoiser = _without(networks.parameters(), branch)
        self.mean_optimizers: list[tuple[torch.optim.Optimizer, float]] = []
        if branch:
            self.mean_optimizers = [
                (Muon(matrices, lr=0.0), config.mean_rate),
                (_adam(others), config.mean_rate * MEAN_ADAM_SHARE),
            ]
        self.optimizers: list[tuple[torch.optim.Optimizer, float]] = []
        if denoiser:
            self.optimizers = [(_adam(denoiser), config.rate)]
        self.compiler = compiler
        self._compiled = None if compiler is None else CompiledGradient(compiler)
        self.ema = PowerEMA(networks, config.ema)
        self.seen = 0
        self.seconds = 0.0
        self.rng = np.random.default_rng([config.seed, level])
        self.generator = torch.Generator().manual_seed(config.seed * 1000 + level)

    @property
    def stages(self) -> tuple[int, int]:
        """Numbers of patches for the regression branch and for the U-Net."""
        return self.config.stages(self.level)

    @property
    def images(self) -> int:
        """Number of patches of the whole run."""
        return sum(self.stages)

    def step(self) -> dict[str, float]:
        """Take an optimiser step on ``config.batch`` patches, and return the losses by name."""
        started = time.perf_counter()
        n = self.config.batch
        branch, unet = self.stages
        self.networks.zero_grad(set_to_none=True)
        if self.seen < branch:
            done, optimizers = self.seen / branch, self.mean_optimizers
            clean = self._batch(n, self.config.mean_clean_condition_share)
            batch: tuple[PerPatch | None, ...] = clean.band, clean.condition, clean.unknown
            loss_of: Loss = self._regression_loss
        else:
            done = (self.seen - branch) / unet
            optimizers = self.optimizers
            batch, loss_of = self._noisy_batch(n), self._diffusion_loss
        size = self.config.microbatch
        trained = self.networks.mean if self.seen < branch else self.networks.unet
        if self._compiled is None or trained is None:
            losses = follow_gradient(self.networks, loss_of, batch, size)
        else:
            losses = self._compiled(self.networks, trained, loss_of, batch, size)
        for parameter in self.networks.parameters():
            if parameter.grad is not None:
                torch.nan_to_num(parameter.grad, 0.0, 0.0, 0.0, out=parameter.grad)
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * self.config.learning_rate(done)
            optimizer.step()
        self.ema.update(self.seen, self.seen + n)
        self.seen += n
        self.seconds += time.perf_counter() - started
        return losses

    def _batch(self, count: int, clean_share: float) -> Batch:
        raw = self.data.train.raw(count, self.rng, self.seen)
        largest = largest_condition_error(self.level, self.config)
        error = draw_condition_error(count, largest, clean_share, self.generator)
        return self.data.batch(raw, error, self.config, self.generator).to(self.device)

    def _autocast(self) -> torch.autocast:
        enabled = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _noisy_batch(self, count: int) -> tuple[PerPatch | None, ...]:
        """Return bands, conditions, the unknown parts by the data, noise levels and noise."""
        config = self.config
        batch = self._batch(count, config.clean_condition_share)
        band = batch.band
        sigma = draw_sigma(count, config, self.generator).to(self.device)
        noise = torch.randn(band.shape, generator=self.generator, device="cpu").to(self.device)
        return band, batch.condition, batch.unknown, sigma, noise

    def _regression_loss(
        self, band: Tensor, condition: Tensor | None, unknown: Unknown | None
    ) -> tuple[Tensor, dict[str, float]]:
        with self._autocast():
            mean = self.networks.conditional_mean(condition, unknown)
        assert mean is not None
        loss = (mean.to(band.dtype) - band).square().mean()
        return loss, {"regression": float(loss.detach())}

    def _diffusion_loss(
        self,
        band: Tensor,
        condition: Tensor | None,
        unknown: Unknown | None,
        sigma: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, dict[str, float]]:
        with self._autocast():
            with torch.no_grad():
                mean = self.networks.conditional_mean(condition, unknown)
            noisy = band + sigma[:, None, None, None] * noise
            denoised = self.networks(noisy, sigma, condition, mean).to(band.dtype)
        loss, error = diffusion_loss(self.networks, denoised, band, sigma)
        return loss, {"loss": float(loss.detach()), "weighted_error": float(error.mean())}

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "config": json.dumps(asdict(self.config)),
            "level": self.level,
            "stages": list(self.stages),
            "statistics": json.dumps([asdict(s) for s in (self.data.own, self.data.coarser) if s]),
            "networks": self.networks.state_dict(),
            "optimizer": [o.state_dict() for o, _ in self.mean_optimizers + self.optimizers],
            "ema": self.ema.state_dict(),
            "seen": self.seen,
            "seconds": self.seconds,
            "rng": json.dumps(self.rng.bit_generator.state),
            "generator": self.generator.get_state(),
        }

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically."""
        with atomic_output(path, overwrite=True) as temporary:
            torch.save(self.state(), temporary)

    def load(self, path: Path) -> None:
        """Resume from a checkpoint.

        The settings must be those of the checkpoint, except the microbatch and the length of a
        stage that has not ended. Runs of older versions, in which ``images`` counted the U-Net's
        patches only, keep their original lengths.

        Raises:
            MRCascadeError: the file is damaged, or settings or training data differ.
        """
        state = read_checkpoint(path)
        try:
            self._load(path, state)
        except MRCascadeError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise not_a_checkpoint(path) from error

    def _load(self, path: Path, state: dict[str, Any]) -> None:
        current = json.loads(json.dumps(asdict(self.config)))
        # Settings that an older version did not have count as their defaults.
        saved = json.loads(json.dumps(asdict(TrainConfig()))) | json.loads(state["config"])
        free = ("images", "mean_images", "microbatch")
        changed = [k for k in current if k not in free and saved[k] != current[k]]
        if changed or state["level"] != self.level:
            raise MRCascadeError(
                f"{path}: made with other settings ({', '.join(changed) or 'level'});"
                " use those, or another output folder"
            )
        self._check_lengths(path, state)
        own = json.loads(state["statistics"])[0]
        if any(not math.isclose(own[k], v, rel_tol=1e-6) for k, v in asdict(self.data.own).items()):
            raise MRCascadeError(
                f"{path}: made from other training data, or patches drawn in another way; use"
                " another output folder"
            )
        try:
            self.networks.load_state_dict(state["networks"])
        except RuntimeError as error:
            raise MRCascadeError(
                f"{path}: made with other networks than this version's {self.config.network!r};"
                " use another output folder"
            ) from error
        optimizers = self.mean_optimizers + self.optimizers
        for (optimizer, _), saved_state in zip(optimizers, state["optimizer"], strict=True):
            optimizer.load_state_dict(saved_state)
        self.ema.load_state_dict(state["ema"])
        self.seen, self.seconds = state["seen"], state["seconds"]
        self.rng.bit_generator.state = json.loads(state["rng"])
        self.generator.set_state(state["generator"])

    def _check_lengths(self, path: Path, state: dict[str, Any]) -> None:
        begun, (branch, unet) = self.stages, state["stages"]
        if state["older"] and begun != (branch, unet):
            shares = f" --mean-images {branch}" if branch and unet else ""
            raise MRCascadeError(
                f"{path}: from a version where --images counted the U-Net's patches only, with"
                f" {branch} patches for the regression branch and {unet} for the U-Net; to go on,"
                f" add --levels {self.level} --images {branch + unet}{shares}, or use another"
                " output folder"
            )
        if branch != begun[0] and state["seen"] >= min(branch, begun[0]):
            raise MRCascadeError(
                f"{path}: its regression branch was planned for {branch} patches, too late to"
                f" change to {begun[0]}; add --mean-images {branch}, or use another output folder"
            )

    def averaged(self, profile: int) -> LevelNetworks:
        """Return a copy of the networks with the weights of EMA profile ``profile``."""
        networks = copy.deepcopy(self.networks)
        networks.load_state_dict(self.ema.parameters(profile), strict=False)  # buffers stay
        return networks.eval()


def _adam(parameters: list[nn.Parameter]) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=0.0, betas=(0.9, 0.99))


def _without(
    parameters: Iterable[nn.Parameter], others: Iterable[nn.Parameter]
) -> list[nn.Parameter]:
    """Return the parameters that are not among ``others``, in their order."""
    left_out = {id(parameter) for parameter in others}
    return [parameter for parameter in parameters if id(parameter) not in left_out]


def checkpoint_file(folder: Path, level: int) -> Path:
    """Return the name of a level's checkpoint in the run's folder."""
    return folder / f"level{level}.ckpt"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the state that ``LevelTrainer.save`` wrote, on the CPU.

    Its entry "older" tells whether an older version wrote it, in which ``images`` counted the
    U-Net's patches only. Raises MRCascadeError if the file is not a checkpoint.
    """
    check_regular(path)
    state = read_state(path)
    state["older"] = "stages" not in state
    if state["older"]:
        try:
            older = TrainConfig.upgraded(state["config"], state["level"])
        except MRCascadeError:
            raise
        except (TypeError, ValueError, LookupError) as error:
            raise MRCascadeError(f"{path}: made by another version; train anew") from error
        state["config"], state["stages"] = older
    # Older versions, without these settings, had conditions without data and with their phase.
    settings = json.loads(state["config"])
    past = {"data_condition": False, "demodulate": settings.get("channels", 1) == 1}
    state["config"] = json.dumps(past | settings)
    return state


def train_level(
    trainer: LevelTrainer,
    folder: Path,
    *,
    progress: Callable[[int, dict[str, float]], None],
    checkpoint_seconds: float = 60.0,
) -> None:
    """Train a level to the end of its run.

    Args:
        trainer: state of the training.
        folder: folder of checkpoint, snapshots and JSONL log.
        progress: called after each step with its number of patches and its losses.
        checkpoint_seconds: time between checkpoints.
    """
    config, checkpoint = trainer.config, checkpoint_file(folder, trainer.level)
    log = log_file(folder, trainer.level)
    cut_log(log, trainer.seen)
    drop_snapshots(folder, trainer.level, trainer.seen)
    saved = time.monotonic()
    history: dict[str, list[float]] = {}
    while trainer.seen < trainer.images:
        losses = trainer.step()
        for key, value in losses.items():
            history.setdefault(key, []).append(value)
        progress(config.batch, losses)
        if _due(trainer, VALIDATIONS):
            means = {key: sum(values) / len(values) for key, values in history.items()}
            append_record(log, _record(trainer, means))
            history = {}
        if _due(trainer, SNAPSHOTS):
            save_snapshot(folder, trainer.level, trainer.seen, trainer.ema)
        if trainer.seen >= trainer.images or time.monotonic() - saved > checkpoint_seconds:
            trainer.save(checkpoint)
            saved = time.monotonic()
    if not checkpoint.exists():  # a level without networks
        trainer.save(checkpoint)


def _due(trainer: LevelTrainer, times: int) -> bool:
    """Return whether the last step ended the run, or one of its ``times`` equal parts."""
    batch, images = trainer.config.batch, trainer.images
    every = max(batch, images // times)
    return trainer.seen // every != (trainer.seen - batch) // every or trainer.seen >= images


def _record(trainer: LevelTrainer, losses: dict[str, float]) -> Record:
    """Return a record with mean losses and the validation errors of each EMA profile."""
    record: Record = {"images": trainer.seen, "seconds": round(trainer.seconds, 1)}
    record |= {key: round(value, 6) for key, value in losses.items()}
    if trainer.data.validation is not None:
        for profile, std in enumerate(trainer.ema.stds):
            networks = trainer.averaged(profile)
            figures = validate(networks, trainer.data, trainer.level, trainer.config)
            record[profile_key(std)] = {k: round(v, 5) for k, v in figures.items()}
    return record
