"""``mrcascade reproduce``: run a study of several evaluations, such as the paper's tables."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import closing
from dataclasses import replace
from typing import Any

from mrcascade.cli import computing, early, options, sharing, terminal
from mrcascade.cli.help import add_command
from mrcascade.cli.progress import ProgressBar


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "reproduce",
        help="make the paper's tables and figures",
        usage="[STUDY] --data ROOT -o DIR [options]",
        description="Run a study: evaluations of several methods on the same slices, with a page"
        " of tables, paired differences and figures. Repeat the command to continue an interrupted"
        " study.",
        examples=(
            ("mrcascade reproduce quick --data images/ -o results/", "a small study first"),
            (
                "mrcascade reproduce --data images/ --lpips-weights lpips/ -o results/",
                "the paper's tables and figures; days on a CPU",
            ),
        ),
    )
    parser.add_argument(
        "study",
        nargs="?",
        default="paper",
        metavar="STUDY",
        help="paper, quick, or a JSON file; default: %(default)s",
    )
    options.add_data(parser)
    options.add_output(parser, "tables, figures and all rows")
    options.add_overwrite(parser)
    group = parser.add_argument_group("images")
    group.add_argument("--split", metavar="NAME", help="train, val or test (default: the study's)")
    options.add_test_files(group)
    group = parser.add_argument_group("computing")
    sharing.add_sharing(group)
    computing.add_batch_size(group, computing.GPU_UNIT)
    computing.add_device(group)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    early.check_data(arguments.data)
    early.check_folder(arguments.output)
    from mrcascade.evaluation.job import Evaluation
    from mrcascade.studies.study import read_study, run_study

    study = read_study(arguments.study)
    if arguments.split:
        study = replace(study, split=arguments.split)
    shared = sharing.sharing_of(arguments, study.precision)
    study = replace(study, precision=shared.precision)
    common = Evaluation(
        data=arguments.data,
        batch_size=computing.resolve_batch_size(arguments.batch_size, shared.device),
        workers=shared.workers,
        device=shared.device,
        scheduler=shared.scheduler,
        matrices=arguments.effective_matrix,
        lpips_weights=arguments.lpips_weights,
        overwrite=arguments.overwrite,
    )
    command = shlex.join(["mrcascade", *sys.argv[1:]])
    with closing(ProgressBar()) as bar:
        written = run_study(
            study,
            common,
            arguments.output,
            command,
            say=bar.say,
            progress=bar.counting,
        )
    for path in written:
        terminal.line(str(path))
