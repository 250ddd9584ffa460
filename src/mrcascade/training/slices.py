"""From a folder of images to normalised training slices, and the compact cache that holds them."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrcascade.dataset import (
    EMPTY,
    centre_crop,
    fourier_crop,
    manifest_axes,
    read_manifest,
    split_of,
)
from mrcascade.errors import MRCascadeError
from mrcascade.intensity import robust_maximum
from mrcascade.io import atomic_output, choose_axes, list_images, read_image, to_slices
from mrcascade.operators import legal_size

CACHE_LEVELS = 4095  # 12 bits, above the noise of any of these images
# What reading a foreign or damaged zip archive of arrays raises.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Volume:
    """Slices (S, H, W) of one file; ``scales[f]`` is the robust maximum at factor ``f``.

    ``group`` is the first folder below the data root (an anatomy, in the usual layout).
    """

    file: str
    group: str
    split: str
    slices: np.ndarray
    scales: dict[int, float]


def load_volumes(data: Path, multiple: int, factors: tuple[int, ...]) -> list[Volume]:
    """Volumes of a folder of images or of a prepared cache (``.npz``).

    Sides are Fourier-cropped to what was acquired and centre-cropped to ``multiple``; empty
    slices are dropped. Files below folders named train, val or test belong to that split;
    without such folders every tenth file is validation data.
    """
    volumes = list(_read_cache(data) if data.suffix == ".npz" else _read_folder(data, factors))
    volumes = [
        replace(v, slices=centre_crop(v.slices, (multiple, multiple)))
        for v in volumes
        if len(v.slices)
    ]
    if not any(v.split == "train" for v in volumes):
        raise MRCascadeError(f"{data}: no training images found; give a folder with image files")
    return volumes


def _read_folder(root: Path, factors: tuple[int, ...]) -> Iterator[Volume]:
    manifest = read_manifest(root)
    files = [root / name for name in sorted(manifest)] or list_images(root)
    splits = _splits([f.relative_to(root) for f in files])
    for file, split in zip(files, splits, strict=True):
        name = file.relative_to(root).as_posix()
        facts = manifest.get(name, {})
        image = read_image(file)
        if np.iscomplexobj(image.data):
            raise MRCascadeError(f"{file}: complex image; this prior is trained on magnitudes")
        stack = to_slices(image, choose_axes(image, manifest_axes(facts)))
        try:
            yield prepare_volume(stack, name, split, factors, facts.get("effective_matrix"))
        except MRCascadeError as error:  # too small
            raise MRCascadeError(f"{file}: {error}") from error


def prepare_volume(
    stack: np.ndarray,
    name: str,
    split: str,
    factors: tuple[int, ...],
    effective: list[int] | None = None,
) -> Volume:
    """One file's slices (S, H, W): acquired matrix, scale from the simulated measurement."""
    stack = fourier_crop(stack, effective or stack.shape[1:])
    scales = {f: robust_maximum(_measure(stack, f)) for f in factors}
    content = np.abs(stack).mean((1, 2)) > EMPTY * max(scales.values())
    return Volume(name, name.split("/")[0], split, stack[content], scales)


def _measure(stack: np.ndarray, factor: int) -> np.ndarray:
    sides = [legal_size(n, factor) // factor for n in stack.shape[1:]]
    return fourier_crop(centre_crop(stack, (factor, factor)), sides)


def _splits(names: list[Path]) -> list[str]:
    found = [split_of(name) for name in names]
    if any(found):
        return [split or "train" for split in found]
    return ["val" if i % 10 == 9 else "train" for i in range(len(names))]


def write_cache(volumes: list[Volume], path: Path) -> None:
    """Store volumes as 12-bit integers with the surrounding air cut away; training reads it back
    without any image library."""
    arrays, index = {}, []
    for number, volume in enumerate(volumes):
        low, high = float(volume.slices.min()), float(volume.slices.max())
        body = _body_window(volume.slices)
        scaled = (volume.slices[body] - low) * (CACHE_LEVELS / max(high - low, 1e-12))
        arrays[f"v{number}"] = np.round(scaled).astype(np.uint16)
        facts = {"file": volume.file, "group": volume.group, "split": volume.split}
        index.append({**facts, "scales": volume.scales, "low": low, "high": high})
    arrays["index"] = np.frombuffer(json.dumps(index).encode(), np.uint8)
    with atomic_output(path, overwrite=True) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def _body_window(slices: np.ndarray) -> tuple[slice, slice, slice]:
    magnitude = np.abs(slices).max(0)
    body = magnitude > 0.1 * np.quantile(magnitude, 0.99)
    window = []
    for axis in (1, 0):
        inside = np.flatnonzero(body.any(axis))
        # Band filters reach over the border, so a margin of air stays.
        start = max(inside[0] - 8, 0)
        window.append(slice(start - start % 4, inside[-1] + 9))
    return (slice(None), *window)  # type: ignore[return-value]


def _read_cache(path: Path) -> Iterator[Volume]:
    try:
        with np.load(path) as file:
            index = json.loads(bytes(file["index"]))
            arrays = [file[f"v{i}"] for i in range(len(index))]
    except FileNotFoundError as error:
        raise MRCascadeError(f"{path}: does not exist; make it with 'mrcascade cache'") from error
    except _DAMAGE as error:
        raise MRCascadeError(
            f"{path}: not a slice cache, or damaged; make one with 'mrcascade cache'"
        ) from error
    for facts, array in zip(index, arrays, strict=True):
        span = (facts["high"] - facts["low"]) / CACHE_LEVELS
        yield Volume(
            file=facts["file"],
            group=facts["group"],
            split=facts["split"],
            slices=array.astype(np.float32) * np.float32(span) + np.float32(facts["low"]),
            scales={int(k): v for k, v in facts["scales"].items()},
        )
