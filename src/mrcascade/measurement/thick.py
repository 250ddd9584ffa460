"""What an image says of its slices: how far apart they are, and how thick.

It decides how many thinner slices of the same field of view a volume of thick slices becomes. This
module does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.arrays.factors import MOST_RATIO, factor_label
from mrcascade.errors import MRCascadeError
from mrcascade.io import Axes, Source, resampled_affine, stated_slices
from mrcascade.operators.profile import GAUSSIAN, SliceProfile

#: Mode that restores thick slices without a prior, by least squares with the slice profile.
LEAST_SQUARES = "lsq"
#: Fewest slices of a stack. Two do not say how the anatomy goes on between thick slices.
LEAST_SLICES = 3
#: Smallest ratio of slice distance to the new one. Below it, a header's rounding and a scan with
#: voxels of 1 x 1 x 1.04 mm would count as thick slices, for one new slice in twenty-five.
LEAST_RATIO = 1.05
# Relative difference of thickness and distance, or of two statements, that is no rounding.
_SAME = 0.02
# Thickness over distance beyond which a unit is wrong.
_THICKEST = 4.0
# Edges of the field of view stay where they are.
_EDGES = "area"


@dataclass(frozen=True)
class Isotropic:
    """What is asked of thick slices.

    Attributes:
        spacing: distance of the new slices (mm); None for the smaller side of the result's pixels,
            or an eighth of the slices' distance where that is more.
        thickness: thickness of the slices (mm); None for what the image states, else the distance
            of its slices.
        profile: profile of the slices.

    Raises:
        MRCascadeError: a number is not above 0.
    """

    spacing: float | None = None
    thickness: float | None = None
    profile: SliceProfile = GAUSSIAN

    def __post_init__(self) -> None:
        for value, name in ((self.spacing, "spacing"), (self.thickness, "thickness")):
            if value is not None and not 0 < value < math.inf:
                raise MRCascadeError(f"{name} {value:g} mm: must be above 0")


def result_label(
    factor: Sequence[float], isotropic: Isotropic | None, combined: bool = False
) -> str:
    """Label of a result in file names: ``sr4x``, ``sriso``, ``sriso0p8mm`` or ``sr2xiso``.

    A volume of several stacks, which is ``combined``, has ``srisostacks`` or ``sriso0p8mmstacks``.
    """
    label = "sr" if isotropic and max(factor) == 1 else f"sr{factor_label(factor)}"
    if isotropic is None:
        return label
    spacing = "" if isotropic.spacing is None else f"{isotropic.spacing:g}mm"
    spacing = spacing.replace(".", "p").replace("-", "m").replace("+", "")
    return f"{label}iso{spacing}{'stacks' if combined else ''}"


@dataclass(frozen=True)
class SliceGrid:
    """Slices of an image, and the thinner ones that take their place in the same field of view.

    Attributes:
        axis: array axis that the slices follow.
        slices: number of slices per volume.
        samples: number of new slices.
        distance: distance of the slices' centres (mm).
        thickness: slice thickness (mm).
        thickness_by: where the thickness is from, in words.
        profile: profile of a slice.
        asked: distance of new slices that was asked for (mm). The field of view is a whole number
            of new slices, so that ``spacing`` may differ a little.
        notes: lines about contradictions, gaps and overlaps.
    """

    axis: int
    slices: int
    samples: int
    distance: float
    thickness: float
    thickness_by: str
    profile: SliceProfile
    asked: float
    notes: tuple[str, ...] = ()

    @property
    def spacing(self) -> float:
        """Distance of the new slices (mm), which are as thick as that."""
        return self.distance * self.slices / self.samples

    def affine(self, affine: np.ndarray) -> np.ndarray:
        """Return the affine of the new slices from that of the slices, whose outer edges stay."""
        other = (self.axis + 1) % 3
        return resampled_affine(
            affine, (self.axis, other), _EDGES, (self.slices, 1), (self.samples, 1)
        )

    def describe(self) -> str:
        """Return a line about the slices, before and after."""
        return (
            f"{self.slices} slices of {self.thickness:.4g} mm ({self.thickness_by}),"
            f" {self.distance:.4g} mm apart along axis {self.axis}, become {self.samples} of"
            f" {self.spacing:.4g} mm; {self.profile.name} profile"
        )

    def facts(self) -> dict[str, Any]:
        """Return a sidecar's entries about the slices that were restored."""
        return {
            "Axis": self.axis,
            "Slices": self.slices,
            "SliceThickness": self.thickness,
            "SliceThicknessOrigin": self.thickness_by,
            "SpacingBetweenSlices": self.distance,
            "Profile": self.profile.name,
            "SpacingAsked": self.asked,
            **({"Notes": list(self.notes)} if self.notes else {}),
        }

    def metadata(self) -> dict[str, float]:
        """Return the metadata of the new slices, by the names of BIDS."""
        return {"SliceThickness": self.spacing, "SpacingBetweenSlices": self.spacing}


def slice_grid(source: Source, axes: Axes, asked: Isotropic, pixels: Sequence[float]) -> SliceGrid:
    """Find the slices of an image, and how many new ones take their place.

    Positions decide the distance of slices: the affine. The thickness is, in this order, the one
    that was asked for, `SliceThickness` of the DICOM header or the JSON file, the distance.

    Args:
        source: the open image.
        axes: in-plane axes (rows, columns).
        asked: what is asked for.
        pixels: sides of the result's pixels (mm).

    Raises:
        MRCascadeError: the image is no stack of thick slices with known places, or the new
            distance does not suit it.
    """
    where, shape = source.source, source.shape
    axis = next((a for a in range(min(len(shape), 3)) if a not in axes), None)
    if axis is None or shape[axis] == 1:
        raise MRCascadeError(
            f"{where} is a single slice; --isotropic needs a stack of at least {LEAST_SLICES}"
        )
    slices = shape[axis]
    if slices < LEAST_SLICES:
        raise MRCascadeError(
            f"{where} has {slices} slices; --isotropic needs at least {LEAST_SLICES}"
        )
    if source.affine is None:
        raise MRCascadeError(
            f"{where} does not state its voxel sizes, which --isotropic needs; write it as NIfTI"
            " with its affine"
        )
    stated = stated_slices(source)
    if stated.irregular:
        raise MRCascadeError(
            f"{where}: {stated.irregular}, and --isotropic needs equal distances; a slice may be"
            " missing: export it again"
        )
    distance = _distance(source.affine, axis, axes)
    spacing, coarser = _spacing(asked, distance, pixels)
    samples = _samples(where, slices, distance, spacing, asked.spacing is None)
    thickness, origin = distance, "assumed: as thick as they are apart"
    if asked.thickness is not None:
        thickness, origin = asked.thickness, "--slice-thickness"
    elif stated.thickness is not None:
        least, most = stated.thickness
        if most > least * (1 + _SAME):
            raise MRCascadeError(
                f"{where}: its slices are {least:.4g} to {most:.4g} mm thick by {stated.by}; give"
                " one thickness with --slice-thickness MM"
            )
        thickness, origin = least, f"by {stated.by}"
    if thickness > _THICKEST * distance:
        raise MRCascadeError(
            f"{where}: slices {thickness:.4g} mm thick ({origin}) and {distance:.4g} mm apart; give"
            " the right thickness with --slice-thickness MM"
        )
    unread = [f"{name} by {stated.by} is no length, and does not count" for name in stated.unread]
    notes = [
        *unread,
        *coarser,
        *_contradiction(stated.distance, distance, stated.by),
        *_gap(thickness, distance),
    ]
    return SliceGrid(
        axis, slices, samples, distance, thickness, origin, asked.profile, spacing, tuple(notes)
    )


def _distance(affine: np.ndarray, axis: int, axes: Axes) -> float:
    """Return the distance of neighbouring planes, which need not be perpendicular to the axis."""
    normal = np.cross(affine[:3, axes[0]], affine[:3, axes[1]])
    return float(abs(normal @ affine[:3, axis]) / np.linalg.norm(normal))


def _spacing(asked: Isotropic, distance: float, pixels: Sequence[float]) -> tuple[float, list[str]]:
    """Return the distance of new slices, and a line where pixels are too small for slices alike."""
    if asked.spacing is not None:
        return asked.spacing, []
    finest, pixel = distance / MOST_RATIO, min(pixels)
    if pixel >= finest:
        return pixel, []
    line = (
        f"slices of {pixel:.4g} mm, as its pixels have, would be more than {MOST_RATIO} for each;"
        f" the new ones are {finest:.4g} mm apart"
    )
    return finest, [line]


def _samples(where: Path, slices: int, distance: float, spacing: float, own: bool) -> int:
    """Return the number of new slices; ``own`` says whether the spacing is that of the pixels."""
    asked = f"its pixels have {spacing:.4g} mm" if own else f"{spacing:.4g} mm are asked for"
    samples = round(slices * distance / spacing)
    if distance < LEAST_RATIO * spacing or samples == slices:
        found = f"{where}: {slices} slices {distance:.4g} mm apart and {asked}"
        if not own:
            most = distance * min(1 / LEAST_RATIO, slices / (slices + 1))
            raise MRCascadeError(
                f"{found}, which makes none thinner; give --isotropic {most:.4g} or less"
            )
        raise MRCascadeError(
            f"{found}, so that it is isotropic already; --factor enlarges it in plane, --isotropic"
            " MM makes finer slices"
        )
    if samples > MOST_RATIO * slices:
        raise MRCascadeError(
            f"{where}: its slices are {distance:.4g} mm apart and {asked}, more than"
            f" {MOST_RATIO} new slices for each; give --isotropic {distance / MOST_RATIO:.4g} or"
            " more"
        )
    return samples


def _contradiction(stated: float | None, distance: float, by: str) -> list[str]:
    if stated is None or abs(stated - distance) <= _SAME * distance:
        return []
    return [
        f"SpacingBetweenSlices is {stated:.4g} mm by {by}, but their positions are"
        f" {distance:.4g} mm apart, which counts"
    ]


def _gap(thickness: float, distance: float) -> list[str]:
    difference = distance - thickness
    if abs(difference) <= _SAME * distance:
        return []
    if difference > 0:
        return [f"between slices are gaps of {difference:.4g} mm, which nothing measured"]
    return [f"slices overlap by {-difference:.4g} mm"]
