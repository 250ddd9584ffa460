"""Kill a batch or a training at random moments, resume it, and compare the results.

    python benchmarks/kill_resume.py --times 50
    python benchmarks/kill_resume.py --training --times 20

The batch restores three small volumes with the bundled prior in mode ``paper``. Each time it is
killed (SIGKILL) at a random moment and then resumed. Outputs and sidecars must equal those of an
undisturbed run.

The training (``--training``) runs in two processes under torchrun. One run is killed at as many
random steps, each time in a random process, and resumed from its last checkpoint. Its log, which
is the loss curve, and its weights must equal those of an undisturbed run bit for bit.

Prints how many are equal, and exits with code 1 if any differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from training_job import LEVEL, launched_job, write_images

PROCESSES = 2
BATCH = 16  # patches of a training step


def command(inputs: Path, output: Path, steps: int) -> list[str]:
    options = ["--factor", "2", "--mode", "paper", "--steps", str(steps), "--samples", "2"]
    names = ["sr", str(inputs), "-o", str(output), "--noise", "0", "--resume", *options]
    return [sys.executable, "-m", "mrcascade", *names]


def results(output: Path) -> dict[str, bytes]:
    """Return all files except hidden ones and the record, which contains the time."""
    if not output.exists():
        return {}
    names = sorted(p for p in output.iterdir() if not p.name.startswith((".", "run")))
    return {p.name: p.read_bytes() for p in names}


def kill_batches(root: Path, options: argparse.Namespace) -> bool:
    """Kill batches and report; return whether all results are equal."""
    rng, failed, finished = random.Random(options.seed), 0, 0
    (root / "in").mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).normal(size=(32, 32, 4))
        np.save(root / "in" / f"{number}.npy", (60 + 15 * noise).astype(np.float32))
    started = time.monotonic()
    subprocess.run(command(root / "in", root / "whole", options.steps), check=True)
    seconds, whole = time.monotonic() - started, results(root / "whole")
    for attempt in range(options.times):
        output = root / f"out{attempt}"
        call = command(root / "in", output, options.steps)
        with subprocess.Popen(call, stdout=subprocess.DEVNULL) as process:
            time.sleep(rng.uniform(0, seconds))
            process.kill()
        before = results(output)
        finished += len(before)
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
        equal = results(output) == whole
        whole_before = all(whole.get(n) == content for n, content in before.items())
        failed += not (equal and whole_before)
    print(
        f"{options.times} kills within {seconds:.1f} s: {options.times - failed} equal to the"
        f" undisturbed run; {finished} of {options.times * len(whole)} files were there before"
    )
    return not failed


def train(
    run: Path, steps: int, checkpoint_seconds: float, kill: tuple[int, int, float]
) -> list[float]:
    """Train until the end, or until a process is killed; return the time after each step.

    kill: step after which a process is killed (0 for never), its number, and the share of the next
    step until then.
    """
    last, number, share = kill
    pids: dict[int, int] = {}
    times: list[float] = []
    words = ["--patches", str(steps * BATCH), "--batch", str(BATCH)]
    words += ["--checkpoint-seconds", str(checkpoint_seconds)]
    with launched_job(run, *words, processes=PROCESSES) as lines:
        for line in lines:
            if line[0] == "pid":
                pids[int(line[1])] = int(line[2])
            elif line[0] == "patches":
                times.append(float(line[2]))
                if len(times) == last:
                    time.sleep(share * (times[-1] - times[-2]) if last > 1 else 0.0)
                    os.kill(pids[number], signal.SIGKILL)
    return times


def trained(run: Path) -> tuple[list[dict[str, object]], dict[str, torch.Tensor], int]:
    """Return log without times, weights and patches seen."""
    text = (run / f"level{LEVEL}.jsonl").read_text()
    log = [json.loads(line) for line in text.splitlines()]
    state = torch.load(run / f"level{LEVEL}.ckpt", weights_only=True)
    log = [{k: v for k, v in record.items() if k != "seconds"} for record in log]
    return log, state["networks"], state["seen"]


def kill_training(root: Path, options: argparse.Namespace) -> bool:
    """Kill one training again and again, and report; return whether it is the undisturbed one."""
    rng = random.Random(options.seed)
    write_images(root / "images.hdf5")
    times = train(root / "whole", options.steps, 0.0, (0, 0, 0.0))
    if len(times) != options.steps:
        raise SystemExit(f"the undisturbed training ended after {len(times)} steps")
    step = (times[-1] - times[0]) / (options.steps - 1)
    seen = 0
    for attempt in range(options.times):
        # Of the steps that are left, so that all kills find some.
        left = options.steps - seen // BATCH
        last = rng.randint(1, max(1, 2 * left // (options.times - attempt + 1)))
        kill = last, rng.randrange(PROCESSES), rng.random()
        # Checkpoints of various ages, so that some steps are lost and made again.
        train(root / "killed", options.steps, rng.choice([0.0, 3 * step]), kill)
        path = root / "killed" / f"level{LEVEL}.ckpt"
        seen = torch.load(path, weights_only=True)["seen"] if path.exists() else 0
        kept = f"{seen // BATCH} of {options.steps} steps kept"
        print(f"kill {attempt + 1}, of process {kill[1] + 1}: {kept}", flush=True)
    train(root / "killed", options.steps, 60.0, (0, 0, 0.0))
    whole, killed = trained(root / "whole"), trained(root / "killed")
    curve = killed[0] == whole[0] and killed[2] == whole[2]
    weights = all(torch.equal(killed[1][k], v) for k, v in whole[1].items())
    print(
        f"{options.times} kills of a training of {options.steps} steps in {PROCESSES} processes:"
        f" the log is {'' if curve else 'NOT '}that of the undisturbed training, and the weights"
        f" are {'' if weights else 'NOT '}the same"
    )
    return curve and weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", action="store_true", help="kill a training, not batches")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20, help="of a sample, or of the training")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        equal = (kill_training if options.training else kill_batches)(Path(name), options)
    raise SystemExit(0 if equal else 1)


if __name__ == "__main__":
    main()
