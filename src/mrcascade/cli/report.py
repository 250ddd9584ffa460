"""``mrcascade report``: make reports of the results in an output folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcascade.cli import terminal
from mrcascade.cli.help import Group, add_command
from mrcascade.errors import MRCascadeError

if TYPE_CHECKING:
    from mrcascade.jobs import FileBatch


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "report",
        help="make reports of results, HTML files with a viewer that open anywhere",
        usage="OUT [options]",
        examples=(
            ("mrcascade report out/", "a report of each result in a folder, and of their batch"),
            ("mrcascade report out/ --inputs scans/", "compare with inputs that have moved"),
        ),
    )
    parser.add_argument("input", type=Path, metavar="OUT", help="output folder of sr")
    parser.add_argument(
        "--inputs",
        type=Path,
        nargs="+",
        default=[],
        metavar="INPUT",
        help="inputs of the results, or folders of them, to compare with (default: those that the"
        " folder's run.json names, and files of equal content in OUT, its parent and folders there;"
        " without them, the data as the results explain them)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="make reports again that are there already"
    )
    parser.set_defaults(run=run)


def add_report_option(parser: Group) -> None:
    """Add ``--report`` of ``sr``."""
    parser.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        help="write a report per result, an HTML file to look at, and for several inputs"
        " report.html, their table (default: for several inputs)",
    )


def wants_reports(asked: bool | None, output: Path, several: bool) -> bool:
    """Return whether ``sr`` writes reports into ``output``: as asked, else for several inputs.

    Raises MRCascadeError where the table of several inputs would replace another file.
    """
    from mrcascade.jobs.report_batch import check_batch_report

    wanted = several if asked is None else asked
    if wanted and several:
        check_batch_report(output)
    return wanted


def tell_batch_report(batch: FileBatch) -> None:
    """Write the table of a batch that has results, and print its name."""
    from mrcascade.jobs.report_batch import write_batch_report

    if any(done.outputs for done in batch.results):
        terminal.line(str(write_batch_report(batch.output)))


def run(arguments: argparse.Namespace) -> int:
    from mrcascade.jobs.report_batch import write_reports

    for path in arguments.inputs:
        if not path.exists():
            raise MRCascadeError(f"{path} does not exist; check the name")
    problems: list[str] = []
    reports = write_reports(
        arguments.input,
        arguments.inputs,
        overwrite=arguments.overwrite,
        say=problems.append,
        note=terminal.note,
    )
    for path in reports:
        terminal.line(str(path))
    for line in problems:
        terminal.problem(line)
    return 0 if not problems else 1 if reports else 2
