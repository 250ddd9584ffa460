"""Test files: which they are, their true resolution, their ground truth and its measurement."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

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
from mrcascade.io import (
    SUFFIXES,
    Axes,
    Input,
    choose_axes,
    input_path,
    join_pairs,
    list_images,
    read_image,
    refuse_phase,
    to_slices,
)
from mrcascade.operators import LinearOperator, SeparableOperator
from mrcascade.phase import with_simulated_phase

Matrix = tuple[int, int]
Factors = tuple[float, float]


@dataclass(frozen=True)
class TestFile:
    """An image file of the test set, or a pair of magnitude and phase, named by the magnitude.

    ``name`` is relative to the data's folder; ``anatomy`` the first folder in it, else the data
    folder's name; ``matrix`` the in-plane matrix that was acquired and ``axes`` the in-plane
    axes, where known.
    """

    __test__ = False  # pytest would collect the name

    path: Input
    name: str
    anatomy: str
    matrix: Matrix | None
    axes: Axes | None


@dataclass(frozen=True)
class Truth:
    """Ground truth of a file.

    Attributes:
        stack: (S, H, W), all slices, acquired matrix, legal size.
        kept: numbers of the slices to evaluate, ascending.
        empty: how many slices are left out as air.
        sha256: of the file.
    """

    stack: np.ndarray
    kept: np.ndarray
    empty: int
    sha256: str

    @property
    def slices(self) -> np.ndarray:
        """The slices to evaluate."""
        return self.stack[self.kept]

    @property
    def maximum(self) -> float:
        """Largest magnitude of the whole volume."""
        return float(np.abs(self.stack).max())


@dataclass(frozen=True)
class Measurement:
    """``slices`` (S, h, w) of the slices to evaluate; ``scale``, the robust maximum of all slices
    with their noise; ``noise``, its standard deviation as a fraction of ``scale``."""

    slices: np.ndarray
    scale: float
    noise: float


# ---- files ----


def find_files(
    root: Path, split: str, table: Path | None = None, complex_images: bool = True
) -> list[TestFile]:
    """The image files of ``split`` below ``root``, in the order of their names.

    If no file lies in a folder named train, val or test, all of them. A manifest limits the files
    to those that it names; ``table`` (see ``read_matrices``) goes before its matrices. Magnitude
    and phase files side by side are one image; without ``complex_images`` phases are passed over.
    Raises MRCascadeError where there is nothing to evaluate.
    """
    if not root.is_dir():
        raise MRCascadeError(f"{root}: no such folder; give a folder that holds image files")
    manifest = read_manifest(root)
    files = [root / name for name in sorted(manifest)] or list_images(root)
    images = {
        input_path(image).relative_to(root).as_posix(): image
        for image in join_pairs(files, complex_images)
    }
    names = list(images)
    if not names:
        raise MRCascadeError(
            f"{root}: every image in it is a phase without its magnitude; put the _part-mag files"
            " beside them"
        )
    splits = {name: split_of(PurePosixPath(name)) for name in names}
    chosen = [n for n in names if splits[n] == split] if any(splits.values()) else names
    if not chosen:
        found = ", ".join(sorted({s for s in splits.values() if s}))
        raise MRCascadeError(f"{root}: no files in split {split!r}; there are {found}")
    matrices = {n: m for n in chosen if (m := _manifest_matrix(manifest.get(n, {}), root))}
    if table is not None:
        matrices |= _known(read_matrices(table), names, table)
    return [
        _test_file(images[name], root, name, manifest.get(name, {}), matrices.get(name))
        for name in chosen
    ]


def read_matrices(path: Path) -> dict[str, Matrix]:
    """A user's table of acquired in-plane matrices, by file name relative to the data's folder.

    JSON: ``{"name": [rows, columns], ...}`` or a list of ``{"file": ..., "effective_matrix":
    [rows, columns]}``. CSV: a row ``name,rows,columns`` per file, a first row of titles allowed.
    Raises MRCascadeError for anything else.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise MRCascadeError(f"{path}: cannot be read; give a JSON or CSV table") from error
    try:
        pairs = _json_pairs(text) if path.suffix.lower() == ".json" else _csv_pairs(text)
        return {str(name): _as_matrix(values) for name, values in pairs}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MRCascadeError(
            f"{path}: not a table of matrices ({error}); a row is: file,rows,columns"
        ) from error


def _json_pairs(text: str) -> list[tuple[str, Any]]:
    document = json.loads(text)
    if isinstance(document, dict):
        return list(document.items())
    return [(e["file"], e["effective_matrix"]) for e in document if "effective_matrix" in e]


def _csv_pairs(text: str) -> list[tuple[str, Any]]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and not rows[0][-1].strip().isdigit():
        rows = rows[1:]
    return [(row[0].strip(), row[1:]) for row in rows]


def _as_matrix(values: Sequence[Any]) -> Matrix:
    rows, columns = (int(v) for v in values)
    if min(rows, columns) < 1:
        raise ValueError(f"{rows}x{columns} is not a matrix")
    return rows, columns


def _manifest_matrix(facts: dict[str, Any], root: Path) -> Matrix | None:
    if "effective_matrix" not in facts:
        return None
    try:
        return _as_matrix(facts["effective_matrix"])
    except (ValueError, TypeError) as error:
        raise MRCascadeError(
            f"{root}: the manifest's effective_matrix of {facts['file']} is not two whole numbers"
        ) from error


def _known(matrices: dict[str, Matrix], names: Sequence[str], table: Path) -> dict[str, Matrix]:
    strange = sorted(set(matrices) - set(names))
    if strange:
        raise MRCascadeError(
            f"{table}: {strange[0]!r} is no image of the data folder; name files relative to it"
        )
    return matrices


def _test_file(
    image: Input, root: Path, name: str, facts: dict[str, Any], matrix: Matrix | None
) -> TestFile:
    folders = [p for p in PurePosixPath(name).parts[:-1] if p != split_of(PurePosixPath(name))]
    anatomy = folders[0] if folders else root.resolve().name
    return TestFile(image, name, anatomy, matrix, manifest_axes(facts))


def source_of(name: str, anatomy: str) -> str:
    """Where a file is from, by its name: up to the first "_", without digits; the anatomy where
    nothing is left."""
    stem = PurePosixPath(name).name.split(".")[0].split("_")[0]
    return "".join(c for c in stem if not c.isdigit()) or anatomy


def short_name(name: str) -> str:
    """The file's name without folders and ending."""
    last = PurePosixPath(name).name
    ending = next((e for e in SUFFIXES if last.lower().endswith(e)), "")
    return last[: len(last) - len(ending)]


# ---- ground truth and measurement ----


def load_truth(
    file: TestFile,
    factor: Factors,
    max_slices: int | None = None,
    phase_seed: int | None = None,
) -> Truth:
    """Read a file: slices at their acquired matrix, centre-cropped to what the factors divide.

    Slices with a mean magnitude below 2 % of the volume's robust maximum are air and left out:
    the same slices for every method, factor, kernel and noise. ``max_slices`` keeps that many of
    the rest, evenly spread. With ``phase_seed`` a magnitude image gets the simulated phase of that
    seed and of its name. Raises MRCascadeError where nothing is left.
    """
    refuse_phase(file.path)
    image = read_image(file.path)
    stack = to_slices(image, choose_axes(image, file.axes))
    if file.matrix is not None:
        stack = fourier_crop(stack, file.matrix)
    try:
        if phase_seed is not None:
            stack = with_simulated_phase(stack, file.name, phase_seed)
        stack = np.ascontiguousarray(centre_crop(stack, factor))
    except MRCascadeError as error:
        raise MRCascadeError(f"{file.path}: {error}") from error
    content = np.abs(stack).mean((1, 2)) > EMPTY * robust_maximum(stack)
    kept = np.flatnonzero(content)
    if not len(kept):
        raise MRCascadeError(f"{file.path}: every slice is empty; leave the file out")
    if max_slices is not None:
        kept = spread(kept, max_slices)
    return Truth(stack, kept, int((~content).sum()), image.sha256)


def spread(numbers: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of ``numbers``, the middles of as many equal parts."""
    if len(numbers) <= count:
        return numbers
    return numbers[((np.arange(count) + 0.5) * len(numbers) / count).astype(int)]


def operator_for(truth: Truth, kernel: str, factor: Factors) -> SeparableOperator:
    """H for images of the truth's size."""
    return SeparableOperator.from_kernel(kernel, factor, truth.stack.shape[1:])


def file_seed(seed: int, name: str) -> int:
    """A file's own seed, so that results depend neither on the order nor the choice of files."""
    words = np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)
    return int(words[0])


def measure(truth: Truth, operator: LinearOperator, noise: float, seed: int) -> Measurement:
    """``y = H x + z``; ``noise`` is the standard deviation of z (of both parts, if complex) as a
    fraction of the robust maximum of H x over all slices. Each slice has its own generator.
    Raises MRCascadeError where the measurement is zero almost everywhere."""
    low = operator(torch.from_numpy(truth.stack)).numpy()
    sigma = noise * robust_maximum(low)
    if noise > 0:
        low = np.stack([y + _gaussian(y, sigma, seed, s) for s, y in enumerate(low)])
    scale = robust_maximum(low)
    if not scale > 0:
        raise MRCascadeError("the measurement is zero almost everywhere; leave the file out")
    return Measurement(low[truth.kept], scale, sigma / scale)


def _gaussian(like: np.ndarray, sigma: float, seed: int, number: int) -> np.ndarray:
    rng = np.random.default_rng([seed, number])
    noise = rng.normal(size=like.shape)
    if np.iscomplexobj(like):
        noise = noise + 1j * rng.normal(size=like.shape)
    return (sigma * noise).astype(like.dtype)
