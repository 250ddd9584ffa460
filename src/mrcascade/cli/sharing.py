"""Who does the work of a command: this process, local ones, or the workers of a Dask cluster."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from mrcascade.cli import computing, terminal
from mrcascade.cli.help import Group
from mrcascade.errors import MRCascadeError


@dataclass(frozen=True)
class Sharing:
    """Processes of a command.

    Attributes:
        device: device of each process; "cuda" gives each local one a GPU of its own.
        precision: precision of the networks.
        workers: number of processes; those of a cluster are counted at the start.
        scheduler: address of a Dask scheduler; None for processes of this machine.
        least: tasks from which several processes do the work.
    """

    device: str
    precision: str
    workers: int
    scheduler: str | None
    least: int = 2

    def here(self, tasks: int) -> bool:
        """Whether this process does the work if there are ``tasks`` tasks."""
        return self.scheduler is None and (self.workers <= 1 or tasks < self.least)


def add_sharing(parser: Group, more: str = "") -> None:
    """Add ``--workers`` and ``--scheduler``; ``more`` is that of `computing.add_workers`."""
    computing.add_workers(parser, more)
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask scheduler, such as tcp://host:8786, whose workers share the work; they need the"
        " same files (pip install 'mrcascade[cluster]')",
    )


def sharing_of(arguments: argparse.Namespace, precision: str, batch: bool = False) -> Sharing:
    """Return who does the work, with "auto" resolved by them.

    Args:
        arguments: parsed words of a command with `add_sharing` and ``--device``.
        precision: precision to resolve.
        batch: whether tasks are files that several processes share by default on a CPU, too.

    Raises:
        MRCascadeError: a device cannot be used, or the cluster cannot.
    """
    if arguments.scheduler is None:
        device = computing.resolve_device(arguments.device)
        chosen = computing.choose_precision(precision, device)
        count = computing.resolve_workers(arguments.workers, device, batch)
        if arguments.workers is not None or device != "cpu":
            return Sharing(device, chosen, count, None)
        from mrcascade.executors.local import SHARED_FILES

        return Sharing(device, chosen, count, None, SHARED_FILES)
    if arguments.workers is not None:
        raise MRCascadeError(
            "--workers counts processes of this machine; with --scheduler leave it out"
        )
    from mrcascade.executors.cluster import ClusterWorkers

    with ClusterWorkers(arguments.scheduler, terminal.note) as workers:
        device, chosen = workers.agreed(arguments.device, precision)
        return Sharing(device, chosen, workers.at_once, arguments.scheduler)
