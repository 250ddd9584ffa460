"""Restored volumes of an input, in temporary files until they are published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.io import Display, SliceStore
from mrcascade.jobs.measured import Measured
from mrcascade.jobs.opened import Opened
from mrcascade.jobs.preview import draw_volume_preview
from mrcascade.jobs.request import Request
from mrcascade.jobs.result import Outcome, misfit_warnings
from mrcascade.jobs.results import ResultStores
from mrcascade.jobs.workspace import Workspace
from mrcascade.restore.volume import RestoredVolume


class VolumeResults(ResultStores):
    """Volumes whose slices became thinner."""

    def __init__(
        self,
        opened: Opened,
        measured: Measured,
        slices: SliceStore,
        in_plane: Outcome | None,
        workspace: Workspace,
        request: Request,
    ) -> None:
        """Reserve disk space.

        Args:
            opened: the input, with its header read.
            measured: its slices.
            slices: the slices that the volumes meet: those of ``measured``, or these restored in
                plane.
            in_plane: summary of the restoration in plane; None without one.
            workspace: makes the stores.
            request: job, prior and settings.
        """
        super().__init__(opened, measured, workspace, request, "plane")
        self._slices, self._in_plane = slices, in_plane
        self._thick = measured.geometry.thick

    def add(self, number: int, result: RestoredVolume, piece: np.ndarray | None) -> None:
        """Store a restored volume by its number.

        piece: its slices (S, h, w); None where they are not all data that it has to meet.
        """
        self._write(number * self._thick.samples, result)
        self.outcome.add_volume(result, piece)

    def warnings(self) -> list[str]:
        before = [] if self._in_plane is None else [self._in_plane]
        return misfit_warnings([*before, self.outcome])

    def facts(self) -> dict[str, Any]:
        slices = self._measured.geometry.slices
        assert slices is not None  # as for `Geometry.thick`
        facts: dict[str, Any] = {"ThickSlices": slices.facts()}
        if self._in_plane is not None:
            facts["InPlane"] = {
                "Settings": {k: v for k, v in self._in_plane.settings.items() if k != "seed"},
                "Residual": self._in_plane.residual,
            }
        return facts

    def stored_residual(self) -> float:
        thick, intensity = self._thick, self._measured.intensity
        matrix, worst = thick.matrix(), 0.0
        for number in range(len(self._slices) // thick.slices):
            start = number * thick.slices
            y = intensity.above_zero(self._slices.read(start, start + thick.slices))
            left = y.astype(np.complex128 if np.iscomplexobj(y) else np.float64)
            size = np.linalg.norm(left)
            for place in range(thick.samples):
                (seen,) = self.seen(number * thick.samples + place)
                seen = intensity.above_zero(seen)
                for k in np.flatnonzero(matrix[:, place]):
                    left[k] -= matrix[k, place] * seen
            worst = max(worst, float(np.linalg.norm(left) / size) if size else 0.0)
        return worst

    def draw(self, place: Path, display: Display, plane: str, unit: str) -> None:
        draw_volume_preview(
            place,
            self._request.job,
            self._opened.source,
            self._measured,
            self._slices,
            self._thick,
            self.stores,
            unit,
        )
