"""Workers of SLURM for `mrcascade ... --scheduler`: a Dask scheduler, and a job per worker.

    python examples/slurm_cluster.py --workers 16 --partition gpu --address-file scheduler.txt
    mrcascade sr cohort/ --factor 2 -o results --scheduler "$(cat scheduler.txt)"

Needs `pip install dask-jobqueue`. It runs until Ctrl-C, on a node that the compute nodes can reach;
ending it ends the workers. `--show` prints the script of a worker's job, and submits nothing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from dask_jobqueue import SLURMCluster


def slurm_cluster(options: argparse.Namespace) -> SLURMCluster:
    """Return a cluster whose jobs have one worker process each."""
    directives = [f"--gres=gpu:{options.gpus}"] if options.gpus else []
    return SLURMCluster(
        queue=options.partition,
        account=options.account,
        walltime=options.walltime,
        processes=1,  # one worker per job, with one GPU
        cores=options.threads,
        memory=options.memory,
        job_extra_directives=[*directives, "--requeue"],
        # A worker leaves before its job is killed; its task begins again on another one.
        worker_extra_args=["--lifetime", options.lifetime, "--lifetime-stagger", "5m"],
        local_directory="/tmp",
        log_directory="dask-logs",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--partition")
    parser.add_argument("--account")
    parser.add_argument("--walltime", default="04:00:00")
    parser.add_argument("--lifetime", default="225m", help="of a worker; below the walltime")
    parser.add_argument("--threads", type=int, default=8, help="of a worker")
    parser.add_argument("--memory", default="16 GB", help="of a worker")
    parser.add_argument("--gpus", type=int, default=0, help="of a worker: 0 or 1")
    parser.add_argument("--address-file", type=Path, default=Path("scheduler.txt"))
    parser.add_argument("--show", action="store_true", help="print a job and end")
    options = parser.parse_args()
    with slurm_cluster(options) as cluster:
        if options.show:
            print(cluster.job_script())
            return
        cluster.scale(jobs=options.workers)
        options.address_file.write_text(f"{cluster.scheduler_address}\n")
        print(cluster.scheduler_address, flush=True)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()
