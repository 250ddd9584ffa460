"""Restored slices of an input, in temporary files until they are published."""

from __future__ import annotations

import numpy as np

from mrcascade.io import SliceStore, StackOrder, as_stored, output_layout
from mrcascade.jobs.border import ExtendedStore
from mrcascade.jobs.common import IMAGES, PHASE
from mrcascade.jobs.measured import Measured
from mrcascade.jobs.opened import Opened
from mrcascade.jobs.result import Outcome, largest
from mrcascade.jobs.workspace import Workspace
from mrcascade.networks.compiled import Compiler
from mrcascade.restore import Restoration


class Results:
    """Restored slices of an input.

    Attributes:
        stores: slices by "result" and, for several samples, "sample" and "std".
        outcome: summary of the chunks.
    """

    def __init__(
        self,
        opened: Opened,
        measured: Measured,
        workspace: Workspace,
        compiler: Compiler | None = None,
    ) -> None:
        """Reserve disk space in ``workspace``. compiler: compiler of the networks, if any."""
        self._opened, self._measured, self._targets = opened, measured, workspace.targets
        source, geometry = opened.source, measured.geometry
        shape = geometry.result_shape(source.shape)
        layout = output_layout(workspace.targets["result"], len(shape))
        order = StackOrder(shape, layout, geometry.axes)
        images = [key for key in IMAGES if key in workspace.targets]
        kinds: dict[str, np.dtype] = dict.fromkeys(images, source.dtype)
        if "std" in workspace.targets:
            kinds["std"] = np.dtype(np.float32)
        self.stores = {key: workspace.store(order, dtype) for key, dtype in kinds.items()}
        self._extended = ExtendedStore(self.stores["result"], measured.plan, workspace)
        self.outcome = Outcome(measured.intensity, compiler)

    def add(self, start: int, piece: np.ndarray, result: Restoration) -> None:
        """Store the restoration of the slices ``piece`` (S, h, w), which begin at ``start``."""
        for key, store in self.stores.items():
            values = {"result": result.mean, "sample": result.sample, "std": result.std}[key]
            assert values is not None  # a store for std exists only where there are samples
            store.write(start, values)
        self._extended.write(start, result)
        self.outcome.add(result, piece)

    def stored_residual(self) -> float:
        """Return the largest relative residual of the slices as they are stored in the output."""
        measured, worst = self._measured, 0.0
        for number in range(len(measured)):
            piece = measured.slices.read(number, number + 1)
            residual = self._extended.residual(
                number, self._seen(number), piece, measured.intensity
            )
            worst = largest(residual, piece, measured.intensity, worst)
        return worst

    def _seen(self, number: int) -> np.ndarray:
        store: SliceStore = self.stores["result"]
        seen = store.read(number, number + 1)
        seen = as_stored(self._opened.source, self._targets["result"], seen, number, store.extremes)
        if f"result{PHASE}" in self._targets:
            seen = np.abs(seen) * np.exp(1j * np.angle(seen))  # rounds as the stored pair
        return seen
