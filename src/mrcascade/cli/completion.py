"""``mrcascade completion``: a script that completes commands, options and names in a shell."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mrcascade.cli import terminal
from mrcascade.cli.help import add_command
from mrcascade.prior.format import list_priors
from mrcascade.recipes.modes import MODES

_SHELLS = ("bash", "zsh", "tcsh")


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "completion",
        help="print a script that completes commands and options in a shell",
        usage="bash|zsh|tcsh",
        description="Print a script for a shell, which then completes commands, options, files,"
        " priors and modes. A file that the shell reads at its start keeps it.",
        examples=(
            (
                "mrcascade completion bash > ~/.local/share/bash-completion/completions/mrcascade",
                "bash, for every new shell",
            ),
            ("mrcascade completion zsh > ~/.zfunc/_mrcascade", "zsh, with ~/.zfunc in fpath"),
            ("mrcascade completion tcsh > ~/.mrcascade.tcsh", "tcsh, which then sources the file"),
        ),
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help="bash, zsh or tcsh")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    import shtab

    from mrcascade.cli import build_parser

    parser = build_parser()
    _complete_values(parser)
    for row in shtab.complete(parser, arguments.shell).splitlines():
        terminal.raw_line(row)


def _complete_values(parser: argparse.ArgumentParser) -> None:
    """Say which options take files, priors and modes. The parser is for completion alone."""
    import shtab

    names = {"prior": list_priors(), "baselines": list_priors(), "start": list_priors()}
    names["mode"] = list(MODES)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_values(command)
        elif action.dest in names and action.choices is None:
            action.choices = names[action.dest]
        elif action.type is Path or action.dest == "what":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
