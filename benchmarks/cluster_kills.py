"""Batches of `sr` on a Dask cluster whose workers are killed, compared with a serial run.

    python benchmarks/cluster_kills.py --volumes 200 --seconds 30

Two workers on this machine restore small volumes. Every few seconds one of them, drawn at random,
gets SIGKILL, and a new one takes its place. Prints how many outputs are there, and whether they
are those of a serial run, bit for bit; exits with 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from loopback_cluster import LoopbackCluster

WORKERS = 2


def command(root: Path, output: str, options: argparse.Namespace, *more: str) -> list[str]:
    words = [sys.executable, "-m", "mrcascade", "sr", str(root / "in"), "-o", str(root / output)]
    words += ["--factor", "2", "--noise", "0", "--mode", options.mode, "--device", "cpu"]
    return words + (["--steps", str(options.steps)] if options.steps else []) + list(more)


def outputs(folder: Path) -> dict[str, bytes]:
    """Return the files of a batch, without its record and its report, which contain the time."""
    files = (path for path in folder.rglob("*") if path.is_file())
    timed = ("run.json", "report.html")
    kept = (path for path in files if path.name not in timed and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def write_volumes(folder: Path, count: int, side: int) -> None:
    folder.mkdir()
    for seed in range(count):
        noise = np.random.default_rng(seed).normal(size=(side, side, 1))
        np.save(folder / f"{seed:04d}.npy", np.abs(60 + 15 * noise).astype(np.float32))


def kill_now_and_then(
    cluster: LoopbackCluster, seconds: float, rng: random.Random, ended: threading.Event
) -> list[float]:
    """Kill a worker every ``seconds`` until the batch has ended; return the times of the kills."""
    kills: list[float] = []
    while not ended.wait(seconds):
        number = rng.randrange(WORKERS)
        cluster.kill(number)
        kills.append(time.monotonic())
        cluster.replace(number)
    return kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0, help="between two kills")
    parser.add_argument("--side", type=int, default=32, help="of a volume's one slice")
    parser.add_argument("--mode", default="sample")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_volumes(root / "in", options.volumes, options.side)
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        serial = command(root, "serial", options, "--workers", "1")
        subprocess.run(serial, check=True, env=one_thread, stdout=subprocess.DEVNULL)
        ended, kills = threading.Event(), []
        rng, started = random.Random(options.seed), time.monotonic()
        with LoopbackCluster(root, WORKERS) as cluster:
            shared = command(root, "shared", options, "--scheduler", cluster.address)
            with subprocess.Popen(shared, env=one_thread, stdout=subprocess.DEVNULL) as process:
                killer = threading.Thread(
                    target=lambda: kills.extend(
                        kill_now_and_then(cluster, options.seconds, rng, ended)
                    )
                )
                killer.start()
                code = process.wait()
                ended.set()
                killer.join()
        seconds = time.monotonic() - started
        expected, found = outputs(root / "serial"), outputs(root / "shared")
        if code not in (0, 1):
            raise SystemExit(f"the batch ended with {code}")
        record = json.loads((root / "shared" / "run.json").read_text())
        done = sum(result["Status"] == "done" for result in record["Results"])
    equal = sum(found.get(name) == content for name, content in expected.items())
    print(
        f"{options.volumes} volumes in {seconds:.0f} s with {len(kills)} workers killed: exit code"
        f" {code}, {done} done, {equal} of {len(expected)} files equal to those of a serial run,"
        f" {len(found.keys() - expected.keys())} others"
    )
    right = code == 0 and found == expected and done == options.volumes
    raise SystemExit(0 if right else 1)


if __name__ == "__main__":
    main()
