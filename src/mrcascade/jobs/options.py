"""What `super_resolve_file` may be given: keywords in place of a job, names in place of objects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Required, TypedDict

from mrcascade.arrays.factors import Factor, factor_pair
from mrcascade.io import Input, pair_of
from mrcascade.jobs.common import Item, SuperResolution
from mrcascade.sampling import SamplerSettings


class Options(TypedDict, total=False):
    """Keywords that describe a job; `SuperResolution` has their meaning and their defaults."""

    factor: Required[Factor | Sequence[Factor]]
    kernel: str
    noise: float | None
    mode: str | SamplerSettings | None
    steps: int | None
    samples: int
    seed: int
    axes: str | None
    batch_size: int | None
    overwrite: bool
    format: str | None
    acquired: str | tuple[int, int] | None


def job_of(options: Options) -> SuperResolution:
    """The job that keywords describe; TypeError where one is unknown or ``factor`` is missing."""
    pair = {"factor": factor_pair(options["factor"])} if "factor" in options else {}
    return SuperResolution(**{**options, **pair})  # type: ignore[arg-type]


def item_of(image: Input | Item | str | os.PathLike[str], channels: int) -> Item:
    """The item of a file's name or of an input. For a prior of two ``channels``, the name of a
    magnitude or phase file stands for both."""
    if isinstance(image, Item):
        return image
    if not isinstance(image, str | os.PathLike):
        return Item(image)
    path = Path(image)
    return Item(path if channels < 2 else pair_of(path) or path)
