"""Processes that train together: one alone, or several through Accelerate and torch.distributed.

Every process holds all weights, and follows the gradient of its part of each batch. The sum over
the processes is the gradient of the batch, so all of them take the same step. The main process
alone reads checkpoints, writes files and reports.
"""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from mrcascade.devices.launch import launched
from mrcascade.errors import MRCascadeError, ReportedElsewhere
from mrcascade.messages.faults import one_line

Result = TypeVar("Result")
MOST_LOSSES = 4  # losses of a step that are summed with its gradient
PATIENCE = timedelta(hours=2)  # how long processes wait for one that does not answer
_PLACE = ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what launchers say, beside RANK, WORLD_SIZE
# Settings of Accelerate's launcher that would have no effect, their values that mean nothing, and
# what takes their place.
_WITHOUT_EFFECT = {
    "ACCELERATE_USE_FSDP": ("false", "every process holds all weights; leave it out"),
    "ACCELERATE_USE_DEEPSPEED": ("false", "every process holds all weights; leave it out"),
    "ACCELERATE_USE_MEGATRON_LM": ("false", "every process holds all weights; leave it out"),
    "ACCELERATE_DYNAMO_BACKEND": ("no", "give --compile on instead"),
}


class Processes:
    """One process, which does all of the work.

    Attributes:
        number: number of this process, 0 for the main one.
        count: number of all processes.
        device: device of this process.
    """

    number, count = 0, 1

    def __init__(self, device: str | torch.device) -> None:
        self.device = torch.device(device)

    @property
    def main(self) -> bool:
        """Whether this is the main process."""
        return self.number == 0

    def part(self, batch: int) -> slice:
        """Return the patches of a batch that this process draws; parts differ by one at most.

        Raises MRCascadeError for fewer patches than processes.
        """
        if batch < self.count:
            raise MRCascadeError(
                f"a batch of {batch} patches cannot be shared by {self.count} processes; give a"
                " larger --batch-size or launch fewer"
            )
        ends = (batch * number // self.count for number in (self.number, self.number + 1))
        return slice(*ends)

    def everywhere(self, work: Callable[[], Result]) -> Result:
        """Do work in every process. An error in one of them is raised in all."""
        return work()

    def from_main(self, work: Callable[[], Result]) -> Result:
        """Do work in the main process, and return its result, or raise its error, in all."""
        return work()

    def on_main(self, work: Callable[[], object]) -> None:
        """Do work in the main process, while others go on.

        All processes raise its error when they meet next.
        """
        work()

    def total(
        self, work: Callable[[], dict[str, float]], weights: Iterable[Tensor]
    ) -> dict[str, float]:
        """Sum the gradients of ``weights``, and the losses, that ``work`` leaves in each process.

        Args:
            work: sets the gradients, and returns at most `MOST_LOSSES` losses by name.
            weights: weights of the step, the same in every process.

        Returns:
            The sums of the losses. An error in one process is raised in all.
        """
        return work()

    def finish(self) -> None:
        """Say that this process has no further work for the others, so that it may exit."""


class LaunchedProcesses(Processes):
    """Processes of a launcher, through Accelerate."""

    def __init__(self, device: str) -> None:
        """Meet the other processes.

        Args:
            device: "cpu", or "cuda" for the GPU of this process.

        Raises:
            MRCascadeError: Accelerate is missing, or the launcher's settings do not fit.
        """
        _check_settings(device)
        try:
            from accelerate import Accelerator
            from accelerate.utils import InitProcessGroupKwargs
        except ImportError as error:
            raise MRCascadeError(
                f"training in {launched()[1]} processes needs Accelerate: pip install"
                " 'mrcascade[distributed]'"
            ) from error
        with _together():
            self._accelerator = Accelerator(
                cpu=device == "cpu",
                mixed_precision="no",  # the losses have their own autocast, as in one process
                kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
            )
        super().__init__(self._accelerator.device)
        self.number, self.count = self._accelerator.process_index, self._accelerator.num_processes
        self._failure: str | None = None

    def everywhere(self, work: Callable[[], Result]) -> Result:
        result = self._attempt(work)
        self._agree()
        return result  # type: ignore[return-value]  # without a failure it is there

    def from_main(self, work: Callable[[], Result]) -> Result:
        from accelerate.utils import broadcast_object_list

        result = self.everywhere(work if self.main else _nothing)
        with _together():
            found: list[Any] = broadcast_object_list([result])
        return found[0]

    def on_main(self, work: Callable[[], object]) -> None:
        if self.main:
            self._attempt(work)

    def total(
        self, work: Callable[[], dict[str, float]], weights: Iterable[Tensor]
    ) -> dict[str, float]:
        weights = list(weights)
        losses = self._attempt(work) or {}
        if len(losses) > MOST_LOSSES:
            raise ValueError(f"{len(losses)} losses, but {MOST_LOSSES} at most are summed")
        values = [*losses.values(), *[0.0] * (MOST_LOSSES - len(losses))]
        # One message carries all, the number of failures included. A process that failed takes
        # part in it, with zeros, as the others would wait for it.
        told = weights[0].new_tensor([float(self._failure is not None), *values])
        gradients = [_gradient(w, self._failure is not None).flatten() for w in weights]
        with _together():
            summed = self._accelerator.reduce(torch.cat([told, *gradients]), "sum")
        failures, *sums = summed[: len(told)].tolist()
        if failures:
            self._agree()
        parts = summed[len(told) :].split([w.numel() for w in weights])
        for weight, part in zip(weights, parts, strict=True):
            if weight.grad is not None:
                weight.grad.copy_(part.view_as(weight))
        return dict(zip(losses, sums, strict=False))

    def finish(self) -> None:
        destroy = torch.distributed.destroy_process_group
        atexit.unregister(destroy)
        atexit.register(destroy)  # not now, as Accelerate keeps the group for further trainings

    def _attempt(self, work: Callable[[], Result]) -> Result | None:
        """Do work; note what failed, now or in earlier work of which the others do not know."""
        if self._failure is not None:
            return None
        try:
            return work()
        except Exception as error:
            self._failure = one_line(error)  # not the error, whose frames hold a batch in memory
            return None

    def _agree(self) -> None:
        """Raise an error in all processes if one has failed."""
        from accelerate.utils import gather_object

        with _together():
            found = gather_object([(self._failure, socket.gethostname())])
        self._failure = None
        failed = [(n, text, host) for n, (text, host) in enumerate(found) if text is not None]
        if not failed:
            return
        number, text, host = failed[0]
        if not self.main:
            raise ReportedElsewhere(text)
        place = f"process {number + 1} of {self.count}, on {host}: " if number else ""
        raise MRCascadeError(f"{place}{text}")


def join(device: str) -> Processes:
    """Return the processes that this one trains with; it waits for those of a launcher.

    device: "cpu", or "cuda" for the GPU of each process. A single process may have any other.
    """
    return LaunchedProcesses(device) if launched()[1] > 1 else Processes(device)


def _nothing() -> Any:
    """Do nothing, while the main process does its work."""


def _gradient(weight: Tensor, failed: bool) -> Tensor:
    return torch.zeros_like(weight) if failed or weight.grad is None else weight.grad


def _check_settings(device: str) -> None:
    for name, (plain, instead) in _WITHOUT_EFFECT.items():
        value = os.environ.get(name, plain)
        if value.lower() != plain:
            raise MRCascadeError(f"{name}={value} has no effect on mrcascade train: {instead}")
    if device not in ("cpu", "cuda"):
        raise MRCascadeError(
            f"--device {device}: each of {launched()[1]} processes takes its own GPU; give cuda or"
            " cpu"
        )
    missing = [name for name in _PLACE if not os.environ.get(name)]
    if missing:
        raise MRCascadeError(
            f"RANK and WORLD_SIZE are set, but not {' and '.join(missing)}; start the training with"
            " torchrun or accelerate launch"
        )
    if device == "cuda" and int(os.environ["LOCAL_RANK"]) >= torch.cuda.device_count():
        raise MRCascadeError(
            f"there are more processes than GPUs ({torch.cuda.device_count()}) on"
            f" {socket.gethostname()}; launch one for each GPU, or give --device cpu"
        )


@contextmanager
def _together() -> Iterator[None]:
    """Say in one line that another process did not take part."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise MRCascadeError(
            "another process of the training has ended or does not answer; with --resume the"
            " training goes on from its last checkpoint"
        ) from error
