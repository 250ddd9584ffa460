"""Workspace of one input: names of outputs, locks, temporary files."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from mrcascade.io import SliceStore, StackOrder, output_folders
from mrcascade.jobs.common import Item, sr_targets
from mrcascade.jobs.request import SuperResolution
from mrcascade.storage.outputs import Claim, claim_result, only_writer


class Workspace:
    """Outputs and temporary files of one input.

    Used as a context manager, it locks the outputs against other processes and closes the
    temporary files at the end. These have no names and vanish with the process.

    Attributes:
        targets: output files by their content; the sidecar comes last.
        claim: claim of their names, held within the context.
        bytes: size of the temporary files.
    """

    claim: Claim

    def __init__(self, item: Item, output: Path, job: SuperResolution) -> None:
        """Find the names of the outputs. Raises MRCascadeError if one is taken; writes nothing."""
        self.targets = sr_targets(item, output, job)
        self._others = sr_targets(item, output, replace(job, samples=2))
        self._inputs, self._overwrite = item.paths, job.overwrite
        self._stack, self.bytes = ExitStack(), 0
        self._claim()

    @property
    def sidecar(self) -> Path:
        """The sidecar. If it is there, all other files are complete."""
        return self.targets["sidecar"]

    @property
    def folder(self) -> Path:
        """Folder of the result and of the temporary files."""
        return self.targets["result"].parent

    def __enter__(self) -> Workspace:
        with ExitStack() as stack:
            stack.enter_context(output_folders(list(self.targets.values())))
            stack.enter_context(only_writer(self.sidecar))
            self.claim = self._claim()  # only now, because nobody else can write any more
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def store(self, order: StackOrder, dtype: np.dtype) -> SliceStore:
        """Return an empty store of slices in a temporary file beside the result."""
        store = self._stack.enter_context(SliceStore(self.folder, order, dtype))
        self.bytes += math.prod(order.shape) * np.dtype(dtype).itemsize
        return store

    def _claim(self) -> Claim:
        return claim_result(
            list(self.targets.values()),
            self.sidecar,
            self._inputs,
            self._overwrite,
            self._others.values(),
        )
