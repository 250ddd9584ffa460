"""Near-isotropic volumes, and the thick slices that are simulated from them.

The forward model keeps the field of view: slice k of distance f has its centre at
``(k + 1/2) f - 1/2`` samples, and weighs the samples around it by the slice profile. Slices at the
ends of the crop see the samples beyond it, which a real scan measures too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrcascade.arrays.intensity import robust_maximum
from mrcascade.data.folder import MANIFEST
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import TestFile
from mrcascade.io import Image, choose_planes, open_source, read_image, refuse_phase
from mrcascade.io.planes import SPACING_TOLERANCE
from mrcascade.measurement.noise import estimate_noise, slices_for_noise, zero_level
from mrcascade.operators import gaussian_noise
from mrcascade.operators.profile import GAUSSIAN, SliceProfile
from mrcascade.restore.volume import ThickSlices, along

#: Fewest thick slices: one at each end is not scored.
LEAST_SLICES = 3
# Share of the 99.9th percentile above which a sample is body, for the place of the crop.
_BODY = 0.15


class UnsuitableVolumeError(MRCascadeError):
    """Reason why an image is no near-isotropic volume to evaluate on; it is left out."""


@dataclass(frozen=True)
class ThinVolume:
    """A near-isotropic volume.

    Attributes:
        image: the image as stored.
        values: its voxels in the file's order of axes, three of them; no signal is 0.
        axis: array axis of its slices.
        zero: value of no signal in the file.
    """

    image: Image
    values: np.ndarray
    axis: int
    zero: float


@dataclass(frozen=True)
class Slicing:
    """How thick slices are simulated.

    Attributes:
        factor: slice distance in samples; where sizes round, the number of samples over that of
            slices is used.
        size: largest number of samples along an axis of the crop.
        profile: slice profile.
        thickness: slice thickness over slice distance.
        noise: standard deviation of the noise as a fraction of the slices' robust maximum.
        known: whether methods get the noise level; otherwise it is estimated from the slices.
    """

    factor: float
    size: int = 128
    profile: SliceProfile = GAUSSIAN
    thickness: float = 1.0
    noise: float = 0.0
    known: bool = True


@dataclass(frozen=True)
class ThickCase:
    """A volume and its simulated thick slices along one axis, which comes first.

    Attributes:
        axis: array axis that the slices follow.
        others: the other two axes, ascending.
        truth: (n, h, w), crop of the volume.
        measurement: (S, h, w), thick slices of the same field of view.
        thick: how the slices see the crop.
        scale: robust maximum of the slices, noise included.
        noise: standard deviation of the noise that methods get, as a fraction of ``scale``.
    """

    axis: int
    others: tuple[int, int]
    truth: np.ndarray
    measurement: np.ndarray
    thick: ThickSlices
    scale: float
    noise: float

    @property
    def factor(self) -> float:
        """Slice distance in samples."""
        return self.thick.samples / self.thick.slices


def read_thin_volume(file: TestFile) -> ThinVolume:
    """Read a near-isotropic volume: voxel sizes differ by up to `SPACING_TOLERANCE`.

    Raises:
        UnsuitableVolumeError: the image is no such volume.
        MRCascadeError: the file cannot be read.
    """
    refuse_phase(file.path)
    with open_source(file.path, file.data.complex_valued) as source:
        shape, affine, spacing = source.shape, source.affine, source.spacing
        if len([n for n in shape if n > 1]) != 3 or np.prod(shape[3:]) != 1:
            raise UnsuitableVolumeError("no single volume")
        if np.issubdtype(source.dtype, np.complexfloating):
            raise UnsuitableVolumeError("complex values")
        if affine is None:
            raise UnsuitableVolumeError("no voxel sizes")
        if max(spacing) > min(spacing) * (1 + SPACING_TOLERANCE):
            raise UnsuitableVolumeError(f"voxel sizes differ by more than {SPACING_TOLERANCE:.0%}")
    image = read_image(file.path, file.data.complex_valued)
    rows, columns = choose_planes(image, file.data.axes, MANIFEST).axes
    axis = 3 - rows - columns
    values = image.data.reshape(image.shape[:3])
    zero = zero_level(np.moveaxis(values, axis, 0))
    return ThinVolume(image, values - zero if zero else values, axis, zero)


def simulate_thick(volume: ThinVolume, axis: int, slicing: Slicing, seed: int) -> ThickCase:
    """Simulate thick slices of a volume along an axis.

    Args:
        volume: the volume.
        axis: array axis that the slices follow.
        slicing: the forward model.
        seed: seed of the noise; each slice has a generator of its own.

    Raises:
        UnsuitableVolumeError: the volume has too few samples, or shows no body.
        MRCascadeError: the noise cannot be estimated.
    """
    values = np.moveaxis(volume.values, axis, 0)
    # 20 samples are 6 slices of 10/3, whatever the rounding of the division.
    slices = int(min(slicing.size, len(values)) / slicing.factor + 1e-9)
    if slices < LEAST_SLICES:
        raise UnsuitableVolumeError(f"fewer than {LEAST_SLICES} thick slices along axis {axis}")
    depth = round(slices * slicing.factor)
    thick = ThickSlices(slices, depth, slicing.profile, slicing.thickness)
    first, *inside = body_window(values, (depth, slicing.size, slicing.size))
    field = values[:, inside[0], inside[1]]
    matrix = _source_matrix(thick, first.start, len(values))
    low = along(matrix, field)
    sigma = slicing.noise * robust_maximum(low)
    if sigma:
        low = np.stack([y + gaussian_noise(y, sigma, [seed, s]) for s, y in enumerate(low)])
    scale = robust_maximum(low)
    if not scale > 0:
        raise UnsuitableVolumeError("no signal in the slices")
    told = sigma
    if not slicing.known:
        told = estimate_noise((low[i] for i in slices_for_noise(slices)), zero=0.0).sigma
    a, b = (k for k in range(3) if k != axis)
    truth = np.ascontiguousarray(field[first])
    return ThickCase(axis, (a, b), truth, low, thick, scale, told / scale)


def body_window(volume: np.ndarray, size: Sequence[int]) -> tuple[slice, ...]:
    """Return the window of a size around the centre of mass of the body of a volume.

    The window lies inside the volume, and is as large as it where it would be larger.

    Args:
        volume: (n, h, w).
        size: samples along each axis.

    Raises:
        UnsuitableVolumeError: there is no body.
    """
    body = volume > _BODY * np.percentile(volume, 99.9)
    window = []
    for axis, (count, wanted) in enumerate(zip(volume.shape, size, strict=True)):
        weight = body.sum(axis=tuple(k for k in range(volume.ndim) if k != axis))
        if not weight.any():
            raise UnsuitableVolumeError("no body in it")
        centre = (weight * np.arange(count)).sum() / weight.sum()
        start = int(np.clip(round(centre - wanted / 2), 0, max(count - wanted, 0)))
        window.append(slice(start, min(start + wanted, count)))
    return tuple(window)


def _source_matrix(thick: ThickSlices, start: int, depth: int) -> np.ndarray:
    """Return the weights (S, depth) of slices of a crop that begins at sample ``start``."""
    f = thick.samples / thick.slices
    centres = np.asarray(start + (np.arange(thick.slices) + 0.5) * f - 0.5, np.float64)
    return thick.profile.rows(centres, depth, thick.thickness * f)
