"""Volumes with anatomy beyond the field of view: messages, and results that keep margins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mrcascade.arrays.intensity import Intensity
from mrcascade.io import Axes, SliceStore
from mrcascade.jobs.workspace import Workspace
from mrcascade.measurement.border import Margins
from mrcascade.restore import Plan, Restoration, relative_residual


def describe_margins(margins: Margins, axes: Axes) -> str:
    """Return a line that names the axes along which the field of view cuts the anatomy."""
    pairs = zip(axes, (margins.rows, margins.columns), strict=True)
    parts = [f"axis {axis} by {sum(pair)} samples" for axis, pair in pairs if any(pair)]
    return (
        f"the field of view cuts the anatomy; extended smoothly along {' and '.join(parts)},"
        " restored, and cropped"
    )


class ExtendedStore:
    """A volume of results together with its margins, if it has any.

    Data consistency holds on the extended grid, so the residual needs the margins.
    """

    def __init__(self, store: SliceStore, plan: Plan, workspace: Workspace) -> None:
        """Make the store of the extended slices.

        Args:
            store: store of the results without margins.
            plan: plan of their restoration.
            workspace: makes the store of the extended slices.
        """
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
        """Store the extended slices of a restoration, from number `start` on."""
        if self._extended is not None and result.extended is not None:
            self._extended.write(start, result.extended)

    def residual(
        self, number: int, seen: np.ndarray, measured: np.ndarray, intensity: Intensity
    ) -> np.ndarray:
        """Return the relative residual (1,) of slice `number`, with its stored margins.

        Args:
            number: index of the slice.
            seen: (1, H, W), the slice as a reader of the output sees it.
            measured: (1, h, w), its measurement.
            intensity: intensity of the volume.
        """
        if self._extended is not None:
            whole = self._extended.read(number, number + 1)
            whole = whole.astype(np.result_type(whole, seen))
            whole[self._inside] = seen
            seen = whole
        seen, measured = intensity.above_zero(seen), intensity.above_zero(measured)
        return relative_residual(seen, measured, self._operator, self._margins)
