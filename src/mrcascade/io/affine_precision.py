"""Check that NIfTI's single precision can hold an affine."""

from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError

# Share of a source voxel by which rounding may move a corner. In a result that is enlarged
# 8 times it is less than a tenth of a voxel.
_LARGEST_SHIFT = 0.01


def beyond_float32(affine: np.ndarray) -> bool:
    """Return whether float32 cannot hold an entry of an affine, or an entry is NaN."""
    return not bool((np.abs(affine) < np.finfo(np.float32).max).all())


def check_precision(affine: np.ndarray, shape: tuple[int, ...], path: Path) -> None:
    """Refuse an affine that loses voxel positions in float32.

    Args:
        affine: (4, 4), voxel index -> mm.
        shape: shape of the image.
        path: file that the message names.

    Raises:
        MRCascadeError: an entry overflows, or rounding of the entries to the nearest float32 could
            move a corner of the volume by more than 1 % of its smallest voxel side. The bound adds
            magnitudes, so that it also holds for a finer grid in the same place.
    """
    if not beyond_float32(affine):
        rounding = np.spacing(np.abs(affine[:3]).astype(np.float32)).astype(np.float64) / 2
        sides = np.array([*(*shape, 1, 1)[:3], 1.0])
        shift = float(np.linalg.norm(rounding @ sides))
        voxel = float(np.linalg.norm(affine[:3, :3], axis=0).min())
        if shift <= _LARGEST_SHIFT * voxel:
            return
    raise MRCascadeError(
        f"{path} has voxels at positions that NIfTI's single precision cannot hold (an affine with"
        f" values from {_smallest(affine):.1g} to {np.abs(affine[:3]).max():.1g} mm); move the"
        " origin into the image or repair the unit"
    )


def _smallest(affine: np.ndarray) -> float:
    values = np.abs(affine[:3, :3])
    return float(values[values > 0].min(initial=np.inf))
