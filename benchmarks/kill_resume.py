"""Kill a batch at random moments, resume it, and compare the outputs bit for bit.

    python benchmarks/kill_resume.py --times 50

The batch restores three small volumes with the bundled prior in mode ``paper``. Each time it is
killed (SIGKILL) at a random moment and then resumed. Outputs and sidecars must equal those of an
undisturbed run. Prints how many do, and exits with code 1 if any differ.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, failed, finished = random.Random(options.seed), 0, 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
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
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
