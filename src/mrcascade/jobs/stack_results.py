"""The volume of several stacks, in temporary files until it is published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcascade.jobs.measured import Measured
from mrcascade.jobs.opened import Opened
from mrcascade.jobs.placed_stack import PlacedStack
from mrcascade.jobs.request import Request
from mrcascade.jobs.result import source_identity
from mrcascade.jobs.volume_results import VolumeResults
from mrcascade.jobs.workspace import Workspace
from mrcascade.restore.volume import StackData


class StackResults(VolumeResults):
    """A volume with thin slices that several stacks have in common."""

    def __init__(
        self,
        opened: Opened,
        measured: Measured,
        workspace: Workspace,
        request: Request,
        stacks: Sequence[PlacedStack],
        data: Sequence[StackData],
    ) -> None:
        """Reserve disk space.

        Args:
            opened: the first stack, with its header read.
            measured: its slices.
            workspace: makes the stores.
            request: job, prior and settings.
            stacks: all stacks, the first one included.
            data: the same as data of the volume.
        """
        super().__init__(opened, measured, measured.slices, None, workspace, request)
        self._stacks, self._data = stacks, data
        self.residuals: list[float] = []

    def facts(self) -> dict[str, Any]:
        job, names = self._request.job, []
        stacks = []
        for number, (one, residual) in enumerate(zip(self._stacks, self.residuals, strict=True)):
            files = one.opened.source.file.file_names
            names += files
            named = {"Number": number} if job.deidentify else {"Sources": files}
            stacks.append(named | one.facts(residual))
        first, *others = (one.opened.source.sha256 for one in self._stacks)
        identity = source_identity(first, job, others)
        sources = {} if job.deidentify else {"Sources": names}
        return super().facts() | sources | identity | {"Stacks": stacks}

    def stored_residual(self) -> float:
        zero = self._measured.intensity.zero
        volume = np.concatenate([self.seen(place) for place in range(self._thick.samples)])
        volume = volume.astype(np.float32) - np.float32(zero)
        return max(one.residual(volume) for one in self._data)
