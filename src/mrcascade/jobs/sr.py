"""Super-resolution of one file: open, measure, plan once, restore chunk by chunk, publish.

Data that grow with the number of slices lie in temporary files beside the outputs. These files have
no names and vanish with the process. Results get their names once all are complete.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.jobs.common import Item, input_seed
from mrcascade.jobs.measured import Measured, measure_input
from mrcascade.jobs.memory import Batches, check_memory, default_batch, fitting_batch, image_bytes
from mrcascade.jobs.opened import checked_item, open_input
from mrcascade.jobs.progress import Report, SliceProgress, SlicesDone
from mrcascade.jobs.publish import Publication
from mrcascade.jobs.request import Request
from mrcascade.jobs.results import Results
from mrcascade.jobs.workspace import Workspace
from mrcascade.messages.faults import naming
from mrcascade.restore import Restoration, Restorer


class Restored:
    """Restored slices of one input, in temporary files until they are published.

    Attributes:
        bytes: size of these files.
        folder: folder of these files.
    """

    def __init__(self, publication: Publication, workspace: Workspace, stack: ExitStack) -> None:
        """stack: closes everything that is open for the input."""
        self._publication, self._stack = publication, stack
        self.bytes, self.folder = workspace.bytes, workspace.folder

    def publish(self) -> tuple[list[Path], str]:
        """Write all files and close everything; if anything fails, no file appears.

        Returns:
            The names of the files, and a line about the work.
        """
        with self._stack:
            return self._publication.write()

    def discard(self) -> None:
        """Drop the restored slices and close everything."""
        self._stack.close()


def restore_file(
    item: Item,
    output: Path,
    request: Request,
    *,
    say: Report,
    progress: Callable[[int], SlicesDone],
) -> Restored:
    """Restore one file of a request without writing its outputs.

    Args:
        item: the input.
        output: folder of the results, or name of the result.
        request: job, prior and settings.
        say: called with one line per decision.
        progress: called with the number of slices; returns a function that is called with the
            number of slices done.

    Raises:
        MRCascadeError: the image cannot be read or restored, or outputs exist already.
    """
    item = checked_item(item)
    workspace = Workspace(item, output, request.job)
    with ExitStack() as stack:
        opened = open_input(item, request, workspace.targets["result"], stack)
        say(opened.describe())
        stack.enter_context(workspace)
        measured = measure_input(opened, workspace, request, say)
        path = item.image.path
        size = _batch(path, measured, request, say)
        compiler = request.prior.compiler
        results = Results(opened, measured, workspace, compiler)
        chunks = _Chunks(
            path,
            Restorer(request.prior, measured.plan),
            measured,
            request.job.samples,
            input_seed(request.job.seed, opened.source.sha256),
            Batches(size, request.prior.device, say),
            SliceProgress(measured.plan.cascade, request.job.samples, progress(len(measured))),
        )
        with nullcontext() if compiler is None else compiler.telling(say):
            for start, piece in measured.chunks(slices_per_chunk(size, request.job.samples)):
                results.add(start, piece, chunks.restore(start, piece))
                chunks.progress.tell(start + len(piece))
        if compiler and (failure := compiler.news()):
            say(failure)
        size = chunks.batches.size
        publication = Publication(request, workspace, opened, measured, results, size)
        return Restored(publication, workspace, stack.pop_all())
    raise AssertionError  # no context of the stack swallows an error


def slices_per_chunk(batch: int, samples: int) -> int:
    """Return the smallest number of slices whose samples fill whole batches."""
    return batch // math.gcd(batch, samples)


def _batch(path: Path, measured: Measured, request: Request, say: Report) -> int:
    prior, job, plan = request.prior, request.job, measured.plan.cascade
    if job.batch_size is not None and job.batch_size < 1:
        raise MRCascadeError("the batch size must be 1 or more")
    with naming(str(path)):
        check_memory(prior, plan)
    asked = job.batch_size or default_batch(len(measured) * job.samples, prior.device)
    batch = fitting_batch(asked, image_bytes(prior, plan), prior.device)
    if job.batch_size is not None and batch < job.batch_size:
        say(f"batches of {batch} instead of {job.batch_size}, which would need too much memory")
    return batch


class _Chunks:
    """Restores a volume chunk by chunk; ``batches`` shrink when memory runs out."""

    def __init__(
        self,
        path: Path,
        restorer: Restorer,
        measured: Measured,
        samples: int,
        seed: int,
        batches: Batches,
        progress: SliceProgress,
    ) -> None:
        self._path, self._restorer, self._intensity = path, restorer, measured.intensity
        self._samples, self._seed = samples, seed
        self.batches, self.progress = batches, progress

    def restore(self, start: int, piece: np.ndarray) -> Restoration:
        """Restore the slices ``piece`` (S, h, w), which begin at number ``start``."""

        def restored(batch: int) -> Restoration:
            return self._restorer(
                piece,
                self._intensity,
                samples=self._samples,
                seed=self._seed,
                numbers=range(start, start + len(piece)),
                batch_size=batch,
                callback=self.progress.chunk(start, len(piece)),
            )

        return self.batches.run(self._path, len(piece) * self._samples, restored)
