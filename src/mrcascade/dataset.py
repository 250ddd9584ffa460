"""What training and evaluation share about a folder of images: layout, manifest, true resolution.

The usual layout is ``ROOT/<group>/<split>/files``; any other folder works as well. A
``manifest.json`` in ROOT, a list of objects with a ``file`` each, may say what the image files do
not: ``slice_axis`` and ``effective_matrix``, the in-plane matrix that was really acquired.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.operators import Factor, down_matrix, legal_size

MANIFEST = "manifest.json"
SPLITS = ("train", "val", "test")
EMPTY = 0.02  # a slice whose mean magnitude is below this share of the maximum is air


def read_manifest(root: Path) -> dict[str, dict[str, Any]]:
    """Facts per file of ``root / manifest.json``, by the file's relative name; {} without one.

    Raises MRCascadeError where it is not a list of objects with a ``file`` each.
    """
    path = root / MANIFEST
    if not path.is_file():
        return {}
    try:
        return {entry["file"]: entry for entry in json.loads(path.read_text())}
    except (ValueError, KeyError, TypeError) as error:
        raise MRCascadeError(f"{path}: not a list of objects with a 'file' each") from error


def manifest_axes(facts: dict[str, Any]) -> tuple[int, int] | None:
    """In-plane axes of a file that the manifest names; None leaves them to the geometry."""
    if not facts:
        return None
    first, second = (a for a in range(3) if a != facts.get("slice_axis", 2) % 3)
    return first, second


def split_of(name: PurePath) -> str | None:
    """The split whose folder a relative file name lies in, if any."""
    return next((p for p in name.parts[:-1] if p in SPLITS), None)


def fourier_crop(stack: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """Keep the centre of k-space of (S, H, W), ``matrix`` samples per axis; constants stay."""
    rows, cols = (min(m, n) for m, n in zip(matrix, stack.shape[1:], strict=True))
    if (rows, cols) == stack.shape[1:]:
        return stack
    a = down_matrix("fourier", stack.shape[1], rows).astype(np.float32)
    b = down_matrix("fourier", stack.shape[2], cols).astype(np.float32)
    return np.einsum("ij,sjk,lk->sil", a, stack, b, optimize=True)


def centre_crop(stack: np.ndarray, factors: Sequence[Factor]) -> np.ndarray:
    """Centre of (S, H, W) with the largest sides that the (row, column) factors divide.

    Raises MRCascadeError where a side is smaller than that.
    """
    window = []
    for n, factor in zip(stack.shape[1:], factors, strict=True):
        size = legal_size(n, factor)
        start = (n - size) // 2
        window.append(slice(start, start + size))
    return stack[:, window[0], window[1]]
