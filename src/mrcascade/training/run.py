"""Training of the whole cascade: data, levels, export."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mrcascade.devices.facts import hardware
from mrcascade.errors import MRCascadeError
from mrcascade.io import output_folders, remove_leftovers
from mrcascade.networks.compiled import Compiler
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.prior.domain import write_domain
from mrcascade.prior.format import PRIOR_FILE, prior_folder, read_document
from mrcascade.prior.level import LevelSpec, LevelStatistics
from mrcascade.prior.writing import write_prior
from mrcascade.storage.outputs import only_writer, refuse_inputs
from mrcascade.training.augment import is_on
from mrcascade.training.config import TrainConfig
from mrcascade.training.domain import domain_of
from mrcascade.training.files import PRIOR_FOLDER, begin_run, check_run
from mrcascade.training.forecast import forecast
from mrcascade.training.level import (
    LevelTrainer,
    checkpoint_file,
    read_checkpoint,
    train_level,
)
from mrcascade.training.level_data import LevelData
from mrcascade.training.log import best_profile, log_file, profile_key, read_log
from mrcascade.training.measurements import Measurements
from mrcascade.training.noise import largest_condition_error
from mrcascade.training.patches import (
    ChangedSlices,
    PatchSource,
    band_slices,
    coarser_copies,
    level_patch,
    reduced,
)
from mrcascade.training.plot import plot_losses
from mrcascade.training.progress import StageBar, StageProgress
from mrcascade.training.selection import describe_selection, slice_weights
from mrcascade.training.slices import load_volumes
from mrcascade.training.snapshots import rebuild_profile
from mrcascade.training.start import start_of
from mrcascade.training.validation import validate
from mrcascade.training.volume import Volume

SPECTRUM_BINS = 48


class CascadeData:
    """Volumes of a run, and the training data of every level."""

    def __init__(
        self, volumes: list[Volume], config: TrainConfig, start: CascadePrior | None = None
    ) -> None:
        """Split the volumes and add coarser copies.

        Args:
            volumes: training and validation volumes.
            config: settings of the run.
            start: prior with the initial weights; its networks require its statistics.
        """
        self.config = config
        self.train = [v for v in volumes if v.split == "train" and len(v.slices)]
        self.shown = self.train + coarser_copies(self.train, config)
        self.validation = [v for v in volumes if v.split == "val" and len(v.slices)]
        levels = enumerate(start.levels if start else [], start=1)
        self._statistics = {i: level.spec.statistics for i, level in levels}

    def source(self, volumes: list[Volume], level: int, changing: bool = False) -> PatchSource:
        """Return the source of patches on the grid of ``level``.

        changing: whether slices are changed at random, as set by ``config``.
        """
        config = self.config
        changed = ChangedSlices(volumes, level, config) if changing and is_on(config) else None
        weights = slice_weights(volumes, config.anatomy_balance, config.contrast_balance)
        return PatchSource(band_slices(volumes, level, config), weights, level, config, changed)

    def statistics(self, level: int, source: PatchSource | None = None) -> LevelStatistics:
        """Return statistics of ``level`` over random training patches, the same in every run."""
        if level not in self._statistics:
            source = source or self.source(self.shown, level, changing=True)
            rng = np.random.default_rng([self.config.seed, level, 1])
            self._statistics[level] = source.statistics(rng)
        return self._statistics[level]

    def level(self, level: int) -> LevelData:
        """Return the training data of ``level``."""
        train = self.source(self.shown, level, changing=True)
        coarser = self.statistics(level + 1) if level < self.config.levels else None
        validation = self.source(self.validation, level) if self.validation else None
        measurements = None
        if self.config.networks[level - 1].data:
            measurements = Measurements(level, level_patch(level, self.config), self.config)
        own = self.statistics(level, train)
        return LevelData(train, validation, own, coarser, measurements)

    def spectrum(self) -> list[float]:
        """Return the radial power spectral density of the training slices, see ``CascadePrior``.

        For complex slices it is the mean over real and imaginary parts.
        """
        total, count = np.zeros(SPECTRUM_BINS), np.zeros(SPECTRUM_BINS)
        for volume in self.train:
            reference = next(iter(volume.scales.values()))
            weight = 1 / np.sqrt(len(volume.slices))
            for image in volume.slices:
                power = np.abs(np.fft.fft2(image / reference)) ** 2 / (image.size * volume.channels)
                fr, fc = (np.fft.fftfreq(n) for n in image.shape)
                radius = np.hypot(fr[:, None], fc[None]) / np.sqrt(0.5)
                bins = np.minimum((radius * SPECTRUM_BINS).astype(int), SPECTRUM_BINS - 1).ravel()
                total += weight * np.bincount(bins, power.ravel(), SPECTRUM_BINS)
                count += weight * np.bincount(bins, minlength=SPECTRUM_BINS)
        known = np.flatnonzero(count)  # small images leave bins empty
        return list(np.interp(np.arange(SPECTRUM_BINS), known, total[known] / count[known]))


def train_cascade(
    data: Path,
    output: Path,
    config: TrainConfig,
    *,
    levels: Sequence[int] | None = None,
    resume: bool = False,
    device: str = "cpu",
    name: str | None = None,
    ema_std: float | None = None,
    say: Callable[[str], None] | None = None,
    progress: StageBar | None = None,
    simulate_phase: bool = False,
    complex_kspace: bool = False,
    compile: bool = False,
) -> Path | None:
    """Train levels of a cascade and write a prior to ``output / "prior"``.

    Args:
        data: folder of images, or a prepared cache.
        output: folder of checkpoints, logs, snapshots and ``loss.png``.
        config: settings of the run. The number of channels follows from the data. If ``start``
            names a prior, training begins with its weights and statistics, and the new prior gets
            its recipe settings; otherwise those of a prior that it replaces.
        levels: levels to train; all by default.
        resume: whether levels continue from their checkpoints.
        device: device of the training.
        name: name of the prior.
        ema_std: EMA profile of the prior, see ``export``.
        say: called with one line per fact. If given, a forecast precedes the training, which
            takes some seconds of timing.
        progress: called with stage, patches and patches done; returns a function that is called
            with further patches done and a text.
        simulate_phase: whether magnitudes become complex images (``mrcascade.arrays.phase``).
        complex_kspace: whether k-space gives complex images.
        compile: whether the network in training runs as compiled code, where that works.

    Returns:
        The prior's folder; None while some level has not reached the end of its run.

    Raises:
        MRCascadeError: data, settings or files in ``output`` do not allow the run.
    """
    wanted = sorted(levels or range(1, config.levels + 1), reverse=True)
    if not set(wanted) <= set(range(1, config.levels + 1)):
        raise MRCascadeError(f"levels {wanted} asked for, but the cascade has 1 to {config.levels}")
    found = [f for f in (checkpoint_file(output, i) for i in wanted) if f.exists()]
    if found and not resume:
        raise MRCascadeError(f"{found[0]}: exists; use --resume to go on, or another output folder")
    start = [prior_folder(config.start)] if config.start else []
    refuse_inputs([output], [data, *start])
    check_run(output, config.levels, resume)
    phase_seed = config.seed if simulate_phase else None
    say = say or _silent
    say(f"reading {data}")
    kind = phase_seed, complex_kspace, config.exclude
    volumes = load_volumes(data, config.multiple, config.factors, *kind)
    config = replace(config, channels=volumes[0].channels)
    begin, weights = start_of(config) if config.start else (None, None)
    volumes = reduced(volumes, config)
    cascade = CascadeData(volumes, config, begin)
    with ExitStack() as stack:
        stack.enter_context(output_folders([checkpoint_file(output, i) for i in wanted]))
        for level in wanted:  # other processes may train other levels at the same time
            stack.enter_context(only_writer(checkpoint_file(output, level)))
        begin_run(output, wanted, config.levels, resume)
        if say is not _silent:
            seen = {i: _seen(checkpoint_file(output, i)) for i in wanted}
            for line in forecast(cascade.train, cascade.validation, config, seen, device):
                say(line)
        compiler = Compiler() if compile else None
        for level in wanted:
            first = weights[level - 1] if weights else None
            trainer = LevelTrainer(level, config, cascade.level(level), device, first, compiler)
            checkpoint = checkpoint_file(output, level)
            if resume and checkpoint.exists():
                trainer.load(checkpoint)
            report = StageProgress(trainer, say, progress or _no_bar)
            with nullcontext() if compiler is None else compiler.telling(say):
                train_level(trainer, output, progress=report)
            plot_losses(output, config.levels)
            del trainer  # frees its patches before the next level's are made
    others = set(range(1, config.levels + 1)) - set(wanted)
    if not all(_ended(checkpoint_file(output, level), config) for level in others):
        return None
    sampling = begin.sampling if begin else {}
    if (output / PRIOR_FOLDER / PRIOR_FILE).is_file():  # the user may have changed them
        sampling = read_document(output / PRIOR_FOLDER).get("sampling", {})
    return export(
        output, config, cascade, data, name or output.name, sampling, device=device, ema_std=ema_std
    )


def _ended(checkpoint: Path, config: TrainConfig) -> bool:
    """Return whether a level has reached the end of its own run."""
    if not checkpoint.exists():
        return False
    state = read_checkpoint(checkpoint)
    _saved_config(checkpoint, state, config)
    return bool(state["seen"] >= sum(state["stages"]))


def _seen(checkpoint: Path) -> int:
    """Return the number of patches that a level has been trained on."""
    return int(read_checkpoint(checkpoint)["seen"]) if checkpoint.exists() else 0


def _silent(line: str) -> None:
    """Discard a line."""


def _no_bar(stage: str, patches: int, done: int) -> Callable[[int, str], None]:
    """Return a progress function that does nothing."""
    return lambda count, text: None


def export(
    output: Path,
    config: TrainConfig,
    cascade: CascadeData,
    data: Path,
    name: str,
    sampling: Mapping[str, Any],
    *,
    device: str = "cpu",
    ema_std: float | None = None,
) -> Path:
    """Write the prior of a run's checkpoints to ``output / "prior"`` and return that folder.

    Each level gets the EMA profile with the best validation. ``ema_std`` chooses instead the
    profile of that relative standard deviation, which is rebuilt from the snapshots.

    Args:
        output: folder of the run.
        config: settings of the run.
        cascade: training data.
        data: data folder, for the provenance.
        name: name of the prior.
        sampling: settings of recipes that the prior tunes.
        device: device of the validation.
        ema_std: relative standard deviation of the EMA profile; None for the best one.

    Raises:
        MRCascadeError: a checkpoint or snapshot is missing, damaged or of another cascade.
    """
    folder = output / PRIOR_FOLDER
    provenance = {
        "data": data.name,
        **describe_selection(cascade.train, cascade.validation, config),
        "slices": sum(len(v.slices) for v in cascade.train),
        "network": config.network,
        "hardware": hardware(device),
    }
    if config.channels == 2:
        simulated = any(v.simulated for v in cascade.train)
        provenance["phase"] = "simulated" if simulated else "measured"
    with only_writer(folder / PRIOR_FILE):
        write_prior(
            folder,
            name=name,
            kernel=config.kernel,
            channels=config.channels,
            step=config.step,
            maximum_factor=max(config.factors),
            levels=[
                _trained_level(output, level, config, cascade, device, ema_std)
                for level in range(1, config.levels + 1)
            ],
            spectrum=cascade.spectrum(),
            provenance=provenance,
            sampling=sampling,
        )
        weights = [f"level{level}.safetensors" for level in range(1, config.levels + 1)]
        remove_leftovers(folder / name for name in (*weights, PRIOR_FILE))
        prior = CascadePrior.from_pretrained(folder, device)
        reference = domain_of([*cascade.train, *cascade.validation], prior)
        if reference is not None:
            write_domain(folder, reference)
    return folder


def _trained_level(
    output: Path,
    level: int,
    config: TrainConfig,
    cascade: CascadeData,
    device: str,
    ema_std: float | None,
) -> tuple[LevelSpec, dict[str, Tensor]]:
    """Return the prior's entry about a level, and its weights, from the level's checkpoint."""
    checkpoint = checkpoint_file(output, level)
    state = read_checkpoint(checkpoint)
    saved = _saved_config(checkpoint, state, config)
    if ema_std is None:
        records = read_log(log_file(output, level))
        profile = best_profile(records[-1], saved.ema) if records else 0
        std, weights = saved.ema[profile], {**state["networks"], **state["ema"][profile]}
        figures = records[-1].get(profile_key(std)) if records else None
    else:
        std = ema_std
        weights = {**state["networks"], **rebuild_profile(output, level, ema_std)}
        figures = _validated(weights, level, saved, cascade, device)
    spec = LevelSpec(
        networks=saved.networks[level - 1],
        statistics=LevelStatistics(**json.loads(state["statistics"])[0]),
        condition_error=largest_condition_error(level, saved) if level < saved.levels else 0.0,
        training={
            "images": state["seen"],
            "seconds": round(state["seconds"], 1),
            "ema": std,
            "config": {
                k: v for k, v in asdict(saved).items() if k not in ("images", "ema", "microbatch")
            }
            | {"mean_images": state["stages"][0]},
            "validation": figures,
        },
    )
    return spec, weights


def _saved_config(checkpoint: Path, state: dict[str, Any], config: TrainConfig) -> TrainConfig:
    """Return the settings of a checkpoint. Raises MRCascadeError if its cascade differs."""
    try:
        saved = TrainConfig.from_json(state["config"])
    except MRCascadeError:
        raise
    except (TypeError, ValueError) as error:
        raise MRCascadeError(f"{checkpoint}: made by another version; train anew") from error
    for key in ("network", "kernel", "channels", "reduction", "data_condition", "demodulate"):
        if getattr(saved, key) != getattr(config, key):
            raise MRCascadeError(
                f"{checkpoint}: made with {key} {getattr(saved, key)!r}, but this run has"
                f" {getattr(config, key)!r}; train all levels alike"
            )
    return saved


def _validated(
    weights: dict[str, Tensor], level: int, config: TrainConfig, cascade: CascadeData, device: str
) -> dict[str, float] | None:
    if not cascade.validation:
        return None
    networks = LevelNetworks(config.networks[level - 1], config.channels)
    networks.load_state_dict(weights)
    figures = validate(networks.to(device), cascade.level(level), level, config)
    return {k: round(v, 5) for k, v in figures.items()}
