"""Normalised training slices from a folder of images, and their compact cache."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mrcascade.arrays.factors import legal_size
from mrcascade.arrays.intensity import EMPTY, robust_maximum
from mrcascade.arrays.phase import with_simulated_phase
from mrcascade.data.folder import DataFile, list_data, read_slices
from mrcascade.data.subjects import share_of
from mrcascade.errors import MRCascadeError
from mrcascade.io import atomic_output
from mrcascade.measurement.noise import zero_level
from mrcascade.operators.crop import centre_crop, fourier_crop
from mrcascade.storage.files import open_regular, parse_json
from mrcascade.training.selection import without
from mrcascade.training.volume import Volume

CACHE_LEVELS = 4095  # 12 bits; the steps are finer than the images' noise
HELD_OUT = 0.1  # share of subjects for validation, if the folder defines no splits
# Exceptions that a foreign or damaged archive of arrays raises.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def load_volumes(
    data: Path,
    multiple: int,
    factors: tuple[int, ...],
    phase_seed: int | None = None,
    complex_kspace: bool = False,
    exclude: Sequence[str] = (),
) -> list[Volume]:
    """Return training and validation volumes, all magnitude or all complex.

    Slices are Fourier-cropped to the acquired matrix and centre-cropped; empty slices are dropped.
    If the folder defines no splits, a hash of the subject decides. A subject then lies in one
    split, and stays there when files are added. If no subject is known either, every tenth file is
    for validation.

    Args:
        data: folder of images, or a prepared cache (``.npz``).
        multiple: number that divides the sides after cropping.
        factors: factors per axis of the measurements whose robust maxima scale the images.
        phase_seed: seed of a simulated phase for magnitudes; None simulates none.
        complex_kspace: whether k-space gives complex images.
        exclude: exclusions ``FIELD=WORD`` (`without`).

    Raises:
        MRCascadeError: no training image is found, kinds are mixed, or a file cannot be read.
    """
    if data.suffix == ".npz":
        if complex_kspace:
            raise MRCascadeError(
                f"{data}: a cache holds images, made with 'mrcascade cache --complex' or without;"
                " drop --complex here"
            )
        if phase_seed is not None:
            raise MRCascadeError(
                f"{data}: the phase of a cache is simulated when it is made, with 'mrcascade cache"
                " --simulate-phase'; drop --simulate-phase here"
            )
        volumes = list(_read_cache(data))
    else:
        volumes = list(_read_folder(data, factors, phase_seed, complex_kspace))
    volumes = without(volumes, exclude, data)
    volumes = [
        replace(v, slices=centre_crop(v.slices, (multiple, multiple)))
        for v in volumes
        if len(v.slices)
    ]
    if not any(v.split == "train" for v in volumes):
        reason = f" ({', '.join(exclude)} left out)" if exclude else ""
        raise MRCascadeError(
            f"{data}: no training images found{reason}; give a folder with image files"
        )
    _check_one_kind(data, volumes)
    return volumes


def _check_one_kind(data: Path, volumes: list[Volume]) -> None:
    files = {v.channels: v.file for v in volumes}
    if len(files) > 1:
        raise MRCascadeError(
            f"{data}: {files[1]} is a magnitude image and {files[2]} a complex one; train on one"
            " kind"
        )


def _read_folder(
    root: Path, factors: tuple[int, ...], phase_seed: int | None, complex_kspace: bool
) -> Iterator[Volume]:
    files = list_data(root, pairs=True, complex_kspace=complex_kspace)
    for file, split in zip(files, _splits(files), strict=True):
        if split == "test":  # test files are never read
            continue
        image, _, stack, acquired = read_slices(file)
        try:
            volume = prepare_volume(stack, file.name, split, factors, acquired.matrix, phase_seed)
        except MRCascadeError as error:  # too small, or already complex
            raise MRCascadeError(f"{file.image}: {error}") from error
        yield replace(
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
    ``phase_seed`` is given. Scales come from simulated measurements.

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


def write_cache(volumes: list[Volume], path: Path, check: Callable[[], None] | None = None) -> None:
    """Store volumes as 12-bit integers, without the surrounding air.

    Training reads the cache without any image library. Complex slices become (S, H, W, 2) with
    real and imaginary parts. ``check()`` is called before ``path`` appears, and may raise.
    """
    arrays, index = {}, []
    for number, volume in enumerate(volumes):
        values, body = volume.slices, _body_window(volume.slices)
        if volume.channels == 2:
            values = np.stack([values.real, values.imag], -1)
        low, high = float(values.min()), float(values.max())
        scaled = (values[body] - low) * (CACHE_LEVELS / max(high - low, 1e-12))
        arrays[f"v{number}"] = np.round(scaled).astype(np.uint16)
        facts = {"file": volume.file, "group": volume.group, "split": volume.split}
        numbers = {"scales": volume.scales, "low": low, "high": high}
        origin = {"subject": volume.subject, "sha256": volume.sha256, "private": volume.private}
        told = {"simulated": volume.simulated, "facts": dict(volume.facts)}
        index.append({**facts, **numbers, **origin, **told})
    arrays["index"] = np.frombuffer(json.dumps(index).encode(), np.uint8)
    with atomic_output(path, overwrite=True) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
        if check is not None:
            check()


def is_cache(path: Path) -> bool:
    """Return whether ``write_cache`` wrote the file ``path``; slices are not read."""
    try:
        with open_regular(path) as content, np.load(content) as file:
            index = parse_json(bytes(file["index"]))
        return isinstance(index, list) and all({"file", "scales", "low"} <= set(v) for v in index)
    except (*_DAMAGE, TypeError, AttributeError):
        return False


def _body_window(slices: np.ndarray) -> tuple[slice, slice, slice]:
    magnitude = np.abs(slices).max(0)
    body = magnitude > 0.1 * np.quantile(magnitude, 0.99)
    window = []
    for axis in (1, 0):
        inside = np.flatnonzero(body.any(axis))
        # A margin of air stays, because band filters reach over the border.
        start = max(inside[0] - 8, 0)
        window.append(slice(start - start % 4, inside[-1] + 9))
    return (slice(None), *window)  # type: ignore[return-value]


def _read_cache(path: Path) -> Iterator[Volume]:
    try:
        with open_regular(path) as content, np.load(content) as file:
            index = parse_json(bytes(file["index"]))
            arrays = [file[f"v{i}"] for i in range(len(index))]
    except FileNotFoundError as error:
        raise MRCascadeError(f"{path}: does not exist; make it with 'mrcascade cache'") from error
    except _DAMAGE as error:
        raise MRCascadeError(
            f"{path}: not a slice cache, or damaged; make one with 'mrcascade cache'"
        ) from error
    for facts, array in zip(index, arrays, strict=True):
        span = (facts["high"] - facts["low"]) / CACHE_LEVELS
        slices = array.astype(np.float32) * np.float32(span) + np.float32(facts["low"])
        yield Volume(
            file=facts["file"],
            group=facts["group"],
            split=facts["split"],
            slices=slices if slices.ndim == 3 else slices[..., 0] + 1j * slices[..., 1],
            scales={int(k): v for k, v in facts["scales"].items()},
            simulated=facts.get("simulated", False),
            subject=facts.get("subject"),
            sha256=facts.get("sha256", ""),
            facts=facts.get("facts", {}),
            private=facts.get("private", False),
        )
