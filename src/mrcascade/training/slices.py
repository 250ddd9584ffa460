"""From a folder of images to normalised training slices, and the compact cache that holds them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.intensity import robust_maximum
from mrcascade.operators import down_matrix, legal_size

MANIFEST = "manifest.json"
SPLITS = ("train", "val", "test")
CACHE_LEVELS = 4095  # 12 bits, above the noise of any of these images
EMPTY = 0.02  # a slice whose mean magnitude is below this share of the maximum is air


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
    volumes = [replace(v, slices=_crop(v.slices, multiple)) for v in volumes if len(v.slices)]
    if not any(v.split == "train" for v in volumes):
        raise MRCascadeError(f"{data}: no training images found; give a folder with image files")
    return volumes


def _read_folder(root: Path, factors: tuple[int, ...]) -> Iterator[Volume]:
    from mrcascade.io import choose_axes, list_images, read_image, to_slices

    manifest = _read_manifest(root)
    files = [root / name for name in sorted(manifest)] or list_images(root)
    splits = _splits([f.relative_to(root) for f in files])
    for file, split in zip(files, splits, strict=True):
        name = file.relative_to(root).as_posix()
        facts = manifest.get(name, {})
        image = read_image(file)
        if np.iscomplexobj(image.data):
            raise MRCascadeError(f"{file}: complex image; this prior is trained on magnitudes")
        axes = choose_axes(image, _manifest_axes(facts))
        stack = to_slices(image, axes)
        yield prepare_volume(
            stack, name, split, factors, effective=facts.get("effective_matrix")
        )


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


def fourier_crop(stack: np.ndarray, matrix: tuple[int, ...] | list[int]) -> np.ndarray:
    """Keep the centre of k-space, ``matrix`` samples per axis; constants keep their value."""
    rows, cols = (min(m, n) for m, n in zip(matrix, stack.shape[1:], strict=True))
    if (rows, cols) == stack.shape[1:]:
        return stack
    a = down_matrix("fourier", stack.shape[1], rows).astype(np.float32)
    b = down_matrix("fourier", stack.shape[2], cols).astype(np.float32)
    return np.einsum("ij,sjk,lk->sil", a, stack, b, optimize=True)


def _measure(stack: np.ndarray, factor: int) -> np.ndarray:
    sides = [legal_size(n, factor) // factor for n in stack.shape[1:]]
    return fourier_crop(_crop(stack, factor), sides)


def _crop(stack: np.ndarray, multiple: int) -> np.ndarray:
    window = []
    for n in stack.shape[1:]:
        size = legal_size(n, multiple)
        start = (n - size) // 2
        window.append(slice(start, start + size))
    return stack[:, window[0], window[1]]


def _splits(names: list[Path]) -> list[str]:
    found = [next((p for p in name.parts[:-1] if p in SPLITS), None) for name in names]
    if any(found):
        return [split or "train" for split in found]
    return ["val" if i % 10 == 9 else "train" for i in range(len(names))]


def _read_manifest(root: Path) -> dict[str, dict[str, Any]]:
    path = root / MANIFEST
    if not path.is_file():
        return {}
    try:
        return {entry["file"]: entry for entry in json.loads(path.read_text())}
    except (ValueError, KeyError, TypeError) as error:
        raise MRCascadeError(f"{path}: not a list of objects with a 'file' each") from error


def _manifest_axes(facts: dict[str, Any]) -> tuple[int, int] | None:
    if not facts:
        return None
    first, second = (a for a in range(3) if a != facts.get("slice_axis", 2) % 3)
    return first, second


def write_cache(volumes: list[Volume], path: Path) -> None:
    """Store volumes as 12-bit integers with the surrounding air cut away; training reads it back
    without any image library."""
    arrays, index = {}, []
    for number, volume in enumerate(volumes):
        low, high = float(volume.slices.min()), float(volume.slices.max())
        body = _body_window(volume.slices)
        scaled = (volume.slices[body] - low) * (CACHE_LEVELS / max(high - low, 1e-12))
        arrays[f"v{number}"] = np.round(scaled).astype(np.uint16)
        facts = {k: v for k, v in asdict(replace(volume, slices=None)).items() if k != "slices"}  # type: ignore[arg-type]
        index.append({**facts, "low": low, "high": high})
    arrays["index"] = np.frombuffer(json.dumps(index).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp.npz")
    np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


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
    except (OSError, ValueError, KeyError) as error:
        raise MRCascadeError(f"{path}: not a slice cache; make one with 'mrcascade cache'") from error
    for facts, array in zip(index, arrays, strict=True):
        span = (facts["high"] - facts["low"]) / CACHE_LEVELS
        yield Volume(
            file=facts["file"],
            group=facts["group"],
            split=facts["split"],
            slices=array.astype(np.float32) * np.float32(span) + np.float32(facts["low"]),
            scales={int(k): v for k, v in facts["scales"].items()},
        )
