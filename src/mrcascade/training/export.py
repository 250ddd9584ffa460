"""Export of a run's checkpoints as a prior."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from mrcascade.devices.facts import hardware
from mrcascade.errors import MRCascadeError
from mrcascade.io import remove_leftovers
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.prior.domain import write_domain
from mrcascade.prior.format import PRIOR_FILE
from mrcascade.prior.level import LevelSpec, LevelStatistics
from mrcascade.prior.writing import write_prior
from mrcascade.storage.outputs import only_writer
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.config import TrainConfig
from mrcascade.training.distributed import Processes
from mrcascade.training.domain import domain_of
from mrcascade.training.files import PRIOR_FOLDER
from mrcascade.training.level import checkpoint_file, read_checkpoint
from mrcascade.training.log import best_profile, log_file, profile_key, read_log
from mrcascade.training.noise import largest_condition_error
from mrcascade.training.selection import describe_selection
from mrcascade.training.snapshots import rebuild_profile
from mrcascade.training.validation import validate


def has_ended(checkpoint: Path, config: TrainConfig) -> bool:
    """Return whether a level has reached the end of its own run.

    Raises MRCascadeError if it is of another cascade than ``config``.
    """
    if not checkpoint.exists():
        return False
    state = read_checkpoint(checkpoint)
    _saved_config(checkpoint, state, config)
    return bool(state["seen"] >= sum(state["stages"]))


def export(
    output: Path,
    config: TrainConfig,
    cascade: CascadeData,
    data: Path,
    name: str,
    sampling: Mapping[str, Any],
    *,
    processes: Processes,
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
        processes: processes that trained. This one has the device of the validation.
        ema_std: relative standard deviation of the EMA profile; None for the best one.

    Raises:
        MRCascadeError: a checkpoint or snapshot is missing, damaged or of another cascade.
    """
    folder, device = output / PRIOR_FOLDER, str(processes.device)
    provenance = {
        "data": data.name,
        **describe_selection(cascade.train, cascade.validation, config),
        "slices": sum(len(v.slices) for v in cascade.train),
        "network": config.network,
        "hardware": hardware(device),
    }
    if processes.count > 1:
        provenance["processes"] = processes.count
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
