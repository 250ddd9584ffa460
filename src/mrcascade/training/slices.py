"""Normalised training slices from a folder of images or from a cache of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mrcascade.arrays.factors import legal_size
from mrcascade.arrays.intensity import EMPTY, robust_maximum
from mrcascade.arrays.phase import with_simulated_phase
from mrcascade.data.folder import DataFile, list_data, read_slices
from mrcascade.data.subjects import share_of
from mrcascade.errors import MRCascadeError
from mrcascade.measurement.noise import zero_level
from mrcascade.operators.crop import centre_crop, fourier_crop
from mrcascade.training.selection import without
from mrcascade.training.slice_cache import CACHE_ENDING, SliceCache
from mrcascade.training.volume import Volume

HELD_OUT = 0.1  # share of subjects for validation, if the folder defines no splits


def load_volumes(
    data: Path,
    multiple: int,
    factors: tuple[int, ...],
    phase_seed: int | None = None,
    complex_kspace: bool = False,
    exclude: Sequence[str] = (),
) -> list[Volume]:
    """Return training and validation volumes, all magnitude or all complex.

    Their slices are read from the cache when they are asked for. Those of a folder are kept in
    memory in the form of a cache (`SliceCache`), so that training is the same with and without one.

    Args:
        data: folder of images, or a cache of them.
        multiple: number that divides the sides after cropping.
        factors: factors per axis of the measurements whose robust maxima scale the images.
        phase_seed: seed of a simulated phase for magnitudes; None simulates none.
        complex_kspace: whether k-space gives complex images.
        exclude: exclusions ``FIELD=WORD`` (`without`).

    Raises:
        MRCascadeError: no training image is found, kinds are mixed, or a file cannot be read.
    """
    if data.suffix == ".npz":
        raise MRCascadeError(
            f"{data}: a cache ends in {CACHE_ENDING}; make it again with 'mrcascade cache'"
        )
    if data.suffix != CACHE_ENDING:
        images = read_folder(data, factors, phase_seed, complex_kspace)
        cache = SliceCache.in_memory(images, str(data))
    elif complex_kspace:
        raise MRCascadeError(
            f"{data}: a cache holds images, made with 'mrcascade cache --complex' or without;"
            " drop --complex here"
        )
    elif phase_seed is not None:
        raise MRCascadeError(
            f"{data}: the phase of a cache is simulated when it is made, with 'mrcascade cache"
            " --simulate-phase'; drop --simulate-phase here"
        )
    else:
        cache = SliceCache.open(data)
    volumes = without(cache.volumes, exclude, data)
    check_training(volumes, data, exclude)
    return [_cropped(volume, multiple) for volume in volumes]


def _cropped(volume: Volume, multiple: int) -> Volume:
    rows, columns = (legal_size(n, multiple) for n in volume.slices.shape[1:])
    if (rows, columns) == volume.slices.shape[1:]:
        return volume
    return volume.changed(partial(centre_crop, factors=(multiple, multiple)), (rows, columns))


def check_training(volumes: Iterable[Volume], data: Path, exclude: Sequence[str] = ()) -> None:
    """Raise MRCascadeError where volumes are of mixed kinds, or none is for training.

    Args:
        volumes: the volumes.
        data: where they come from.
        exclude: exclusions that left others out.
    """
    found = list(volumes)
    if not any(v.split == "train" for v in found):
        reason = f" ({', '.join(exclude)} left out)" if exclude else ""
        raise MRCascadeError(
            f"{data}: no training images found{reason}; give a folder with image files"
        )
    files = {v.channels: v.file for v in found}
    if len(files) > 1:
        raise MRCascadeError(
            f"{data}: {files[1]} is a magnitude image and {files[2]} a complex one; train on one"
            " kind"
        )


def training_files(root: Path, complex_kspace: bool) -> list[tuple[DataFile, str]]:
    """Return the files of a folder that training reads, each with its split.

    If the folder defines no splits, a hash of the subject decides. A subject then lies in one
    split, and stays there when files are added. If no subject is known either, every tenth file is
    for validation.

    complex_kspace: whether k-space gives complex images. Raises MRCascadeError as `list_data` does.
    """
    files = list_data(root, pairs=True, complex_kspace=complex_kspace)
    pairs = zip(files, _splits(files), strict=True)
    return [(file, split) for file, split in pairs if split != "test"]


def read_folder(
    root: Path,
    factors: tuple[int, ...],
    phase_seed: int | None = None,
    complex_kspace: bool = False,
) -> Iterator[Volume]:
    """Yield the training and validation volumes of a folder, with their slices in memory.

    The arguments and errors are those of `load_volumes`.
    """
    for file, split in training_files(root, complex_kspace):
        yield read_volume(file, split, factors, phase_seed)


def read_volume(
    file: DataFile, split: str, factors: tuple[int, ...], phase_seed: int | None = None
) -> Volume:
    """Read a file as `prepare_volume` prepares it.

    Args:
        file: the file.
        split: its split.
        factors, phase_seed: see `prepare_volume`.

    Raises:
        MRCascadeError: the file cannot be read, is too small, or has a phase already.
    """
    image, _, stack, acquired = read_slices(file)
    try:
        volume = prepare_volume(stack, file.name, split, factors, acquired.matrix, phase_seed)
    except MRCascadeError as error:  # too small, or already complex
        raise MRCascadeError(f"{file.image}: {error}") from error
    return replace(
        volume,
        group=file.group,
        subject=file.subject,
        sha256=image.sha256,
        facts=_texts(file),
        private=file.image.private,
    )


def _texts(file: DataFile) -> dict[str, str]:
    told = {k: str(v) for k, v in file.facts.items() if isinstance(v, str | int | float)}
    return told | ({"contrast": file.contrast} if file.contrast else {})


def prepare_volume(
    stack: np.ndarray,
    name: str,
    split: str,
    factors: tuple[int, ...],
    effective: Sequence[int] | None = None,
    phase_seed: int | None = None,
) -> Volume:
    """Normalise the slices of one file.

    No signal becomes 0, slices are reduced to their acquired matrix, and a phase is simulated if
    ``phase_seed`` is given. Empty slices are dropped. Scales come from simulated measurements.

    Args:
        stack: (S, H, W), real or complex.
        name: name of the file, which determines the simulated phase.
        split: split of the file.
        factors: factors per axis of the measurements whose robust maxima scale the slices.
        effective: effective (acquired) matrix (rows, columns), if known.
        phase_seed: seed of the simulated phase.
    """
    zero = zero_level(stack)
    stack = stack - zero if zero else stack
    stack = fourier_crop(stack, effective or stack.shape[1:])
    if phase_seed is not None:
        stack = with_simulated_phase(stack, name, phase_seed)
    scales = {f: robust_maximum(_measure(stack, f)) for f in factors}
    content = np.abs(stack).mean((1, 2)) > EMPTY * max(scales.values())
    simulated = phase_seed is not None
    return Volume(name, name.split("/")[0], split, stack[content], scales, simulated)


def _measure(stack: np.ndarray, factor: int) -> np.ndarray:
    sides = [legal_size(n, factor) // factor for n in stack.shape[1:]]
    return fourier_crop(centre_crop(stack, (factor, factor)), sides)


def _splits(files: list[DataFile]) -> list[str]:
    if any(file.split for file in files):
        return [file.split or "train" for file in files]
    if not any(file.subject for file in files):
        return ["val" if i % 10 == 9 else "train" for i in range(len(files))]
    # A file of unknown subject counts as a subject.
    shares = (share_of(file.subject or file.name) for file in files)
    return ["train" if share >= HELD_OUT else "val" for share in shares]
