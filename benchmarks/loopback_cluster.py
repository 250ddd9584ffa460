"""A Dask scheduler and its workers on this machine, each a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

_SOURCE = Path(__file__).parents[1] / "src"
WAIT = 60.0  # seconds after which a process that should end does not


class LoopbackCluster:
    """Scheduler and workers with one thread each; a context manager, whose end kills all.

    Attributes:
        address: address of the scheduler.
        workers: processes of the workers.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        """Start it. ``folder`` is the working folder of all processes."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address, self._folder = f"tcp://127.0.0.1:{port}", folder
        self._scheduler = self._start("scheduler", "--port", str(port))
        self.workers = [self._worker() for _ in range(workers)]

    def kill(self, number: int) -> None:
        """Kill a worker."""
        self.workers[number].kill()
        self.workers[number].wait(WAIT)

    def replace(self, number: int) -> None:
        """Start a new worker in the place of one that was killed."""
        self.workers[number] = self._worker()

    def _worker(self) -> subprocess.Popen[bytes]:
        return self._start("worker", self.address, "--nthreads", "1", "--no-nanny")

    def _start(self, kind: str, *words: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(_SOURCE), os.environ.get("PYTHONPATH", "")])
        common = ["--host", "127.0.0.1", "--no-dashboard"]
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words, *common],
            cwd=self._folder,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> LoopbackCluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self._scheduler):
            process.kill()
            process.wait(WAIT)
