"""Restoration of one file or series from Python, by keywords or by a job."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack, cast, get_type_hints, overload

from mrcascade.arrays.factors import Factor, factor_pair
from mrcascade.io import Named, named_image
from mrcascade.io.slice_profile import read_slice_profile
from mrcascade.jobs.common import Item
from mrcascade.jobs.inputs import combined_input
from mrcascade.jobs.progress import Report, SlicesDone, silent, unseen
from mrcascade.jobs.request import Request, SuperResolution
from mrcascade.jobs.sr import restore_file
from mrcascade.measurement.thick import Isotropic
from mrcascade.operators.profile import SliceProfile
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.named import as_prior
from mrcascade.sampling import Recipe


class SharedOptions(TypedDict, total=False):
    """Keywords of every job; `SuperResolution` documents their meaning and defaults."""

    kernel: str
    noise: float | None
    mode: str | Recipe | None
    steps: int | None
    samples: int
    seed: int
    axes: str | None
    batch_size: int | None
    overwrite: bool
    format: str | None
    acquired: str | tuple[int, int] | None
    report: bool


class Options(SharedOptions):
    """Keywords of `super_resolve_file`."""

    factor: Required[Factor | Sequence[Factor]]


class IsotropicOptions(SharedOptions, total=False):
    """Keywords of `make_isotropic_file`; `Isotropic` documents those of the slices."""

    factor: Factor | Sequence[Factor]
    spacing: float | None
    slice_thickness: float | None
    slice_profile: SliceProfile | str | os.PathLike[str]


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

    Writes the result (the mean of the samples), a preview and a JSON sidecar; for several samples
    also the first sample and the standard deviation map. All files appear together. Memory does
    not grow with the number of slices.

    Args:
        image: name of a file or of a DICOM folder, or an input from `find_inputs`.
        output: folder of the results, created if missing, or the name of the result. An `Item`
            may name a sub-folder.
        prior: a prior on the device that does the work; or the name of a bundled prior
            (`list_priors`) or a prior's folder, which is loaded on the CPU.
        job: a job, instead of keywords.
        say: called with one line per decision, for example ``print``.
        progress: called with the number of slices; returns a function that is called with the
            number of slices done.
        options: ``factor`` (one number or (rows, columns)), and any of ``kernel``, ``noise``,
            ``mode``, ``steps``, ``samples``, ``seed``, ``axes``, ``batch_size``, ``overwrite``,
            ``format``, ``acquired`` and ``report``, with the meaning of the command's options.

    Returns:
        The written files, the result first and the sidecar last.

    Raises:
        MRCascadeError: the image cannot be read or restored, or outputs exist already.
        TypeError: ``factor`` is missing, a keyword is unknown, or both job and keywords are given.

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
    job = job_of(cast(Options, options)) if job is None else job
    return _made(image, output, prior, job, say, progress)


def make_isotropic_file(
    image: Named | Item,
    output: str | os.PathLike[str],
    prior: CascadePrior | str | Path = "mr-small",
    *,
    say: Report = silent,
    progress: Callable[[int], SlicesDone] = unseen,
    **options: Unpack[IsotropicOptions],
) -> list[Path]:
    """Make the thick slices of an image file or DICOM series thin, as ``sr --isotropic`` does.

    Writes what `super_resolve_file` writes. The volume is in memory as a whole.

    Args:
        image: name of a file or of a DICOM folder, or an input from `find_inputs`.
        output: folder of the results, created if missing, or the name of the result.
        prior: as for `super_resolve_file`; mode "lsq" runs without it.
        say: called with one line per decision, for example ``print``.
        progress: called with the number of planes; returns a function that is called with the
            number of planes done.
        options: ``spacing`` of the new slices in mm (None: the pixels of the result),
            ``slice_thickness`` in mm (None: as the file states it, else the distance of the
            slices), ``slice_profile`` ("gaussian", "rect", a text file, or a `SliceProfile`),
            ``mode`` ("mean", "sample", "balanced" or "lsq"), ``factor`` in plane (default 1), and
            the other options of `super_resolve_file`.

    Returns:
        The written files, the result first and the sidecar last.

    Raises:
        MRCascadeError: the image is no stack of thick slices, cannot be read or restored, or
            outputs exist already.
        TypeError: a keyword is unknown.

    Example:
        >>> import numpy as np
        >>> import mrcascade
        >>> slices = np.random.default_rng(0).random((16, 16, 5), np.float32)
        >>> mrcascade.write_image(slices, "thick.nii", affine=np.diag([1.0, 1.0, 4.0, 1.0]))
        >>> written = mrcascade.make_isotropic_file("thick.nii", "out", mode="lsq")
        >>> mrcascade.read_image(written[0])
        Image(float32 (16, 16, 20), (1.0, 1.0, 1.0) mm, 'out/thick_desc-sriso.nii.gz')
    """
    _check_known(options, IsotropicOptions, "make_isotropic_file")
    return _made(image, output, prior, _isotropic_job(options, None), say, progress)


def combine_stack_files(
    images: Sequence[Named | Item],
    output: str | os.PathLike[str],
    prior: CascadePrior | str | Path = "mr-small",
    *,
    placement: str = "headers",
    say: Report = silent,
    progress: Callable[[int], SlicesDone] = unseen,
    **options: Unpack[IsotropicOptions],
) -> list[Path]:
    """Make one volume of several stacks of thick slices, as ``sr --isotropic --combine`` does.

    Args:
        images: two or more stacks of one contrast of one person; the first one gives grid and name
            of the result.
        output: folder of the results, created if missing, or the name of the result.
        prior: as for `super_resolve_file`; mode "lsq" runs without it.
        placement: "headers" refuses stacks that lie more than a voxel apart by their anatomy;
            "rigid" moves them by the rigid motion that is found.
        say: called with one line per decision, for example ``print``.
        progress: as for `make_isotropic_file`.
        options: those of `make_isotropic_file`; modes are "mean" and "lsq".

    Returns:
        The written files, the result first and the sidecar last.

    Raises:
        MRCascadeError: as for `make_isotropic_file`, or the stacks do not belong together.
        TypeError: a keyword is unknown.

    Example:
        >>> import numpy as np
        >>> from scipy.ndimage import gaussian_filter
        >>> import mrcascade
        >>> body = gaussian_filter(np.random.default_rng(0).random((40, 40, 40)), 3) ** 9
        >>> def write(name, axis):  # slices of 4 mm
        ...     parts = np.stack(np.split(body, 10, axis)).mean(axis + 1)
        ...     affine = np.diag([4.0 if a == axis else 1.0 for a in range(3)] + [1.0])
        ...     affine[axis, 3] = 1.5
        ...     mrcascade.write_image(np.moveaxis(parts, 0, axis), name, affine=affine)
        >>> write("axial.nii", 2), write("coronal.nii", 1)
        (None, None)
        >>> stacks = ["axial.nii", "coronal.nii"]
        >>> options = {"mode": "lsq", "slice_profile": "rect"}
        >>> written = mrcascade.combine_stack_files(stacks, "out", **options)
        >>> mrcascade.read_image(written[0])
        Image(float32 (40, 40, 40), (1.0, 1.0, 1.0) mm, 'out/axial_desc-srisostacks.nii.gz')
    """
    _check_known(options, IsotropicOptions, "combine_stack_files")
    prior = as_prior(prior)
    item = combined_input([item_of(image, prior.channels) for image in images])
    return _made(item, output, prior, _isotropic_job(options, placement), say, progress)


def _isotropic_job(options: IsotropicOptions, placement: str | None) -> SuperResolution:
    given: dict[str, Any] = dict(options)
    profile = given.pop("slice_profile", "gaussian")
    if not isinstance(profile, SliceProfile):
        profile = read_slice_profile(os.fspath(profile))
    spacing, thickness = given.pop("spacing", None), given.pop("slice_thickness", None)
    given["factor"] = factor_pair(given.pop("factor", 1.0))
    isotropic = Isotropic(spacing, thickness, profile)
    return SuperResolution(**given, isotropic=isotropic, combine=placement)


def _made(
    image: Named | Item,
    output: str | os.PathLike[str],
    prior: CascadePrior | str | Path,
    job: SuperResolution,
    say: Report,
    progress: Callable[[int], SlicesDone],
) -> list[Path]:
    prior = as_prior(prior)
    item = item_of(image, prior.channels)
    request = Request.of(prior, job)
    restored = restore_file(item, Path(output), request, say=say, progress=progress)
    paths, line = restored.publish()
    say(line)
    return paths


def job_of(options: Options) -> SuperResolution:
    """Return the job of keywords. Raises TypeError if one is unknown or ``factor`` is missing."""
    _check_known(options, Options, "super_resolve_file")
    if "factor" not in options:
        raise TypeError("super_resolve_file() needs a factor, such as factor=2")
    settings: dict[str, Any] = {**options, "factor": factor_pair(options["factor"])}
    return SuperResolution(**settings)


def _check_known(options: Mapping[str, Any], keywords: type, function: str) -> None:
    """Raise TypeError for a keyword that a function does not have."""
    known = get_type_hints(keywords)
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise TypeError(f"{function}() got an unknown keyword {name!r}; {hint}")


def item_of(image: Named | Item, channels: int) -> Item:
    """Return the item of a file's name or of an input.

    For a prior with two ``channels``, the name of a magnitude or phase file stands for the pair.
    """
    if isinstance(image, Item):
        return image
    return Item(named_image(image, pairs=channels == 2))
