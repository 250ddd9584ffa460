"""The ``mrcascade`` command.

Each command is a module with two functions: ``add_parser`` declares its arguments, and ``run`` does
its work and returns an exit code or None for 0.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from mrcascade import __version__
from mrcascade.cli import (
    benchmark,
    bids_app,
    cache,
    completion,
    doctor,
    evaluate,
    info,
    listing,
    report,
    reproduce,
    resample,
    simulate,
    sr,
    terminal,
    train,
)
from mrcascade.cli.help import CommandParser, examples_text
from mrcascade.devices.launch import let_main_speak
from mrcascade.errors import MRCascadeError, ReportedElsewhere
from mrcascade.messages.faults import one_line, showing_tracebacks
from mrcascade.messages.quiet import quiet_libraries

COMMANDS = (
    sr,
    report,
    listing,
    info,
    doctor,
    simulate,
    resample,
    bids_app,
    train,
    cache,
    evaluate,
    reproduce,
    benchmark,
    completion,
)
_EXAMPLES = (
    ("mrcascade sr t2.nii.gz --factor 2", "twice the matrix in plane; the result beside the input"),
    ("mrcascade sr t2.nii.gz --isotropic", "thick slices to isotropic voxels"),
    ("mrcascade list", "priors and modes to choose from"),
    ("mrcascade doctor", "whether this machine is ready"),
    ("mrcascade sr --help", "all options of a command"),
)
_CLOSED_PIPE = 141  # what shells report of a command that SIGPIPE ended
_SUBJECTS = ("inputs", "input", "what", "data")  # arguments that name what a command works on


def build_parser() -> CommandParser:
    """Return the parser with every command. It imports nothing heavy."""
    parser = CommandParser(
        prog="mrcascade",
        usage="%(prog)s COMMAND ...",
        description="Super-resolution of MR images with scale-cascaded diffusion priors."
        " Research software; not for diagnosis.",
        epilog=examples_text(_EXAMPLES),
    )
    subparsers = parser.add_subparsers(
        required=True, metavar="COMMAND", title="commands", prog="mrcascade"
    )
    for command in COMMANDS:
        command.add_parser(subparsers)
    for each in subparsers.choices.values():
        each.complete_help().add_argument(
            "--debug",
            action="store_true",
            help="show tracebacks and other libraries' warnings, as with MRCASCADE_DEBUG=1",
        )
    parser.complete_help().add_argument(
        "--version",
        action="version",
        version=f"mrcascade {__version__}",
        help="show the version and exit",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: words after ``mrcascade``; by default those of the process.

    Returns:
        0 for success, 1 where some of several files failed, 2 for bad input or any other error,
        130 after an interrupt, 141 where the reader of the output closed it.
    """
    try:
        code = _run(arguments)
        terminal.end()
        return code
    except terminal.OutputError as error:
        if error.closed:
            return _CLOSED_PIPE
        terminal.problem(f"cannot write the output: {error.reason}; send it elsewhere")
        return 2


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = build_parser().parse_args(arguments)
    except SystemExit:  # after an error or a help text
        terminal.end()
        raise
    with showing_tracebacks(options.debug), quiet_libraries():
        try:
            _check_start(sys.argv[1:] if arguments is None else arguments)
            return options.run(options) or 0
        except KeyboardInterrupt:
            if arguments is None:  # this process ends; once more would only show a traceback
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            terminal.problem("interrupted")
            return 130
        except Exception as error:
            let_main_speak()
            if isinstance(error, ReportedElsewhere):
                return 2
            terminal.problem(one_line(error, _subject(options)))
            return 2


def _check_start(arguments: Sequence[str]) -> None:
    """Raise MRCascadeError for empty arguments and for a working folder that is gone."""
    for one in arguments:
        if one == "" or (one.startswith("--") and one.endswith("=")):
            raise MRCascadeError(
                f"{f'nothing is given after {one}' if one else 'an argument is empty'}; check the"
                " variable it comes from"
            )
    try:
        os.getcwd()
    except OSError as error:  # libraries would end the process there without a message
        raise MRCascadeError("the working folder is gone; change to one that exists") from error


def _subject(options: argparse.Namespace) -> str:
    """Return the name of the one file or folder that a command works on, "" for several."""
    found = next((v for name in _SUBJECTS if (v := getattr(options, name, None))), "")
    if isinstance(found, list):
        return str(found[0]) if len(found) == 1 else ""
    return str(found)
