"""Operations that a chain spends its time on, for one slice of noise.

python benchmarks/profile_chain.py --side 192 --steps 24 -o profile.txt

Prints a table of torch's profiler, largest share first. Its times are those of the wall clock: on a
busy machine only the shares count.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from common import run
from mrcascade import super_resolve
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--mode", default="sample")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--side", type=int, default=192, help="of the result")
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=25)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    prior = CascadePrior.from_pretrained(options.prior)
    sides = (options.side, options.side)
    operator = SeparableOperator.from_kernel(prior.kernel, options.factor, sides)
    low = np.random.default_rng(0).random((1, *operator.out_shape), np.float32)

    def restore() -> None:
        super_resolve(low, operator, prior, noise=0.0, mode=options.mode, steps=options.steps)

    restore()  # plans, decompositions and the first allocations
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        restore()
    table = profiler.key_averages().table(
        sort_by="self_cpu_time_total", row_limit=options.rows, max_name_column_width=40
    )
    if options.output is None:
        print(table)
    else:
        options.output.write_text(table)


if __name__ == "__main__":
    run(main)
