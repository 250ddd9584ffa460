"""Test files: selection, acquired matrix, ground truth and its simulated measurement."""

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
# A subject's number at the end of a word, with its hyphen, but not the 2 of "brainT2" or the 1 of
# "t1", which belong to a contrast.
_SUBJECT = re.compile(r"-?(?<!\d)(?<!(?<![A-Z])T(?=[12]$))(?<!(?<![A-Za-z])t(?=[12]$))\d+$")


@dataclass(frozen=True)
class TestFile:
    """An image of the test set; ``matrix`` is its acquired in-plane matrix by a user's table."""

    __test__ = False  # pytest would collect the name

    data: DataFile
    matrix: Matrix | None

    @property
    def path(self) -> ImageFile:
        """The image to read."""
        return self.data.image

    @property
    def name(self) -> str:
        """Name of the file, relative to the data folder."""
        return self.data.name

    @property
    def anatomy(self) -> str:
        """Anatomy, the group of the file."""
        return self.data.group


@dataclass(frozen=True)
class Truth:
    """Ground truth of a file.

    Attributes:
        stack: (S, H, W), all slices at the acquired matrix, cropped to a size that the factors
            divide; no signal is 0.
        kept: indices of the slices to evaluate, ascending.
        empty: number of slices left out as air.
        sha256: SHA-256 of the file.
        matrix: effective (acquired) matrix (rows, columns), before the crop.
        told_by: source of ``matrix``: "table", "header" or "spectrum"; empty if it is the stored
            matrix, for lack of evidence.
        steps: (3, 2) directions of the axes for `radiological`; None for display as stored.
        zero: value of no signal in the file.
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
        """Slices to evaluate, (S, H, W)."""
        return self.stack[self.kept]

    @property
    def maximum(self) -> float:
        """Largest magnitude of the whole volume."""
        return float(np.abs(self.stack).max())


@dataclass(frozen=True)
class Measurement:
    """Simulated measurement of a file.

    Attributes:
        slices: (S, h, w), measurements of the slices to evaluate.
        scale: robust maximum of all measured slices, noise included.
        noise: standard deviation of the noise that methods get, as a fraction of ``scale``.
        margins: margins that the file needs (`find_margins`).
    """

    slices: np.ndarray
    scale: float
    noise: float
    margins: Margins = NO_MARGINS


# ---- files ----


def find_files(
    root: Path, split: str, table: Path | None = None, complex_images: bool = True
) -> list[TestFile]:
    """Return the image files of a split in the order of their names.

    Args:
        root: data folder. If it has a manifest, only files named there count.
        split: name of the split. All files count if the folder defines no splits.
        table: table of acquired matrices (`read_matrices`), preferred over the manifest's.
        complex_images: whether magnitude and phase files side by side are one complex image, and
            k-space gives complex images. Otherwise phases are ignored and k-space gives
            magnitudes.

    Raises:
        MRCascadeError: there is no file to evaluate.
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
    """Read a user's table: file name relative to the data folder -> acquired (rows, columns).

    JSON: ``{"name": [rows, columns], ...}``, or a list of ``{"file": ..., "effective_matrix":
    [rows, columns]}``. CSV: a row ``name,rows,columns`` per file, optionally below a row of titles.
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
            f"{table}: {strange[0]!r} is not an image of the data folder; name files relative to it"
        )
    return matrices


def source_names(names: Iterable[str], anatomy: str) -> dict[str, str]:
    """Return the source of each file: its name up to the first "_".

    If several sources differ only in a number at the end, it is a subject's number and dropped:
    ``ptbp44`` and ``ptbp46`` come from ``ptbp``. The digit of a T1 or T2 stays. Files named by a
    number alone get ``anatomy`` as source.
    """
    words = {name: short_name(name).split("_")[0] or anatomy for name in names}
    series = {word: _SUBJECT.sub("", word) for word in set(words.values())}
    shared = Counter(series.values())
    return {
        name: (series[word] or anatomy) if shared[series[word]] > 1 else word
        for name, word in words.items()
    }


def short_name(name: str) -> str:
    """Return the file's name without folders and ending."""
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
    """Read the ground truth of a file.

    Slices are reduced to their acquired matrix and centre-cropped to a size that the factors
    divide. The matrix comes from the table, else as for `sr --acquired-matrix auto`
    (`read_slices`). Values are shifted so that no signal is 0, because an offset must not count in
    errors, data ranges or energies. Slices with a mean magnitude below 2 % of the volume's robust
    maximum are air and left out. This choice does not depend on method, factor, kernel or noise.

    Args:
        file: the file.
        factor: (rows, columns).
        max_slices: number of slices to keep, evenly spread; None keeps all.
        phase_seed: seed of a simulated phase for magnitude images, which also depends on the
            file's name; None simulates none.

    Raises:
        MRCascadeError: the file cannot be read, or no slice is left.
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
    """Return up to ``count`` of ``numbers``, evenly spread: the middles of equal parts."""
    if len(numbers) <= count:
        return numbers
    return numbers[((np.arange(count) + 0.5) * len(numbers) / count).astype(int)]


def truth_operator(truth: Truth, kernel: str, factor: Factors) -> SeparableOperator:
    """Return the operator H for images of the truth's size."""
    return SeparableOperator.from_kernel(kernel, factor, truth.stack.shape[1:])


def file_seed(seed: int, name: str) -> int:
    """Return the seed of a file, so that results do not depend on the other files."""
    words = np.random.SeedSequence(
        [seed, zlib.crc32(name.encode("utf-8", "surrogatepass"))]
    ).generate_state(1)
    return int(words[0])


def measure(
    truth: Truth, operator: LinearOperator, noise: float, seed: int, known: bool
) -> Measurement:
    """Simulate the measurement ``y = H x + z`` of a file.

    Args:
        truth: ground truth x.
        operator: H.
        noise: standard deviation of z (of each part, if complex) as a fraction of the robust
            maximum of H x over all slices.
        seed: seed of the file; each slice has its own generator.
        known: whether methods get the true noise level. Otherwise it is estimated from all slices,
            as ``sr`` does.

    Raises:
        MRCascadeError: the measurement is zero almost everywhere.
    """
    low, sigma = simulated(truth.stack, operator, noise, seed)
    scale = robust_maximum(low)
    if not scale > 0:
        raise MRCascadeError("the measurement is zero almost everywhere; leave the file out")
    told = sigma / scale if known else None
    found = examine(low.__getitem__, len(low), operator, Intensity(scale), told)
    return Measurement(low[truth.kept], scale, found.noise, found.margins)


def simulated(
    stack: np.ndarray, operator: LinearOperator, noise: float, seed: int
) -> tuple[np.ndarray, float]:
    """Return the measurement (S, h, w) of slices (S, H, W), and its noise's standard deviation.

    ``noise`` and ``seed`` are those of `measure`.
    """
    low = operator(torch.from_numpy(stack)).numpy()
    sigma = noise * robust_maximum(low)
    if noise > 0:
        low = np.stack([y + gaussian_noise(y, sigma, [seed, s]) for s, y in enumerate(low)])
    return low, sigma
