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
    """

    device: str
    precision: str
    workers: int
    scheduler: str | None

    def here(self, tasks: int) -> bool:
        """Whether this process does the work if there are ``tasks`` tasks."""
        return self.scheduler is None and min(self.workers, tasks) <= 1


def add_sharing(parser: Group) -> None:
    """Add ``--workers`` and ``--scheduler``."""
    computing.add_workers(parser)
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask scheduler, such as tcp://host:8786, whose workers share the work; they need the"
        " same files (pip install 'mrcascade[cluster]')",
    )


def sharing_of(arguments: argparse.Namespace, precision: str) -> Sharing:
    """Return who does the work, with "auto" resolved by them.

    Args:
        arguments: parsed words of a command with `add_sharing` and ``--device``.
        precision: precision to resolve.

    Raises:
        MRCascadeError: a device cannot be used, or the cluster cannot.
    """
    if arguments.scheduler is None:
        device = computing.resolve_device(arguments.device)
        chosen = computing.choose_precision(precision, device)
        return Sharing(device, chosen, computing.resolve_workers(arguments.workers, device), None)
    if arguments.workers is not None:
        raise MRCascadeError(
            "--workers counts processes of this machine; with --scheduler leave it out"
        )
    from mrcascade.executors.cluster import ClusterWorkers

    with ClusterWorkers(arguments.scheduler, terminal.note) as workers:
        device, chosen = workers.agreed(arguments.device, precision)
        return Sharing(device, chosen, workers.at_once, arguments.scheduler)
