"""One file or series super-resolved from Python: by names and keywords, or as a job says."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack, cast, overload

from mrcascade.arrays.factors import Factor, factor_pair
from mrcascade.io import Named, named_image
from mrcascade.jobs.common import Item
from mrcascade.jobs.progress import Report, SlicesDone, silent, unseen
from mrcascade.jobs.request import Request, SuperResolution
from mrcascade.jobs.sr import restore_file
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.named import as_prior
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


@overload
def super_resolve_file(
    image: Named | Item,
    output: str | os.PathLike[str],
    prior: CascadePrior | str | Path,
    job: SuperResolution,
    *,
    say: Report = silent,
    progress: Callable[[int], SlicesDone] = unseen,
) -> list[Path]: ...


@overload
def super_resolve_file(
    image: Named | Item,
    output: str | os.PathLike[str],
    prior: CascadePrior | str | Path = "mr-small",
    *,
    say: Report = silent,
    progress: Callable[[int], SlicesDone] = unseen,
    **options: Unpack[Options],
) -> list[Path]: ...


def super_resolve_file(
    image: Named | Item,
    output: str | os.PathLike[str],
    prior: CascadePrior | str | Path = "mr-small",
    job: SuperResolution | None = None,
    *,
    say: Report = silent,
    progress: Callable[[int], SlicesDone] = unseen,
    **options: Any,
) -> list[Path]:
    """Super-resolve one image file or DICOM series, as ``mrcascade sr`` does.

    Writes the result (mean of the samples), with more than one sample also the first sample and
    the standard deviation map, a preview and, last, a JSON sidecar. All appear together. Memory
    does not grow with the number of slices.

    Args:
        image: name of a file or of a DICOM folder, or an input that a job found.
        output: folder, made where it is missing, or the name of the result. An `Item` names a
            folder below it.
        prior: on the device that does the work, or the name of a bundled prior (`list_priors`) or a
            prior's folder, for the CPU.
        job: everything else, instead of keywords.
        say: gets one line per decision, such as ``print``.
        progress: called with the number of slices; returns a function that hears how many of them
            are done.
        options: ``factor`` (one number or (rows, columns)), and any of ``kernel``, ``noise``,
            ``mode``, ``steps``, ``samples``, ``seed``, ``axes``, ``batch_size``, ``overwrite``,
            ``format`` and ``acquired``, as the options of the command.

    Returns the files written, the result first and the sidecar last.

    Raises MRCascadeError where the image cannot be read or restored, or outputs exist already.

    Example:
        >>> import numpy as np
        >>> import mrcascade
        >>> np.save("low.npy", np.random.default_rng(0).random((16, 16)))
        >>> written = mrcascade.super_resolve_file("low.npy", "out", factor=2, mode="mean")
        >>> [path.name for path in written]
        ['low_desc-sr2x.npy', 'low_desc-sr2x.png', 'low_desc-sr2x.json']
        >>> mrcascade.read_image(written[0]).shape
        (32, 32)
    """
    if job is not None and options:
        raise TypeError(f"give a job or keywords, and not both: {', '.join(options)}")
    prior = as_prior(prior)
    job = job_of(cast(Options, options)) if job is None else job
    item = item_of(image, prior.channels)
    request = Request.of(prior, job)
    restored = restore_file(item, Path(output), request, say=say, progress=progress)
    paths, line = restored.publish()
    say(line)
    return paths


def job_of(options: Options) -> SuperResolution:
    """The job that keywords describe; TypeError where one is unknown or ``factor`` is missing."""
    pair = {"factor": factor_pair(options["factor"])} if "factor" in options else {}
    return SuperResolution(**{**options, **pair})  # type: ignore[arg-type]


def item_of(image: Named | Item, channels: int) -> Item:
    """The item of a file's name or of an input. For a prior of two ``channels``, the name of a
    magnitude or phase file stands for both."""
    if isinstance(image, Item):
        return image
    return Item(named_image(image, pairs=channels == 2))
