"""Volumes whose field of view was cut: what is said of it, and results that keep the margins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mrcascade.arrays.intensity import Intensity
from mrcascade.io import Axes, SliceStore
from mrcascade.jobs.workspace import Workspace
from mrcascade.measurement.border import Margins
from mrcascade.restore import Plan, Restoration, relative_residual


def describe_margins(margins: Margins, axes: Axes) -> str:
    """Say along which axes of the image the field of view was cut, and what is done about it."""
    pairs = zip(axes, (margins.rows, margins.columns), strict=True)
    parts = [f"axis {axis} by {sum(pair)} samples" for axis, pair in pairs if any(pair)]
    return (
        f"the field of view cuts the anatomy; extended smoothly along {' and '.join(parts)},"
        " restored, and cropped"
    )


class ExtendedStore:
    """A volume of results and, where it has margins, the same slices with them.

    Data consistency holds on the extended grid, so that the residual needs the margins.
    """

    def __init__(self, store: SliceStore, plan: Plan, workspace: Workspace) -> None:
        """store: of the results without margins. plan: by which they are restored. The extended
        slices lie in a store of `workspace`."""
        self.store = store
        self._margins, self._operator = plan.margins, plan.cascade.operator
        self._inside = (slice(None), *plan.margins.inside(plan.operator))
        self._extended: SliceStore | None = None
        if plan.margins:
            order = store.order
            sides = dict(zip(order.axes, self._operator.in_shape, strict=True))
            shape = tuple(sides.get(axis, n) for axis, n in enumerate(order.shape))
            self._extended = workspace.store(replace(order, shape=shape), store.dtype)

    def write(self, start: int, result: Restoration) -> None:
        """Keep the extended slices of a restoration, from number `start` on."""
        if self._extended is not None and result.extended is not None:
            self._extended.write(start, result.extended)

    def residual(
        self, number: int, seen: np.ndarray, measured: np.ndarray, intensity: Intensity
    ) -> np.ndarray:
        """The relative residual of slice `number` (1, H, W), were it `seen` within its margins."""
        if self._extended is not None:
            whole = self._extended.read(number, number + 1)
            whole = whole.astype(np.result_type(whole, seen))
            whole[self._inside] = seen
            seen = whole
        seen, measured = intensity.above_zero(seen), intensity.above_zero(measured)
        return relative_residual(seen, measured, self._operator, self._margins)
