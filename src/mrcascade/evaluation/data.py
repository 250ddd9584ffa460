"""Test files: which they are, their true resolution, their ground truth and its measurement."""

from __future__ import annotations

import csv
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from mrcascade.arrays.intensity import EMPTY, Intensity, robust_maximum
from mrcascade.arrays.phase import with_simulated_phase
from mrcascade.data.folder import MANIFEST, DataFile, Matrix, as_matrix, list_data, read_slices
from mrcascade.errors import MRCascadeError
from mrcascade.io import Image, ImageFile, file_endings, plane_steps, with_planes
from mrcascade.measurement.acquired import Acquired
from mrcascade.measurement.border import NO_MARGINS, Margins
from mrcascade.measurement.examine import examine
from mrcascade.measurement.noise import zero_level
from mrcascade.operators import LinearOperator, SeparableOperator, gaussian_noise
from mrcascade.operators.crop import centre_crop, fourier_crop
from mrcascade.storage.files import TABLE_BYTES, parse_json, read_text

Factors = tuple[float, float]
# A subject's number at the end of a word, with its hyphen; not the contrast in "brainT2" or "t1".
_SUBJECT = re.compile(r"-?(?<!\d)(?<!(?<![A-Z])T(?=[12]$))(?<!(?<![A-Za-z])t(?=[12]$))\d+$")


@dataclass(frozen=True)
class TestFile:
    """An image of the test set. ``matrix``: what was acquired in plane, where a table says."""

    __test__ = False  # pytest would collect the name

    data: DataFile
    matrix: Matrix | None

    @property
    def path(self) -> ImageFile:
        return self.data.image

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def anatomy(self) -> str:
        return self.data.group


@dataclass(frozen=True)
class Truth:
    """Ground truth of a file.

    Attributes:
        stack: (S, H, W), all slices, acquired matrix, legal size; 0 where there is no signal.
        kept: numbers of the slices to evaluate, ascending.
        empty: how many slices are left out as air.
        sha256: of the file.
        matrix: (rows, columns) that were acquired, before the crop to the legal size.
        told_by: what says so, "table", "header" or "spectrum"; empty where nothing does and the
            stored matrix counts.
        steps: (3, 2), what `radiological` takes, None where slices are drawn as stored.
        zero: value that stands for no signal in the file.
    """

    stack: np.ndarray
    kept: np.ndarray
    empty: int
    sha256: str
    matrix: Matrix | None = None
    told_by: str = ""
    steps: np.ndarray | None = None
    zero: float = 0.0

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
    with their noise; ``noise``, its standard deviation as a fraction of ``scale``, as the methods
    are told it; ``margins`` that the file needs (`find_margins`)."""

    slices: np.ndarray
    scale: float
    noise: float
    margins: Margins = NO_MARGINS


# ---- files ----


def find_files(
    root: Path, split: str, table: Path | None = None, complex_images: bool = True
) -> list[TestFile]:
    """The image files of ``split`` below ``root``, in the order of their names.

    If nothing says to which split a file belongs (see ``dataset``), all of them. A manifest limits
    the files to those that it names; ``table`` (see ``read_matrices``) goes before its matrices.
    Magnitude and phase files side by side are one image, and k-space gives complex images; without
    ``complex_images`` phases are passed over, and k-space gives magnitudes.
    Raises MRCascadeError where there is nothing to evaluate.
    """
    files = list_data(root, pairs=complex_images, complex_kspace=complex_images)
    splits = sorted({file.split for file in files if file.split})
    chosen = [file for file in files if file.split == split] if splits else files
    if not chosen:
        raise MRCascadeError(f"{root}: no files in split {split!r}; there are {', '.join(splits)}")
    matrices = {f.name: m for f in chosen if (m := f.matrix)}
    if table is not None:
        matrices |= _known(read_matrices(table), [file.name for file in files], table)
    return [TestFile(file, matrices.get(file.name)) for file in chosen]


def read_matrices(path: Path) -> dict[str, Matrix]:
    """A user's table of acquired in-plane matrices, by file name relative to the data's folder.

    JSON: ``{"name": [rows, columns], ...}`` or a list of ``{"file": ..., "effective_matrix":
    [rows, columns]}``. CSV: a row ``name,rows,columns`` per file, a first row of titles allowed.
    Raises MRCascadeError for anything else.
    """
    try:
        text = read_text(path, TABLE_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise MRCascadeError(f"{path}: cannot be read; give a JSON or CSV table") from error
    try:
        pairs = _json_pairs(text) if path.suffix.lower() == ".json" else _csv_pairs(text)
        return {str(name): as_matrix(values) for name, values in pairs}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise MRCascadeError(
            f"{path}: not a table of matrices ({error}); a row is: file,rows,columns"
        ) from error


def _json_pairs(text: str) -> list[tuple[str, Any]]:
    document = parse_json(text)
    if isinstance(document, dict):
        return list(document.items())
    return [(e["file"], e["effective_matrix"]) for e in document if "effective_matrix" in e]


def _csv_pairs(text: str) -> list[tuple[str, Any]]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and not rows[0][-1].strip().isdigit():
        rows = rows[1:]
    return [(row[0].strip(), row[1:]) for row in rows]


def _known(matrices: dict[str, Matrix], names: Sequence[str], table: Path) -> dict[str, Matrix]:
    strange = sorted(set(matrices) - set(names))
    if strange:
        raise MRCascadeError(
            f"{table}: {strange[0]!r} is no image of the data folder; name files relative to it"
        )
    return matrices


def source_names(names: Iterable[str], anatomy: str) -> dict[str, str]:
    """Where files are from, by file name: what stands before the first "_".

    A number at its end is a subject's, and left out, where several sources differ in it alone:
    ``ptbp44`` and ``ptbp46`` are of ``ptbp``. The 1 or 2 of a T1 or T2 stays. Names that are
    numbers alone are of ``anatomy``.
    """
    words = {name: short_name(name).split("_")[0] or anatomy for name in names}
    series = {word: _SUBJECT.sub("", word) for word in set(words.values())}
    shared = Counter(series.values())
    return {
        name: (series[word] or anatomy) if shared[series[word]] > 1 else word
        for name, word in words.items()
    }


def short_name(name: str) -> str:
    """The file's name without folders and ending."""
    last = PurePosixPath(name).name
    ending = next((e for e in file_endings() if last.lower().endswith(e)), "")
    return last[: len(last) - len(ending)]


# ---- ground truth and measurement ----


def load_truth(
    file: TestFile,
    factor: Factors,
    max_slices: int | None = None,
    phase_seed: int | None = None,
) -> Truth:
    """Read a file: slices at their acquired matrix, centre-cropped to what the factors divide.

    Values count from the file's value of no signal, for methods and for metrics: restoring and
    measuring keep an offset, and it is no part of an error, a range or an energy.

    The matrix is the table's, else decided as `sr --acquired-matrix auto` does (`read_slices`).

    Slices with a mean magnitude below 2 % of the volume's robust maximum are air and left out:
    the same slices for every method, factor, kernel and noise. ``max_slices`` keeps that many of
    the rest, evenly spread. With ``phase_seed`` a magnitude image gets the simulated phase of that
    seed and of its name. Raises MRCascadeError where nothing is left.
    """
    image, planes, stack, acquired = read_slices(file.data, file.matrix)
    zero = zero_level(stack)
    stack = fourier_crop(stack - zero if zero else stack, acquired.matrix)
    steps = plane_steps(image, planes.axes, stack.shape[1:])
    try:
        if phase_seed is not None:
            stack = with_simulated_phase(stack, file.name, phase_seed)
        stack = np.ascontiguousarray(centre_crop(stack, factor))
    except MRCascadeError as error:
        named = MRCascadeError(f"{file.path}: {error}")
        raise with_planes(named, image, planes, f"slice_axis in {MANIFEST}") from error
    content = np.abs(stack).mean((1, 2)) > EMPTY * robust_maximum(stack)
    kept = np.flatnonzero(content)
    if not len(kept):
        raise MRCascadeError(f"{file.path}: every slice is empty; leave the file out")
    if max_slices is not None:
        kept = spread(kept, max_slices)
    return Truth(
        stack=stack,
        kept=kept,
        empty=int((~content).sum()),
        sha256=image.sha256,
        matrix=acquired.matrix,
        told_by=_told_by(file, image, acquired),
        steps=steps,
        zero=zero,
    )


def _told_by(file: TestFile, image: Image, acquired: Acquired) -> str:
    if file.matrix is not None:
        return "table"
    if acquired.by_spectrum:
        return "spectrum"
    return "" if image.acquired is None else "header"


def spread(numbers: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of ``numbers``, the middles of as many equal parts."""
    if len(numbers) <= count:
        return numbers
    return numbers[((np.arange(count) + 0.5) * len(numbers) / count).astype(int)]


def truth_operator(truth: Truth, kernel: str, factor: Factors) -> SeparableOperator:
    """H for images of the truth's size."""
    return SeparableOperator.from_kernel(kernel, factor, truth.stack.shape[1:])


def file_seed(seed: int, name: str) -> int:
    """A file's own seed, so that results depend neither on the order nor the choice of files."""
    words = np.random.SeedSequence(
        [seed, zlib.crc32(name.encode("utf-8", "surrogatepass"))]
    ).generate_state(1)
    return int(words[0])


def measure(
    truth: Truth, operator: LinearOperator, noise: float, seed: int, known: bool
) -> Measurement:
    """``y = H x + z``; ``noise`` is the standard deviation of z (of both parts, if complex) as a
    fraction of the robust maximum of H x over all slices. Each slice has its own generator.
    Methods are told it where it is ``known``; otherwise it is estimated from all slices, as
    ``sr`` does. Raises MRCascadeError where the measurement is zero almost everywhere."""
    low = operator(torch.from_numpy(truth.stack)).numpy()
    sigma = noise * robust_maximum(low)
    if noise > 0:
        low = np.stack([y + gaussian_noise(y, sigma, [seed, s]) for s, y in enumerate(low)])
    scale = robust_maximum(low)
    if not scale > 0:
        raise MRCascadeError("the measurement is zero almost everywhere; leave the file out")
    told = sigma / scale if known else None
    found = examine(low.__getitem__, len(low), operator, Intensity(scale), told)
    return Measurement(low[truth.kept], scale, found.noise, found.margins)
