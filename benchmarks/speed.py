"""Time and memory of restoring one slice, and the share of time outside the networks.

    python benchmarks/speed.py --prior mr-small --side 256 --factor 4

Prints per mode: median seconds per slice, network evaluations, the share of time outside the
networks, and the peak memory of the process. The time to load the model is not counted.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch

from common import NetworkMeter, random_measurement
from mrcascade import CascadePrior, SeparableOperator, super_resolve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--modes", default="mean,paper")
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    options = parser.parse_args()

    prior = CascadePrior.from_pretrained(options.prior, precision=options.precision)
    operator = SeparableOperator.from_kernel("fourier", options.factor, (options.side,) * 2)
    measurement = random_measurement(operator.out_shape)

    print(f"{prior.name}, {options.factor}x to {options.side} x {options.side}, noise-free,")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for mode in options.modes.split(","):
        few = None if mode == "mean" else 6
        super_resolve(measurement, operator, prior, noise=0.0, mode=mode, steps=few)
        totals, outside = [], []
        for repeat in range(options.repeats if mode == "mean" else max(1, options.repeats // 2)):
            clock = NetworkMeter(time.perf_counter)
            with clock.attached():
                started = time.perf_counter()
                result = super_resolve(
                    measurement, operator, prior, noise=0.0, mode=mode, seed=repeat
                )
                totals.append(time.perf_counter() - started)
            outside.append(1 - clock.total / totals[-1])
        print(
            f"{mode}: {statistics.median(totals):.2f} s, {sum(result.evaluations.values())}"
            f" evaluations, {100 * statistics.median(outside):.1f} % outside the networks"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
