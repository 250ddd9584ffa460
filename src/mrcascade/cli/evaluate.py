"""``mrcascade evaluate``: compare methods on simulated measurements of known images."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from mrcascade.cli import (
    computing,
    early,
    options,
    sharing,
    terminal,
    thick_evaluation,
    values,
)
from mrcascade.cli.help import Group, add_command
from mrcascade.cli.progress import ProgressBar
from mrcascade.errors import MRCascadeError
from mrcascade.recipes.modes import COMPARED, MODES

# Options without an effect on thick slices, as the parser names them. None has a default in the
# parser, so that one that was given is known.
_OF_SLICES = (
    "factor",
    "kernel",
    "baselines",
    "max_slices",
    "anatomy_slices",
    "simulate_phase",
    "effective_matrix",
    "lpips_weights",
)


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "evaluate",
        help="compare methods on images whose truth is known",
        usage="--data ROOT (--factor F | --isotropic FACTOR) -o DIR [options]",
        description="Measure every image of a test set, restore it by each method and compare with"
        " the truth. Repeat the command to continue an interrupted evaluation.",
        examples=(
            ("mrcascade evaluate --data images/ --factor 2 -o results/", "every image of the test"),
            (
                "mrcascade evaluate --data images/ --factor 4 --methods zero-fill,mean,balanced"
                " --noise 0.01 -o results/",
                "three methods, with noise",
            ),
            (
                "mrcascade evaluate --data volumes/ --isotropic 4 -o results/",
                "thick slices, four samples apart",
            ),
        ),
    )
    options.add_data(parser)
    options.add_factor(parser, required=False)
    parser.add_argument(
        "--methods",
        metavar="NAME[,NAME]",
        help="methods to compare: zero-fill, bicubic, regression, diffpir, cascade-2level,"
        f" posterior-mean and the modes {', '.join(MODES | COMPARED)}; settings may follow a name,"
        " as in paper:zeta=0.5; default: zero-fill,bicubic,mean,paper. With --isotropic: cubic,"
        " lsq, posterior-mean and the modes; default: cubic,lsq,mean",
    )
    options.add_output(parser, "metrics, tables and the picture")
    options.add_overwrite(parser)
    _add_images(parser.add_argument_group("images"))
    _add_measurement(parser.add_argument_group("measurement and methods"))
    thick_evaluation.add_thick_slices(parser)
    group = parser.add_argument_group("computing")
    sharing.add_sharing(group)
    computing.add_batch_size(group, computing.GPU_UNIT)
    computing.add_device(group)
    computing.add_precision(group)
    computing.add_compile(group)
    parser.set_defaults(run=run, kernel=None, baselines=None, simulate_phase=None)


def _add_images(group: Group) -> None:
    group.add_argument(
        "--split", default="test", metavar="NAME", help="train, val or test; default: %(default)s"
    )
    group.add_argument(
        "--max-slices",
        type=values.positive,
        metavar="N",
        help="slices per file, evenly spread (default: all)",
    )
    group.add_argument(
        "--anatomy-slices",
        type=values.positive,
        metavar="N",
        help="slices per anatomy, drawn with the seed (default: all)",
    )
    options.add_simulated_phase(group)
    options.add_test_files(group)


def _add_measurement(group: Group) -> None:
    options.add_kernel(group)
    options.add_noise(group, 0.0, "(default: 0)")
    group.add_argument(
        "--noise-handling",
        choices=("estimated", "known"),
        help="whether methods estimate the noise, as sr does, or get its true value; default:"
        " estimated, with --isotropic known",
    )
    options.add_prior(group)
    options.add_baselines(group)
    options.add_steps(group)
    options.add_samples(group, "posterior samples that posterior-mean averages; default: 8", None)
    options.add_seed(group)


def run(arguments: argparse.Namespace) -> int:
    early.check_data(arguments.data)
    early.check_folder(arguments.output)
    _check_kind(arguments)
    thick = arguments.isotropic is not None
    common = _common(arguments, "known" if thick else "estimated")
    begun = thick_evaluation.of_thick_slices if thick else _of_slices
    evaluate = begun(arguments, common)
    from mrcascade.evaluation.units import Unfinished

    unfinished: Unfinished | None = None
    with closing(ProgressBar("volumes" if thick else "slices")) as bar:
        try:
            written = evaluate(arguments.output, say=bar.say, progress=bar.counting)
        except Unfinished as error:
            unfinished, written = error, list(error.written)
    for path in written:
        terminal.line(str(path))
    if unfinished is None:
        return 0
    terminal.problem(str(unfinished))
    return 1


def _check_kind(arguments: argparse.Namespace) -> None:
    """Raise MRCascadeError for options that have no effect with or without ``--isotropic``."""
    thick = arguments.isotropic is not None
    for name in _OF_SLICES if thick else thick_evaluation.OPTIONS:
        if getattr(arguments, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise MRCascadeError(
                f"{option} has no effect with --isotropic; drop one of the two"
                if thick
                else f"{option} needs --isotropic FACTOR, which simulates thick slices"
            )
    if thick:
        return
    if arguments.factor is None:
        raise MRCascadeError("give --factor F, or --isotropic FACTOR for thick slices")
    early.check_factors(arguments.factor)


def _common(arguments: argparse.Namespace, handling: str) -> dict[str, Any]:
    """Return the options that both kinds of evaluation have. ``handling`` is of noise."""
    shared = sharing.sharing_of(arguments, arguments.precision)
    names = arguments.methods
    methods = {} if names is None else {"methods": tuple(n.strip() for n in names.split(","))}
    return methods | {
        "data": arguments.data,
        "split": arguments.split,
        "noise": arguments.noise,
        "noise_handling": arguments.noise_handling or handling,
        "prior": arguments.prior,
        "steps": arguments.steps,
        "samples": arguments.samples,
        "seed": arguments.seed,
        "batch_size": computing.resolve_batch_size(arguments.batch_size, shared.device),
        "device": shared.device,
        "precision": shared.precision,
        "compile": arguments.compile == "on",
        "workers": shared.workers,
        "scheduler": shared.scheduler,
        "overwrite": arguments.overwrite,
    }


def _of_slices(arguments: argparse.Namespace, common: dict[str, Any]) -> Callable[..., list[Path]]:
    from mrcascade.evaluation.job import Evaluation
    from mrcascade.evaluation.run import evaluate

    own = {name: getattr(arguments, name) for name in ("kernel", "baselines")}
    job = Evaluation(
        **common,
        **{name: value for name, value in own.items() if value is not None},
        factor=arguments.factor,
        max_slices=arguments.max_slices,
        anatomy_slices=arguments.anatomy_slices,
        matrices=arguments.effective_matrix,
        simulate_phase=bool(arguments.simulate_phase),
        lpips_weights=arguments.lpips_weights,
    )
    return partial(evaluate, job)
