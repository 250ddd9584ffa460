"""Images of the coils from the averages of a T2 file of fastMRI prostate.

Its k-space holds three averages: the first and the last sample every other line, the second the
lines between. Calibration data, `calibration_data` of (slices, coils, rows, lines), lie beside it.
Per slice each average is completed by GRAPPA (`grappa`), with kernels from the slice's own
calibration data. The averages are brought to the phase of the first and averaged, with the noise
after completion as their weights (`alignment`): images of the coils come out, as of a fully
sampled scan.

As the publisher's reconstruction does (github.com/cai2r/fastMRI_prostate), columns are zero-filled
to the number of rows, and rows are reversed: the complex image lies on the grid of the stored
magnitude. Files of diffusion have 50 averages of different weighting, by EPI with samples on ramps:
they are refused.
"""

from dataclasses import dataclass

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.fastmri.alignment import average
from mrcascade.io.fastmri.file import FastMRI
from mrcascade.io.fastmri.grappa import Grappa, check_kernels
from mrcascade.io.fastmri.kspace import Matrix, coil_images, sampling_of

# Number of averages of a T2 file.
AVERAGES = 3


@dataclass(frozen=True)
class Averages:
    """Averages of a file that passed `open_averages`.

    Attributes:
        file: the open file.
        sampled: (averages, rows, columns), which samples of the middle slice are measured.
    """

    file: FastMRI
    sampled: np.ndarray

    @property
    def acquired(self) -> Matrix:
        """(rows, columns) of the centred extent of the samples, within the file's `grid`."""
        together = np.asarray(self.sampled.any(axis=0, keepdims=True))
        return sampling_of(self._on_grid(together)).acquired

    def coil_images(self, number: int) -> np.ndarray:
        """Return the coils' images of a slice, (coils, rows, columns) of the `grid`, complex64.

        They are 0 for a slice without samples.

        Raises MRCascadeError where the slice is sampled on other lines than the middle one.
        """
        calibration = self.file.read_calibration(number)[:, self._extent[0]]
        grappa = Grappa(calibration, self._lines)
        completed = [self._completed(number, which, grappa) for which in range(AVERAGES)]
        empty = [not noise for _, noise in completed]
        if any(empty) and not all(empty):
            raise MRCascadeError(
                f"{self.file.path}: average {empty.index(True)} of slice {number} has no samples;"
                " reconstruct it first"
            )
        images, noise = zip(*completed, strict=True)
        return average(images, [1.0] * AVERAGES if all(empty) else noise)

    def _completed(self, number: int, which: int, grappa: Grappa) -> tuple[np.ndarray, float]:
        """Return the images of one average, and its noise (`Grappa.complete`), 0 if it is empty."""
        rows, columns = self._extent
        kspace = self.file.read_kspace(number, which)
        found = (kspace != 0).any(axis=(0, 1))
        if not found.any():
            return np.zeros((self.file.coils, *self.file.grid), np.complex64), 0.0
        if not np.array_equal(found, self.sampled[which].any(axis=0)):
            raise MRCascadeError(
                f"{self.file.path}: average {which} of slice {number} is sampled on other lines"
                " than that of the middle slice; reconstruct it first"
            )
        inner, noise = grappa.complete(kspace[:, rows, columns], found[columns])
        kspace[:, rows, columns] = inner
        return self._images(kspace), noise

    @property
    def _extent(self) -> tuple[slice, slice]:
        """Rows and columns of the k-space that hold samples."""
        found = (np.flatnonzero(self.sampled.any(axis=axes)) for axes in ((0, 2), (0, 1)))
        rows, columns = (slice(int(f[0]), int(f[-1]) + 1) for f in found)
        return rows, columns

    @property
    def _lines(self) -> np.ndarray:
        """Measured lines (averages, columns) within the extent."""
        return np.asarray(self.sampled[..., self._extent[1]].any(axis=1))

    def _images(self, kspace: np.ndarray) -> np.ndarray:
        """Transform completed k-space, one coil after the other, as it grows by zero filling."""
        coils = (self._on_grid(one[None]) for one in kspace)
        return np.concatenate([coil_images(one, self.file.grid)[:, ::-1] for one in coils])

    def _on_grid(self, kspace: np.ndarray) -> np.ndarray:
        """Zero-fill columns to the file's `grid`, with the centre of k-space at its centre."""
        columns, wanted = kspace.shape[2], self.file.grid[1]
        centre = self.file.header.centre
        if centre is not None and centre < columns:
            left = min(max(wanted // 2 - centre, 0), wanted - columns)
        else:  # as the publisher does, with an odd column on the right
            left = (wanted - columns) // 2
        return np.pad(kspace, ((0, 0), (0, 0), (left, wanted - columns - left)))


def open_averages(file: FastMRI) -> Averages:
    """Check that averages can be combined to one complex image; reads the middle slice.

    Raises MRCascadeError for another layout than that of the module.
    """
    reason = _other_layout(file)
    if reason:
        raise _refused(file, reason)
    middle = file.slices // 2
    sampled = np.stack([(file.read_kspace(middle, a) != 0).any(axis=0) for a in range(AVERAGES)])
    if not sampled.any(axis=(1, 2)).all():
        raise _refused(file, "an average of its middle slice has no samples")
    found = Averages(file, sampled)
    calibration = file.read_calibration(middle)[:, found._extent[0]]
    if not (calibration != 0).any(axis=(0, 1)).all():
        raise _refused(file, "its calibration_data lack lines")
    try:
        check_kernels(calibration, found._lines)
    except ValueError as error:
        raise _refused(file, str(error)) from error
    return found


def _other_layout(file: FastMRI) -> str:
    """Return how the file's datasets differ from the layout; empty where they do not."""
    if file.averages != AVERAGES:
        return (
            f"its k-space has {file.averages} averages, and only the {AVERAGES} of T2 files of"
            " fastMRI prostate are combined"
        )
    if file.coils == 1:
        return "its averages are of one coil, and GRAPPA needs several"
    if file.calibration is None:
        return f"its {AVERAGES} averages have no calibration_data"
    expected = (file.slices, file.coils, file.kspace_matrix[0])
    if file.calibration.shape[:3] != expected:
        return (
            f"its calibration_data of shape {file.calibration.shape} does not fit its k-space of"
            f" {file.slices} slices, {file.coils} coils and {file.kspace_matrix[0]} rows"
        )
    return ""


def _refused(file: FastMRI, reason: str) -> MRCascadeError:
    return MRCascadeError(
        f"{file.path}: {reason}, so that it gives no complex image; take a magnitude prior, or"
        " reconstruct the k-space first"
    )
