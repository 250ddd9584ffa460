"""``mrcascade report``: make reports of the results in an output folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mrcascade.cli import terminal
from mrcascade.errors import MRCascadeError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "report", help="make reports of results, HTML files with a viewer that open anywhere"
    )
    parser.add_argument("input", type=Path, metavar="OUT", help="output folder of sr")
    parser.add_argument(
        "--inputs",
        type=Path,
        nargs="+",
        default=[],
        metavar="INPUT",
        help="inputs of the results, or folders of them, to compare with (default: those that the"
        " folder's run.json names; without them, the data as the results explain them)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="make reports again that are there already"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from mrcascade.jobs.report_batch import write_reports

    for path in arguments.inputs:
        if not path.exists():
            raise MRCascadeError(f"{path} does not exist; check the name")
    problems: list[str] = []
    reports = write_reports(
        arguments.input, arguments.inputs, overwrite=arguments.overwrite, say=problems.append
    )
    for path in reports:
        terminal.line(str(path))
    for line in problems:
        terminal.problem(line)
    return 0 if not problems else 1 if reports else 2
