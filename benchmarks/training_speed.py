"""Training patches per second of the two stages of a level, in float32 and in bfloat16.

python benchmarks/training_speed.py --network small --level 1 --threads 1
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np
import torch

from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.config import STAGES, TrainConfig
from mrcascade.training.distributed import Processes
from mrcascade.training.level import LevelTrainer
from mrcascade.training.volume import Volume

STEPS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="small")
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    rng = np.random.default_rng(0)
    stack = rng.random((2, 256, 256)).astype(np.float32)
    volumes = [Volume("a/train/x.npy", "a", "train", stack, {2: 1.0, 4: 1.0})]
    config = TrainConfig(network=options.network, images=2 * 10**6)
    data = CascadeData(volumes, config).level(options.level)
    lengths = config.stages(options.level)
    for number, stage in enumerate(STAGES):
        if not lengths[number]:
            continue
        trainers = {
            precision: LevelTrainer(
                options.level, replace(config, precision=precision), data, Processes("cpu")
            )
            for precision in ("float32", "bfloat16")
        }
        for trainer in trainers.values():
            trainer.seen = lengths[0] * number
        seconds: dict[str, list[float]] = {precision: [] for precision in trainers}
        for step in range(STEPS + 2):
            for precision, trainer in trainers.items():
                started = time.perf_counter()
                trainer.step()
                if step >= 2:  # the first steps allocate
                    seconds[precision].append(time.perf_counter() - started)
        rates = {p: config.batch / statistics.median(s) for p, s in seconds.items()}
        cells = ", ".join(f"{p} {r:.1f} patches/s" for p, r in rates.items())
        ratio = rates["bfloat16"] / rates["float32"]
        print(f"{options.network} level {options.level}, {stage}: {cells}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
