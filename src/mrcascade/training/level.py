"""State of one level's training: networks, optimisers, steps and checkpoints."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
from mrcascade.training.distributed import Processes
from mrcascade.training.draws import StepDraws
from mrcascade.training.ema import PowerEMA
from mrcascade.training.level_data import LevelData
from mrcascade.training.measurements import Unknown
from mrcascade.training.microbatch import Loss, PerPatch, follow_gradient
from mrcascade.training.muon import Muon
from mrcascade.training.noise import draw_condition_error, draw_sigma, largest_condition_error
from mrcascade.training.patches import Batch
from mrcascade.training.prefetch import PatchStream

_REDUCED = {"bfloat16": torch.bfloat16, "float16": torch.float16}
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
        processes: Processes,
        start: Mapping[str, Tensor] | None = None,
        compiler: Compiler | None = None,
    ) -> None:
        """Make networks and optimisers.

        Args:
            level: level to train, 1 the finest.
            config: settings of the run.
            data: patches, statistics and measurements.
            processes: processes that share the batches, with their devices.
            start: initial weights; random ones by default.
            compiler: compiles the network in training; None runs it as it is.
        """
        self.level, self.config, self.data = level, config, data
        self.processes, self.device = processes, processes.device
        self.patches = PatchStream(data.train)
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
        self._compiled = None if compiler is None else CompiledGradient(compiler, f"level {level}")
        self.ema = PowerEMA(networks, config.ema)
        self.seen = 0
        self.seconds = 0.0
        self.losses: dict[str, list[float]] = {}  # of the steps since the last record of the log
        # float16 loses gradients below 6e-8, so they are scaled until the step.
        scaled = config.precision == "float16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)

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
        branch, unet = self.stages
        if self.seen < branch:
            done, optimizers = self.seen / branch, self.mean_optimizers
        else:
            done, optimizers = (self.seen - branch) / unet, self.optimizers
        groups = [group for optimizer, _ in optimizers for group in optimizer.param_groups]
        weights = [weight for group in groups for weight in group["params"]]
        losses = self.processes.total(self._gradient, weights)
        for name, loss in losses.items():
            self.losses.setdefault(name, []).append(loss)
        for optimizer, _ in optimizers:
            self.scaler.unscale_(optimizer)
        for weight in weights:
            if weight.grad is not None:
                torch.nan_to_num(weight.grad, 0.0, 0.0, 0.0, out=weight.grad)
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * self.config.learning_rate(done)
            self.scaler.step(optimizer)  # passes over a step whose gradient overflowed
        self.scaler.update()
        self.ema.update(self.seen, self.seen + self.config.batch)
        self.seen += self.config.batch
        self.seconds += time.perf_counter() - started
        return losses

    def _gradient(self) -> dict[str, float]:
        """Follow the gradient of this process's part of the next batch; return its losses."""
        self.networks.zero_grad(set_to_none=True)
        part = self.processes.part(self.config.batch)
        draws = StepDraws(self.level, self.config, self.seen, part)
        regression = self.seen < self.stages[0]
        if regression:
            clean = self._batch(draws, self.config.mean_clean_condition_share)
            batch: tuple[PerPatch | None, ...] = clean.band, clean.condition, clean.unknown
            loss_of: Loss = self._regression_loss
        else:
            batch, loss_of = self._noisy_batch(draws), self._diffusion_loss
        sizes = self.config.microbatch, self.config.batch
        trained = self.networks.mean if regression else self.networks.unet
        if self._compiled is None or trained is None:
            return follow_gradient(self.networks, loss_of, batch, *sizes)
        return self._compiled(self.networks, trained, loss_of, batch, *sizes)

    def _batch(self, draws: StepDraws, clean_share: float) -> Batch:
        """Return this process's part of a batch."""
        config, kinds = self.config, self.data.measurements
        largest = largest_condition_error(self.level, config)
        error = draw_condition_error(config.batch, largest, clean_share, draws.generator)
        measured = None if kinds is None else kinds.draw(config.batch, draws.generator)[draws.part]
        following = [i + config.batch for i in draws.images if i + config.batch < self.images]
        raw = self.patches.take(draws, following)
        batch = self.data.batch(raw, error[draws.part], config, draws.noise, measured)
        return batch.to(self.device)

    def _autocast(self) -> torch.autocast:
        reduced = _REDUCED.get(self.config.precision)
        return torch.autocast(self.device.type, reduced, enabled=reduced is not None)

    def _noisy_batch(self, draws: StepDraws) -> tuple[PerPatch | None, ...]:
        """Return bands, conditions, the unknown parts by the data, noise levels and noise."""
        batch = self._batch(draws, self.config.clean_condition_share)
        sigma = draw_sigma(self.config.batch, self.config, draws.generator)[draws.part]
        noise = draws.noise.randn(batch.band.shape)
        moved = sigma.to(self.device), noise.to(self.device)
        return batch.band, batch.condition, batch.unknown, *moved

    def _regression_loss(
        self, band: Tensor, condition: Tensor | None, unknown: Unknown | None
    ) -> tuple[Tensor, dict[str, float]]:
        with self._autocast():
            mean = self.networks.conditional_mean(condition, unknown)
        assert mean is not None
        loss = (mean.to(band.dtype) - band).square().mean()
        return self.scaler.scale(loss), {"regression": float(loss.detach())}

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
        losses = {"loss": float(loss.detach()), "weighted_error": float(error.mean())}
        return self.scaler.scale(loss), losses

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
            "losses": json.dumps(self.losses),
            "scaler": self.scaler.state_dict(),
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
        self.restore(path, read_checkpoint(path))

    def restore(self, path: Path, state: dict[str, Any]) -> None:
        """Resume from the state in a checkpoint, as `load` does."""
        try:
            self._restore(path, state)
        except MRCascadeError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise not_a_checkpoint(path) from error

    def _restore(self, path: Path, state: dict[str, Any]) -> None:
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
        self.losses = json.loads(state.get("losses", "{}"))  # older versions had none
        self.scaler.load_state_dict(state.get("scaler", {}))

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
