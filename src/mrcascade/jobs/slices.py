"""Restoration of the slices of an input, chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.jobs.common import input_seed
from mrcascade.jobs.measured import Measured
from mrcascade.jobs.memory import Batches, check_memory, default_batch, fitting_batch, image_bytes
from mrcascade.jobs.opened import Opened
from mrcascade.jobs.progress import Report, SliceProgress, SlicesDone
from mrcascade.jobs.request import Request
from mrcascade.jobs.results import SliceResults
from mrcascade.jobs.workspace import Workspace
from mrcascade.messages.faults import naming
from mrcascade.restore import Plan, Restoration, Restorer


def restore_slices(
    opened: Opened,
    measured: Measured,
    workspace: Workspace,
    request: Request,
    say: Report,
    progress: Callable[[int], SlicesDone],
) -> SliceResults:
    """Restore the slices of an input in plane.

    Args:
        opened: the input, with its header read.
        measured: its slices.
        workspace: makes the stores of the results.
        request: job, prior and settings.
        say: called with one line per decision.
        progress: as for `restore_file`.
    """
    plan = plan_of_slices(measured, request)
    chunks = Chunks(opened, measured, plan, request, say, progress)
    results = SliceResults(opened, measured, plan, workspace, request)
    for start, piece, result in chunks:
        results.add(start, piece, result)
    results.batch_size = chunks.batch_size
    return results


def plan_of_slices(measured: Measured, request: Request) -> Plan:
    """Return the plan of the restoration of slices in plane."""
    return Plan.of(
        request.prior,
        measured.geometry.operator,
        measured.noise,
        request.settings,
        measured.margins,
    )


def slices_per_chunk(batch: int, samples: int) -> int:
    """Return the smallest number of slices whose samples fill whole batches."""
    return batch // math.gcd(batch, samples)


class Chunks:
    """The slices of an input, restored a chunk at a time.

    An iteration yields the number of the first slice, the measured slices (S, h, w) and their
    restoration. Batches shrink when memory runs out.
    """

    def __init__(
        self,
        opened: Opened,
        measured: Measured,
        plan: Plan,
        request: Request,
        say: Report,
        progress: Callable[[int], SlicesDone],
    ) -> None:
        """Choose the size of batches. ``say`` and ``progress`` are those of `restore_slices`."""
        prior, job = request.prior, request.job
        self._path, self._measured = opened.source.file.path, measured
        self._samples, self._seed = job.samples, input_seed(job.seed, opened.source.sha256)
        size = _batch(opened, measured, plan, request, say)
        self._restorer = Restorer(prior, plan)
        self._step = slices_per_chunk(size, job.samples)
        self._batches = Batches(size, prior.device, say)
        self._progress = SliceProgress(plan.cascade, job.samples, progress(len(measured)))

    @property
    def batch_size(self) -> int:
        """Number of images that pass through the networks together."""
        return self._batches.size

    def __iter__(self) -> Iterator[tuple[int, np.ndarray, Restoration]]:
        for start, piece in self._measured.chunks(self._step):
            yield start, piece, self._restored(start, piece)
            self._progress.tell(start + len(piece))

    def _restored(self, start: int, piece: np.ndarray) -> Restoration:
        def restored(batch: int) -> Restoration:
            return self._restorer(
                piece,
                self._measured.intensity,
                samples=self._samples,
                seed=self._seed,
                numbers=range(start, start + len(piece)),
                batch_size=batch,
                callback=self._progress.chunk(start, len(piece)),
            )

        return self._batches.run(self._path, len(piece) * self._samples, restored)


def _batch(opened: Opened, measured: Measured, plan: Plan, request: Request, say: Report) -> int:
    prior, job = request.prior, request.job
    with naming(str(opened.source.file.path)):
        check_memory(prior, plan.cascade)
    images = len(measured) * job.samples
    return chosen_batch(job.batch_size, images, image_bytes(prior, plan.cascade), request, say)


def chosen_batch(
    wanted: int | None, images: int, per_image: int, request: Request, say: Report, held: int = 0
) -> int:
    """Return the batch size: as wanted, or the default, as far as memory allows.

    Args:
        wanted: upper limit; None for the default.
        images: number of images to restore.
        per_image: bytes that an image needs.
        request: gives the device.
        say: gets a line where fewer images than wanted fit.
        held: bytes of the arrays of a volume.
    """
    if wanted is not None and wanted < 1:
        raise MRCascadeError("the batch size must be 1 or more")
    device = request.prior.device
    batch = fitting_batch(wanted or default_batch(images, device), per_image, device, held)
    if wanted is not None and batch < wanted:
        say(f"batches of {batch} instead of {wanted}, which would need too much memory")
    return batch
