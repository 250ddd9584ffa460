"""The ``mrcascade`` command: one file per subcommand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mrcascade import __version__
from mrcascade.cli import cache, evaluate, info, reproduce, simulate, sr, train
from mrcascade.errors import MRCascadeError

COMMANDS = (sr, simulate, evaluate, reproduce, train, cache, info)


def build_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand; imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="mrcascade",
        description="Super-resolution of MR images with scale-cascaded diffusion priors."
        " Research software; not for diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"mrcascade {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    1: some of several files failed; 2: bad input; 130: interrupted.
    """
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except MRCascadeError as error:
        print(f"mrcascade: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mrcascade: interrupted", file=sys.stderr)
        return 130
