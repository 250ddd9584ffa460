"""How well two stacks of slices of one person agree on where the anatomy is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcascade.operators.profile import FWHM
from mrcascade.operators.stack import StackOperator

# Voxels of the comparison per slice thickness.
_FINENESS = 2
# Share of the largest value below which a voxel is air.
_AIR = 0.1
# Fewest voxels in common that a rigid motion is found from.
_FEWEST = 500


@dataclass(frozen=True)
class PlacedVolume:
    """A volume that was made of thick slices, with its place.

    Attributes:
        values: (n, h, w), slices first.
        affine: (4, 4), from its index to millimetres.
        thickness: thickness of the slices (mm).
    """

    values: np.ndarray
    affine: np.ndarray
    thickness: float

    @property
    def normal(self) -> np.ndarray:
        """Direction across the slices, a unit vector."""
        return np.asarray(self.affine[:3, 0] / np.linalg.norm(self.affine[:3, 0]))


@dataclass(frozen=True)
class Agreement:
    """The rigid motion that explains best how two stacks differ.

    Attributes:
        motion: (4, 4), from a place (mm) by the header of the stack to where the first stack has
            the same anatomy.
        displacement: root mean square displacement of the anatomy (mm).
        shift: displacement of the anatomy's centre (mm).
        degrees: angle of the rotation.
        correlation: correlation of both stacks after the motion.
        gain: intensity of the stack over that of the first one.
    """

    motion: np.ndarray
    displacement: float
    shift: tuple[float, float, float]
    degrees: float
    correlation: float
    gain: float

    def describe(self) -> str:
        """Return a phrase about the motion: "0.32 mm (shift 0.3, 0, 0.1 mm; 0.2 degrees)"."""
        shift = ", ".join(f"{one:.2f}" for one in self.shift)
        return f"{self.displacement:.2f} mm (shift {shift} mm; {self.degrees:.2f} degrees)"


def measure_agreement(first: PlacedVolume, other: PlacedVolume) -> Agreement | None:
    """Find the rigid motion between two stacks, by the anatomy that both show.

    Both are brought to one grid of half the thinner slice thickness and blurred by both slice
    profiles, as Gaussians, so that what is left of a difference is motion. The motion minimises the
    sum of squared differences, with one gain.

    Args:
        first: volume of the first stack, best by least squares.
        other: volume of the other one.

    Returns:
        The motion; None where too little anatomy is in common.

    Raises:
        MRCascadeError: the stacks have no place in common.
    """
    from scipy.ndimage import map_coordinates, spline_filter
    from scipy.optimize import least_squares
    from scipy.spatial.transform import Rotation

    shape, affine = _grid(first, min(first.thickness, other.thickness) / _FINENESS)
    (a, in_first), (b, in_other) = (
        _blurred(v, first, other, shape, affine) for v in (first, other)
    )
    common = in_first & in_other
    for one in (a, b):
        common &= one > _AIR * max(0.0, float(one.max()))
    if np.count_nonzero(common) < _FEWEST:
        return None
    places = np.argwhere(common) @ affine[:3, :3].T + affine[:3, 3]
    centre = places.mean(0)
    target = a[common].astype(np.float64)
    spline = spline_filter(b.astype(np.float64))
    back = np.linalg.inv(affine)
    radius = float(np.sqrt(np.mean(np.sum((places - centre) ** 2, 1))))

    def moved(parameters: np.ndarray) -> np.ndarray:
        """Return values of the other stack at places of the first one, by the opposite motion."""
        turn = Rotation.from_rotvec(parameters[3:] / radius).as_matrix()
        at = (places - centre) @ turn.T + centre + parameters[:3]
        index = back[:3, :3] @ at.T + back[:3, 3:]
        return np.asarray(map_coordinates(spline, index, order=3, prefilter=False, mode="nearest"))

    def missed(parameters: np.ndarray) -> np.ndarray:
        seen = moved(parameters)
        return np.asarray(seen * _ratio(target, seen) - target)

    found = least_squares(missed, np.zeros(6), x_scale=0.1, diff_step=1e-3, max_nfev=30)
    best: Any = found.x
    turn = Rotation.from_rotvec(best[3:] / radius)
    motion = np.eye(4)  # the inverse of v -> turn (v - centre) + centre + shift
    motion[:3, :3] = turn.as_matrix().T
    motion[:3, 3] = centre - motion[:3, :3] @ (centre + best[:3])
    path = places @ motion[:3, :3].T + motion[:3, 3] - places
    seen, shift = moved(best), path.mean(0)
    return Agreement(
        motion=motion,
        displacement=float(np.sqrt(np.mean(np.sum(path**2, 1)))),
        shift=(float(shift[0]), float(shift[1]), float(shift[2])),
        degrees=float(np.rad2deg(turn.magnitude())),
        correlation=float(np.corrcoef(seen, target)[0, 1]),
        gain=float(np.linalg.norm(seen) / np.linalg.norm(target)),  # neither is free of noise
    )


def _ratio(target: np.ndarray, seen: np.ndarray) -> float:
    return float(seen @ target / (seen @ seen))


def _grid(volume: PlacedVolume, spacing: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return a grid of cubes over the field of view of a volume."""
    lengths = np.linalg.norm(volume.affine[:3, :3], axis=0)
    extent = lengths * volume.values.shape
    n, h, w = (max(1, round(e / spacing)) for e in extent)
    affine = np.eye(4)
    affine[:3, :3] = volume.affine[:3, :3] * (extent / (n, h, w) / lengths)
    corner = volume.affine[:3, 3] - volume.affine[:3, :3].sum(1) / 2
    affine[:3, 3] = corner + affine[:3, :3].sum(1) / 2
    return (n, h, w), affine


def _blurred(
    volume: PlacedVolume,
    first: PlacedVolume,
    other: PlacedVolume,
    shape: tuple[int, int, int],
    affine: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume on a grid, blurred by the profiles of two stacks, and where it is known."""
    from scipy.fft import fftfreq, irfftn, next_fast_len, rfftfreq, rfftn

    there = StackOperator(
        volume.values.shape, volume.affine, shape, affine, 0.0, None, dtype=np.float32
    )
    values, known = there(volume.values.astype(np.float32)), there.inside.astype(np.float32)
    sides = [next_fast_len(2 * n, real=True) for n in shape]
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    k = np.meshgrid(
        *(fftfreq(n, d) for n, d in zip(sides[:2], steps, strict=False)),
        rfftfreq(sides[2], steps[2]),
        indexing="ij",
        sparse=True,
    )
    # The low pass of one voxel takes away what is aliased, which stays where the grid is.
    weight: Any = sum((one * step) ** 2 for one, step in zip(k, steps, strict=True))
    for stack in (first, other):
        direction = (affine[:3, :3] / steps).T @ stack.normal
        along = sum(one * d for one, d in zip(k, direction, strict=True))
        weight = weight + (along * stack.thickness / FWHM) ** 2
    weight = np.exp(-2 * np.pi**2 * weight).astype(np.float32)

    def blurred(x: np.ndarray) -> np.ndarray:
        whole = irfftn(rfftn(x, sides) * weight, sides)
        return np.asarray(whole[tuple(map(slice, shape))])

    inside = blurred(known)
    return blurred(values * known) / np.maximum(inside, 0.5), inside > 0.99
