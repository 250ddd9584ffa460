"""Processes that share out the tasks of a job, behind one `concurrent.futures.Executor` seam.

`Workers` does tasks on any executor. `LocalWorkers` are processes of this machine, and
`ClusterWorkers` those of a Dask cluster.
"""

from __future__ import annotations

from collections.abc import Callable

from mrcascade.executors.local import LocalWorkers
from mrcascade.executors.seam import Workers


def open_workers(
    count: int, device: str, scheduler: str | None, say: Callable[[str], None]
) -> Workers:
    """Return the processes of a command, as a context manager.

    Args:
        count: number of local processes.
        device: "cuda" or "cpu".
        scheduler: address of a Dask scheduler; its workers then take the place of local ones.
        say: called with one line about the processes, now and then.

    Raises:
        MRCascadeError: the cluster cannot be used.
    """
    if scheduler is None:
        return LocalWorkers(count, device)
    from mrcascade.executors.cluster import ClusterWorkers

    return ClusterWorkers(scheduler, say)
