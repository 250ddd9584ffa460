"""``mrcascade benchmark``: how fast this machine restores slices in each mode."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcascade.cli import computing, early, options, terminal, values
from mrcascade.cli.help import Group, add_command
from mrcascade.cli.progress import ProgressBar
from mrcascade.errors import MRCascadeError
from mrcascade.recipes.modes import COMPARED, MODES

if TYPE_CHECKING:
    from mrcascade.storage.outputs import Claim


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "benchmark",
        help="measure this machine's seconds per slice in each mode",
        usage="[--mode NAME[,NAME]] [--seconds N] [options]",
        description="Restore slices of noise in every mode, by turns, and print seconds per slice,"
        " network evaluations, GFLOP, the share of the processor's measured peak and the share of"
        " the time outside the networks.",
        examples=(
            ("mrcascade benchmark", "all modes, 4x to 256 x 256, in about two minutes"),
            ("mrcascade benchmark --mode mean,sample --batch-size 1,4,16", "two modes, by batch"),
            (
                "mrcascade benchmark --seconds 3600 --repeats 7 -o b.json",
                "every chain at its full length, figures as JSON",
            ),
        ),
    )
    parser.add_argument(
        "--mode",
        type=_names,
        action="extend",
        metavar="NAME[,NAME]",
        help=f"modes ({', '.join(MODES)}), methods of evaluate that have networks (diffpir,"
        f" cascade-2level, regression, {', '.join(COMPARED)}), or deepinv: the DiffPIR of that"
        " library; settings may follow a name, as in sample:orientations=1; default: all modes,"
        " diffpir (single-scale) and, where it is installed, deepinv",
    )
    parser.add_argument(
        "--seconds",
        type=values.bounded,
        default=120,
        metavar="N",
        help="time that the command should take; long chains are timed with fewer steps where it"
        " does not suffice, and one round runs in any case; default: %(default)s",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="JSON file for the figures (default: the table alone)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing benchmark")
    _add_task(parser.add_argument_group("what is restored"))
    group = parser.add_argument_group("computing")
    group.add_argument(
        "--repeats",
        type=values.bounded,
        default=3,
        metavar="N",
        help="rounds at most, whose median counts; default: %(default)s",
    )
    group.add_argument(
        "--batch-size",
        type=_batch_sizes,
        default=(1, 8),
        metavar="N[,N]",
        help="numbers of slices at once; default: 1,8",
    )
    group.add_argument(
        "--threads", type=values.positive, metavar="N", help="CPU threads (default: torch's own)"
    )
    computing.add_device(group)
    computing.add_precision(group)
    computing.add_compile(group)
    parser.set_defaults(run=run)


def _add_task(group: Group) -> None:
    group.add_argument(
        "--size",
        type=values.side,
        default=256,
        metavar="N",
        help="rows and columns of the results; default: %(default)s",
    )
    options.add_factor(group, default=(4.0, 4.0))
    options.add_noise(group, 0.0, "that the modes are told (default: 0)")
    options.add_prior(group)
    options.add_baselines(group)
    options.add_steps(group)


def run(arguments: argparse.Namespace) -> None:
    limits = early.check_factors(arguments.factor, arguments.prior)
    early.check_size(arguments.size, arguments.factor, limits)
    _check_threads(arguments.threads)
    if arguments.output is None:
        _print(_measured(arguments))
        return
    from mrcascade.benchmark.table import read_benchmark
    from mrcascade.storage.atomic import atomic_output, output_folders, remove_leftovers
    from mrcascade.storage.outputs import claim, only_writer

    target: Path = arguments.output
    if target.suffix != ".json":
        raise MRCascadeError(f"{target}: the name of a benchmark ends in .json")

    def claimed() -> Claim:
        def ours(path: Path) -> bool:
            return read_benchmark(path) is not None

        return claim([target], [], arguments.overwrite, ours, "what it holds")

    claimed()
    with output_folders([target]), only_writer(target):
        mine = claimed()
        document = _measured(arguments)
        _print(document)
        with atomic_output(target, arguments.overwrite) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n")
            mine.check()
        remove_leftovers([target])
    terminal.line(str(target))


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    from mrcascade.benchmark.run import Benchmark, run_benchmark

    device = computing.resolve_device(arguments.device)
    job = Benchmark(
        size=arguments.size,
        factor=arguments.factor,
        modes=None if arguments.mode is None else tuple(arguments.mode),
        prior=arguments.prior,
        baselines=arguments.baselines,
        noise=arguments.noise,
        steps=arguments.steps,
        batch_sizes=arguments.batch_size,
        repeats=arguments.repeats,
        seconds=arguments.seconds,
        threads=arguments.threads,
        device=device,
        precision=computing.choose_precision(arguments.precision, device),
        compile=arguments.compile == "on",
    )
    with closing(ProgressBar("runs")) as bar:

        def stage(name: str, runs: int) -> Callable[[int, str], None]:
            return bar.counting(runs, name=name)

        return run_benchmark(job, say=bar.say, stage=stage)


def _print(document: dict[str, Any]) -> None:
    from mrcascade.benchmark.table import (
        HEADER,
        describe_machine,
        describe_task,
        table_notes,
        table_rows,
    )

    for line in (describe_machine(document), describe_task(document), ""):
        terminal.line(line)
    terminal.table(HEADER, table_rows(document))
    for line in table_notes(document):
        terminal.line(line)


def _check_threads(threads: int | None) -> None:
    there = os.cpu_count() or 1
    if threads is not None and threads > there:
        raise MRCascadeError(f"--threads {threads}: this machine has {there}; give fewer")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _batch_sizes(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(values.bounded(part.strip()) for part in text.split(",")))
