"""Speed of a prior's networks on this machine, measured once and kept in the user's cache."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import tempfile
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from mrcascade.devices.timing import fastest_seconds
from mrcascade.errors import MRCascadeError
from mrcascade.networks.compiled import plain_networks
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.level import LevelPrior
from mrcascade.sampling import CascadePlan, finest_mean
from mrcascade.storage.files import read_json
from mrcascade.storage.user_cache import cache_folder

# Sides of the images that are timed. Two sizes give the fixed cost of an evaluation and the cost
# per pixel.
_SIDES = (32, 128)
# Largest batch that is timed; larger ones would only take longer.
_MOST_TIMED = 64
# Number of entries (prior, device, batch size) in the cache.
_KEPT = 64
# Cost of a step with a gradient, in forward passes: a backward pass costs two forward passes.
_WITH_GRADIENT = 3
# Time of data steps, pyramids and projections, as a share of the networks' time.
_BESIDE_NETWORKS = 0.1


@dataclass(frozen=True)
class Cost:
    """Seconds of one evaluation of a network: ``fixed`` + pixels of all images x ``per_pixel``."""

    fixed: float
    per_pixel: float

    def seconds(self, shape: tuple[int, int], batch: int = 1) -> float:
        """Return the seconds per image of this shape (H, W) in batches of ``batch`` images."""
        return self.fixed / batch + math.prod(shape) * self.per_pixel


@dataclass(frozen=True)
class LevelSpeed:
    """Costs at one level: of its denoiser, and of its condition (the regression branch)."""

    denoiser: Cost
    condition: Cost


def timed_batch(batch: int) -> int:
    """Return the batch size at which batches of ``batch`` images are timed.

    It is the largest power of two up to ``batch`` and 64, so that similar jobs share measurements.
    Timing a single image would mislead, as a GPU is far faster per image in batches.
    """
    return min(1 << (batch.bit_length() - 1), _MOST_TIMED)


def speed_of(prior: CascadePrior, batch: int = 1) -> list[LevelSpeed]:
    """Return the costs of each level, finest first, from the cache or measured now.

    They hold for batches of `timed_batch` images and networks that are not compiled. Measurements
    are kept in `cache_file`; a cache that cannot be read or written is ignored.
    """
    batch = timed_batch(batch)
    key = _key(prior, batch)
    known = _read()
    with contextlib.suppress(KeyError, TypeError, ValueError):
        found = [LevelSpeed(*(_cost(pair) for pair in level)) for level in known[key]]
        if len(found) == len(prior.levels):
            return found
    with plain_networks():
        measured = [_measured(level, prior, batch) for level in prior.levels]
    costs = [[(c.fixed, c.per_pixel) for c in (s.denoiser, s.condition)] for s in measured]
    others = [(k, v) for k, v in known.items() if k != key]
    _write(dict([*others[-_KEPT + 1 :], (key, costs)]))
    return measured


def slice_seconds(plan: CascadePlan, speed: list[LevelSpeed], batch: int = 1) -> float:
    """Return the seconds of one sample of one slice at these costs, in batches of ``batch``."""
    settings = plan.settings
    total = 0.0
    for task in plan.tasks:
        level = speed[min(task.level, len(speed)) - 1]  # grids run the prior's only level
        shape = plan.pyramid.shapes[task.level - 1]
        denoiser, condition = (c.seconds(shape, batch) for c in (level.denoiser, level.condition))
        turns = settings.orientations_at(task.level)
        if settings.steps is not None and task.sampled:
            gradient = _WITH_GRADIENT if settings.gradients else 1
            total += condition + gradient * task.steps * denoiser
        if _takes_mean(plan, task.level):
            observed = plan.grid is not None and task.level >= plan.grid
            coarsest = task.level == len(plan.tasks)
            total += turns * (condition + (denoiser if observed or coarsest else 0.0))
    return total * (1 + _BESIDE_NETWORKS)


def cache_file() -> Path | None:
    """Return the file of the costs in `cache_folder`; None for users without a home folder."""
    folder = cache_folder()
    return None if folder is None else folder / "speed.json"


def _takes_mean(plan: CascadePlan, level: int) -> bool:
    finest = finest_mean(plan) if plan.settings.steps is not None else 1
    return finest is not None and level >= finest and not plan.determined(level)


def _key(prior: CascadePrior, batch: int) -> str:
    """Return the cache key: everything that the costs depend on."""
    device = prior.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    facts = [
        platform.node(),
        platform.machine(),
        name,
        os.cpu_count(),
        str(device),
        torch.get_num_threads(),
        torch.__version__,
        prior.identity,
        prior.levels[0].precision,
        _SIDES,
        batch,
    ]
    return sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _cost(pair: Any) -> Cost:
    """Return a cost from the cache. Raises ValueError or TypeError unless it is a valid pair."""
    fixed, per_pixel = (float(value) for value in pair)
    if not (0 <= fixed < math.inf and 0 <= per_pixel < math.inf):
        raise ValueError(f"{pair} is not a pair of costs")
    return Cost(fixed, per_pixel)


def _read() -> dict[str, Any]:
    path = cache_file()
    try:
        document = read_json(path) if path else {}
    except (OSError, ValueError, MRCascadeError):
        return {}
    return document if isinstance(document, dict) else {}


def _write(document: dict[str, Any]) -> None:
    path = cache_file()
    if path is None:
        return
    with contextlib.suppress(OSError):  # without a cache, speeds are measured again
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w") as stream:
                json.dump(document, stream)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise


def _measured(level: LevelPrior, prior: CascadePrior, batch: int) -> LevelSpeed:
    shapes = [(batch, prior.channels, side, side) for side in _SIDES]
    images = [torch.full(shape, 0.5, device=prior.device) for shape in shapes]
    contexts = [image if level.conditional else None for image in images]
    with torch.no_grad():
        condition = [fastest_seconds(partial(level.condition, c), prior.device) for c in contexts]
        denoiser = [
            fastest_seconds(partial(level.condition(c).denoise, x, level.std), prior.device)
            for c, x in zip(contexts, images, strict=True)
        ]
    return LevelSpeed(_line(denoiser, batch), _line(condition, batch))


def _line(seconds: list[float], batch: int) -> Cost:
    """Return the line through two measurements; its slope is never negative."""
    few, many = (batch * side**2 for side in _SIDES)
    slope = max(0.0, (seconds[1] - seconds[0]) / (many - few))
    return Cost(max(0.0, seconds[0] - few * slope), slope)
