"""Methods that make thick slices isotropic: two without a prior, and the modes of the cascade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.methods import CASCADE, METHODS, Method, find_method
from mrcascade.restore.volume import ThickSlices, along, least_squares


@dataclass(frozen=True)
class VolumeMethod:
    """A method for volumes of thick slices.

    Attributes:
        about: description in the report.
        plain: makes the volume (n, h, w) of the slices (S, h, w); None for a mode.
        mode: the method for slices whose sampler works in the planes along the slice axis.
    """

    about: str
    plain: Callable[[np.ndarray, ThickSlices], np.ndarray] | None = None
    mode: Method | None = None

    @property
    def sampled(self) -> bool:
        """Whether the method takes T steps."""
        return self.mode is not None and self.mode.sampled

    @property
    def averaged(self) -> bool:
        """Whether the mean of K samples is scored instead of one sample."""
        return self.mode is not None and self.mode.averaged

    @property
    def draws(self) -> bool:
        """Whether results depend on the seed."""
        return self.mode is not None and self.mode.draws


def cubic_spline(measurement: np.ndarray, thick: ThickSlices) -> np.ndarray:
    """Interpolate slices (S, h, w) by cubic B-splines along the slice axis to (n, h, w).

    Both grids span the same field of view, and the last slice goes on beyond its centre.
    """
    from scipy.ndimage import map_coordinates

    n, slices = thick.samples, thick.slices
    places = [(np.arange(n) + 0.5) * slices / n - 0.5]
    unit = np.eye(slices)
    columns = [map_coordinates(one, places, order=3, mode="nearest") for one in unit]
    return along(np.stack(columns, axis=1), measurement)


PLAIN = {
    "cubic": VolumeMethod("cubic B-spline along the slice axis", cubic_spline),
    "lsq": VolumeMethod(
        "least squares with the slice profile, smooth along the slice axis, projected onto the"
        " slices",
        least_squares,
    ),
}
#: Methods for slices that also work in the planes along the slice axis.
MODES_ALONG = tuple(n for n, m in METHODS.items() if m.prior == CASCADE and m.coarsest is None)


def find_volume_method(name: str) -> VolumeMethod:
    """Return the method called ``name``: "cubic", "lsq", or one of `MODES_ALONG`.

    Settings may follow the name of a mode, as in ``mean:orientations=8``. Raises MRCascadeError
    for unknown methods, settings and values.
    """
    base, *changes = name.split(":")
    if base in PLAIN and not changes:
        return PLAIN[base]
    if base in PLAIN:
        raise MRCascadeError(f"method {name!r}: {base} has no settings")
    if base not in MODES_ALONG:
        known = ", ".join((*PLAIN, *MODES_ALONG))
        raise MRCascadeError(f"unknown method {base!r} for thick slices: choose from {known}")
    mode = find_method(name)
    return VolumeMethod(f"{mode.about}, in both planes along the slice axis", mode=mode)


def choose_volume_methods(names: Sequence[str]) -> dict[str, VolumeMethod]:
    """Return the methods by name, each once. Raises MRCascadeError for unknown ones."""
    return {name: find_volume_method(name) for name in names}
