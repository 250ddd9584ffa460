"""Seconds, network evaluations and network GFLOP per slice of every method with networks.

    python benchmarks/method_speed.py --size 256 --factor 4 --steps 200

All methods of the table METHODS that have a prior take part. They take turns in each repeat, so
that a disturbance affects all of them. The measurement is noise, as the cost does not depend on the
content. Times are medians; ratios are medians of the ratios within a repeat.

torch's FlopCounterMode counts GFLOP in a separate run: two for every multiply-add of convolutions,
matrix products and attention in the networks, without the operators. "Forward" is the cost of the
networks' forward passes, regression branches included. "Backward" is the additional cost of the
gradient in DPS.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common import (
    NetworkMeter,
    names,
    random_measurement,
    run,
    table_row,
    write_json,
)
from mrcascade import SeparableOperator
from mrcascade.arrays.intensity import robust_maximum
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.job import Evaluation, averaged_samples, load_priors, prior_folders
from mrcascade.evaluation.methods import METHODS, Context, Method, choose_methods
from mrcascade.sampling import Progress

KERNEL = "fourier"
REFERENCE = "diffpir"
CASCADE_METHOD = "paper"
HEADER = (
    "| method | prior | evaluations, level: number | s per slice | outside the networks"
    f" | time / {REFERENCE} | GFLOP forward | GFLOP backward | forward / {REFERENCE} |\n"
    "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", type=names, help="default: all that have a prior")
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--baselines", default="mr-small-baselines")
    parser.add_argument("--size", type=int, default=256, help="side of the result")
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--noise", type=float, default=0.0, help="noise level that the methods get")
    parser.add_argument("--steps", type=int, default=200, help="T of the methods that sample")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--output", type=Path, help="JSON")
    options = parser.parse_args()
    if options.repeats < 1:
        raise MRCascadeError("--repeats must be 1 or more")

    job = Evaluation(
        data=Path(),  # not read
        factor=(float(options.factor),) * 2,
        prior=options.prior,
        baselines=options.baselines,
        precision=options.precision,
    )
    operator = SeparableOperator.from_kernel(KERNEL, options.factor, (options.size,) * 2)
    measurement = random_measurement(operator.out_shape)[None]
    context = Context(
        measurement,
        (0,),
        operator,
        KERNEL,
        robust_maximum(measurement),
        noise=options.noise,
        steps=options.steps,
        samples=averaged_samples(job),
    )
    methods = choose_methods(options.methods) if options.methods else available(job)
    priors = load_priors(methods, job)
    if strange := [name for name in methods if name not in priors]:
        raise MRCascadeError(f"{strange[0]} has no networks; leave it out")
    turns = {
        name: (method, replace(context, prior=priors[name])) for name, method in methods.items()
    }

    print(f"{options.factor}x to {options.size} x {options.size}, kernel {KERNEL},")
    print(f"noise {options.noise:g}, T = {options.steps}, {options.precision}, median of")
    print(f"{options.repeats}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    rows = {name: {"method": name} | counted(*turn) for name, turn in turns.items()}
    times = timed(turns, options.repeats)
    for method, row in rows.items():
        row |= summary(times[method], times.get(REFERENCE))
        if REFERENCE in rows:
            row["forward_ratio"] = row["gflop_forward"] / rows[REFERENCE]["gflop_forward"]
    print("\n".join([HEADER, *(described(row) for row in rows.values())]))
    if {CASCADE_METHOD, REFERENCE} <= rows.keys():
        print(f"\n{cascade_line(rows[CASCADE_METHOD], options.steps)}")
    write_json(options, rows=list(rows.values()))


def available(job: Evaluation) -> dict[str, Method]:
    """Return the methods whose prior is there; print which ones are left out.

    The mean of K samples costs K times one sample, and is always left out.
    """
    found = {}
    for name, method in METHODS.items():
        if method.recipe is None or method.averaged:
            continue
        try:
            prior_folders(method, job)
        except MRCascadeError as error:
            print(f"{name} is left out: {error}")
        else:
            found[name] = method
    return found


def counted(method: Method, context: Context) -> dict:
    """Return evaluations and GFLOP of one run, which also serves as warm-up."""
    levels: Counter[int] = Counter()

    def note(event: Progress) -> None:
        levels[event.level] += 1

    counter = FlopCounterMode(display=False)
    forward = NetworkMeter(counter.get_total_flops)
    # torch does not count the fused attention of CPUs.
    with sdpa_kernel(SDPBackend.MATH), counter, forward.attached():
        result = method.run(replace(context, callback=note))
    assert context.prior is not None  # every method of this table has one
    gradients = method.settings(context.prior).gradients
    return {
        "prior": context.prior.name,
        "levels": dict(sorted(levels.items())),
        "evaluations": result.evaluations,
        "gflop_forward": forward.total / 1e9,
        "gflop_backward": (network_flops(counter) - forward.total) / 1e9 if gradients else 0,
    }


def network_flops(counter: FlopCounterMode) -> int:
    """Return the FLOP of all outermost modules, with backward passes; operators do not count."""
    outermost = {k: v for k, v in counter.get_flop_counts().items() if "." not in k}
    return sum(sum(v.values()) for k, v in outermost.items() if k != "Global")


def timed(
    turns: Mapping[str, tuple[Method, Context]], repeats: int
) -> dict[str, list[tuple[float, float]]]:
    """Return (seconds, seconds in the networks' forward passes) of each method and repeat."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for repeat in range(repeats):
        for name, (method, context) in turns.items():
            clock = NetworkMeter(time.perf_counter)
            with clock.attached():
                started = time.perf_counter()
                method.run(replace(context, seed=repeat))
                times[name].append((time.perf_counter() - started, clock.total))
    return times


def summary(
    times: Sequence[tuple[float, float]], reference: Sequence[tuple[float, float]] | None
) -> dict:
    row = {
        "seconds": statistics.median(total for total, _ in times),
        "outside": statistics.median(1 - inside / total for total, inside in times),
        "all_seconds": [total for total, _ in times],
    }
    if reference is not None:
        pairs = zip(times, reference, strict=True)
        row["time_ratio"] = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
    return row


def described(row: dict) -> str:
    levels = ", ".join(f"{level}: {count}" for level, count in row["levels"].items())
    backward = row["gflop_backward"]
    # Where a gradient is taken, only the forward passes are timed.
    outside = "-" if backward else f"{100 * row['outside']:.1f} %"
    return table_row(
        [
            row["method"],
            row["prior"],
            levels,
            f"{row['seconds']:.3g}",
            outside,
            ratio(row, "time_ratio"),
            f"{row['gflop_forward']:.4g}",
            f"{backward:.4g}",
            ratio(row, "forward_ratio"),
        ]
    )


def ratio(row: dict, key: str) -> str:
    return f"{row[key]:.3f}" if key in row else "-"


def cascade_line(row: dict, steps: int) -> str:
    time_ratio = row["time_ratio"]
    return (
        f"{CASCADE_METHOD} / {REFERENCE}: {time_ratio:.3f} of the time"
        f" ({100 * (time_ratio - 1):+.0f} %), {row['forward_ratio']:.3f} of the forward"
        f" GFLOP, {row['evaluations']} evaluations where T is {steps}"
    )


if __name__ == "__main__":
    run(main)
