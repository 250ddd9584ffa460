"""Reformatted planes of a volume: those that contain the axis along which slices are thick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mrcascade.evaluation.figure import Picture, choose_pictures
from mrcascade.evaluation.isotropic.survey import SurveyedVolume
from mrcascade.evaluation.isotropic.volumes import ThickCase

_KINDS = 2  # planes that contain an axis, for each axis


@dataclass(frozen=True)
class ReformattedPlane:
    """The middle plane along two array axes, of which slices are thick along the first."""

    axis: int
    other: int

    @property
    def axes(self) -> tuple[int, int]:
        """Array axes of the plane's rows and columns."""
        return self.axis, self.other


def view_of(axes: Sequence[int], number: int) -> ReformattedPlane:
    """Return the plane with a number, of a file whose slices are thick along ``axes`` in turn."""
    axis = axes[number // _KINDS]
    others = [a for a in range(3) if a != axis]
    return ReformattedPlane(axis, others[number % _KINDS])


def plane_of(volume: np.ndarray, case: ThickCase, view: ReformattedPlane) -> np.ndarray:
    """Return the pixels of a plane, rows along the slice axis, of (n, h, w) or (S, h, w)."""
    normal = 1 + (1 - case.others.index(view.other))  # axis of the array that the plane cuts
    return np.take(volume, volume.shape[normal] // 2, axis=normal)


def choose_planes_to_show(volumes: Sequence[SurveyedVolume]) -> list[Picture]:
    """Choose planes to show, spread over anatomies, files and kinds of planes."""
    files = [(v.file.name, v.file.anatomy, np.arange(_KINDS * len(v.axes))) for v in volumes]
    axes = {v.file.name: v.axes for v in volumes}
    pictures = choose_pictures(files)
    return [replace(p, label=_label(view_of(axes[p.file], p.number))) for p in pictures]


def _label(view: ReformattedPlane) -> str:
    return f"axes {view.axis},{view.other}, thick along {view.axis}"
