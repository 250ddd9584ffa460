"""Restored slices of an input, in temporary files until they are published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.io import Display, SliceStore, StackOrder, as_stored, output_layout
from mrcascade.jobs.border import ExtendedStore
from mrcascade.jobs.common import IMAGES, PHASE
from mrcascade.jobs.measured import Measured
from mrcascade.jobs.opened import Opened
from mrcascade.jobs.preview import draw_preview
from mrcascade.jobs.request import Request
from mrcascade.jobs.result import Outcome, largest, misfit_warnings
from mrcascade.jobs.workspace import Workspace
from mrcascade.restore import Plan, Restoration
from mrcascade.restore.volume import RestoredVolume


class ResultStores(ABC):
    """Stores of the images of a result, by "result", and "sample" and "std" where there are some.

    Attributes:
        stores: the stores.
        outcome: summary of the work.
        batch_size: number of images that passed through the networks together.
    """

    batch_size: int

    def __init__(
        self,
        opened: Opened,
        measured: Measured,
        workspace: Workspace,
        request: Request,
        image: str = "slice",
    ) -> None:
        """Reserve disk space in ``workspace``.

        Args:
            opened: the input, with its header read.
            measured: its slices.
            workspace: makes the stores.
            request: job, prior and settings.
            image: what the networks evaluate, "slice" or "plane".
        """
        self._opened, self._measured, self._targets = opened, measured, workspace.targets
        self._request = request
        source, geometry = opened.source, measured.geometry
        shape = geometry.result_shape(source.shape)
        layout = output_layout(workspace.targets["result"], len(shape))
        order = StackOrder(shape, layout, geometry.axes)
        images = [key for key in IMAGES if key in workspace.targets]
        kinds: dict[str, np.dtype] = dict.fromkeys(images, source.dtype)
        if "std" in workspace.targets:
            kinds["std"] = np.dtype(np.float32)
        self.stores = {key: workspace.store(order, dtype) for key, dtype in kinds.items()}
        self.outcome = Outcome(measured.intensity, request.prior.compiler, image)

    def facts(self) -> dict[str, Any]:
        """Return the sidecar's entries about this kind of work."""
        return {}

    def warnings(self) -> list[str]:
        """Return lines about what may be wrong with the result."""
        return misfit_warnings([self.outcome])

    @abstractmethod
    def stored_residual(self) -> float:
        """Return the largest relative residual of the pixels as they are stored in the output."""

    @abstractmethod
    def draw(self, place: Path, display: Display, plane: str, unit: str) -> None:
        """Draw the preview; the arguments are those of `draw_preview`."""

    def _write(self, start: int, result: Restoration | RestoredVolume) -> None:
        """Store the images of a restoration, whose slices begin at ``start``."""
        for key, store in self.stores.items():
            values = {"result": result.mean, "sample": result.sample, "std": result.std}[key]
            assert values is not None  # a store for std exists only where there are samples
            store.write(start, values)

    def seen(self, number: int) -> np.ndarray:
        """Return a slice (1, H, W) of the result as a reader of the output will see it."""
        store: SliceStore = self.stores["result"]
        seen = store.read(number, number + 1)
        target = self._targets["result"]
        seen = as_stored(
            self._opened.source, target, seen, number, store.extremes, store.order.shape
        )
        if f"result{PHASE}" in self._targets:
            seen = np.abs(seen) * np.exp(1j * np.angle(seen))  # rounds as the stored pair
        return seen


class SliceResults(ResultStores):
    """Slices that were restored one by one, in plane."""

    def __init__(
        self,
        opened: Opened,
        measured: Measured,
        plan: Plan,
        workspace: Workspace,
        request: Request,
    ) -> None:
        """plan: plan of the restoration; the rest is that of `ResultStores`."""
        super().__init__(opened, measured, workspace, request)
        self._extended = ExtendedStore(self.stores["result"], plan, workspace)

    def add(self, start: int, piece: np.ndarray, result: Restoration) -> None:
        """Store the restoration of the slices ``piece`` (S, h, w), which begin at ``start``."""
        self._write(start, result)
        self._extended.write(start, result)
        self.outcome.add(result, piece)

    def stored_residual(self) -> float:
        measured, worst = self._measured, 0.0
        for number in range(len(measured)):
            piece = measured.slices.read(number, number + 1)
            residual = self._extended.residual(number, self.seen(number), piece, measured.intensity)
            worst = largest(residual, piece, measured.intensity, worst)
        return worst

    def draw(self, place: Path, display: Display, plane: str, unit: str) -> None:
        job, measured = self._request.job, self._measured
        draw_preview(place, job, measured, self.stores, display, plane, unit)
