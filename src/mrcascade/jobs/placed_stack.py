"""A stack of slices as data of a volume that several stacks have in common."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.jobs.measured import Measured
from mrcascade.jobs.opened import Opened
from mrcascade.measurement.agreement import Agreement, PlacedVolume
from mrcascade.measurement.thick import LEAST_SLICES
from mrcascade.operators.profile import SliceProfile
from mrcascade.operators.stack import Size, StackOperator
from mrcascade.restore.volume import StackData, ThickSlices, least_squares

# Slices and pixels that are kept beyond the field of view of the first stack.
_MARGIN = (2, 16, 16)
# Least noise of a stack over that of the first one.
_LEAST_NOISE = 0.1


@dataclass(frozen=True)
class PlacedStack:
    """A stack as data, within the field of view of the first one.

    Attributes:
        opened: the open file.
        measured: what its slices say of themselves.
        slices: (S, h, w), values above the zero level.
        affine: (4, 4), from an index of ``slices`` to millimetres, after a motion was undone.
        thick: its slices and the thinner ones of its own volume.
        thickness: thickness of its slices (mm).
        profile: their profile.
        agreement: motion from the first stack; None for that one.
    """

    opened: Opened
    measured: Measured
    slices: np.ndarray
    affine: np.ndarray
    thick: ThickSlices
    thickness: float
    profile: SliceProfile
    agreement: Agreement | None = None

    @classmethod
    def of(cls, opened: Opened, measured: Measured) -> PlacedStack:
        """Return all slices of an input."""
        geometry, affine = measured.geometry, measured.geometry.affine
        grid = geometry.slices
        assert grid is not None  # both have been checked by `slice_grid`
        assert affine is not None
        y = measured.intensity.above_zero(measured.slices.read(0, len(measured)))
        order = [grid.axis, *geometry.axes, 3]
        return cls(
            opened, measured, y, affine[:, order], geometry.thick, grid.thickness, grid.profile
        )

    @property
    def name(self) -> str:
        """Name of the input."""
        return self.opened.source.file.name

    @property
    def gain(self) -> float:
        """Intensity over that of the first stack."""
        return 1.0 if self.agreement is None else self.agreement.gain

    @property
    def shape(self) -> Size:
        """(n, h, w) of its own volume of thin slices."""
        return self.thick.samples, self.slices.shape[1], self.slices.shape[2]

    @property
    def thin(self) -> np.ndarray:
        """Affine of its own volume of thin slices."""
        return _thin(self.affine, self.thick)

    def within(self, first: PlacedStack) -> PlacedStack:
        """Return the part of the stack that the first one sees, and a little more.

        Raises MRCascadeError where too little of it is there.
        """
        ends = [(-0.5, n - 0.5) for n in first.shape]
        corners = np.array([(*corner, 1.0) for corner in itertools.product(*ends)])
        places = (np.linalg.inv(self.affine) @ first.thin @ corners.T)[:3]
        low = np.maximum(np.floor(places.min(1)).astype(int) - _MARGIN, 0)
        high = np.ceil(places.max(1)).astype(int) + 1 + _MARGIN
        high = np.minimum(high, self.slices.shape)
        if (high - low).min() < LEAST_SLICES:
            raise MRCascadeError(
                f"{self.opened.source.source} and {first.opened.source.source} have no place in"
                " common by their headers; give stacks of one region of one person, of one session"
            )
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ low
        slices = self.slices[tuple(map(slice, low, high))]
        samples = round(len(slices) * self.thick.samples / self.thick.slices)
        thick = replace(self.thick, slices=len(slices), samples=samples)
        return replace(self, slices=np.ascontiguousarray(slices), affine=affine, thick=thick)

    def placed(self, samples: int) -> PlacedVolume:
        """Return its volume by least squares with so many slices, to be compared."""
        thick = replace(self.thick, samples=samples)
        volume = least_squares(self.slices, thick)
        return PlacedVolume(volume, _thin(self.affine, thick), self.thickness)

    def data(self, first: PlacedStack) -> StackData:
        """Return the stack as data of the first one's volume."""
        operator = StackOperator(
            first.shape,
            first.thin,
            self.slices.shape,
            self.affine,
            self.thickness,
            self.profile,
            ends=self is first,
            dtype=np.float32,
        )
        values = (self.slices / self.gain).astype(np.float32)
        least = _LEAST_NOISE * first.noise
        weight = (first.noise / max(self.noise, least)) ** 2 if first.noise else 1.0
        return StackData(operator, values, weight)

    @property
    def noise(self) -> float:
        """Standard deviation of the noise, on the first stack's scale of intensities."""
        return self.measured.noise * self.measured.intensity.scale / self.gain

    def onto(self, first: PlacedStack, volume: np.ndarray) -> np.ndarray:
        """Return its own volume on the first one's grid; that one's values are not changed.

        Returns:
            (n, h, w), NaN where the stack saw nothing.
        """
        there = StackOperator(
            self.shape, self.thin, first.shape, first.thin, 0.0, None, dtype=np.float32
        )
        values = there(volume)
        values[~there.inside] = np.nan
        return values

    def facts(self, residual: float) -> dict[str, Any]:
        """Return a sidecar's entries about the stack."""
        geometry, found = self.measured.geometry, self.agreement
        assert geometry.slices is not None
        facts = {
            "ThickSlices": geometry.slices.facts(),
            "InPlaneMatrix": list(geometry.operator.out_shape),
            "SlicesInView": len(self.slices),
            "Noise": self.measured.noise,
            "Residual": residual,
        }
        if found is not None:
            facts |= {
                "Gain": found.gain,
                "Displacement": found.displacement,
                "Shift": list(found.shift),
                "Rotation": found.degrees,
                "Motion": found.motion.tolist(),
                "Correlation": found.correlation,
            }
        return facts


def _thin(affine: np.ndarray, thick: ThickSlices) -> np.ndarray:
    """Return the affine of thin slices, slices first, from that of the thick ones."""
    ratio = thick.samples / thick.slices
    result = affine.copy()
    result[:3, 0] /= ratio
    result[:3, 3] -= affine[:3, 0] * (0.5 - 0.5 / ratio)
    return result
