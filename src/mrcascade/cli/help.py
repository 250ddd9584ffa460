"""Help of the commands: usage, examples, options in groups."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn, TypeAlias

from mrcascade.cli import terminal
from mrcascade.devices.launch import let_main_speak
from mrcascade.messages.printable import shortened

#: A parser, or a group of its options; both have ``add_argument``.
Group: TypeAlias = argparse._ActionsContainer
#: Command line and what it does.
Example: TypeAlias = tuple[str, str]


class _Layout(argparse.RawDescriptionHelpFormatter):
    """Layout of help texts: paragraphs are filled, lines of examples stay as they are."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):  # argparse forgets their indentation
            self._action_max_length += self._indent_increment

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = text.split("\n\n")
        fill = argparse.HelpFormatter._fill_text
        return "\n\n".join(
            part if "\n" in part else fill(self, part, width, indent) for part in parts
        )


class CommandParser(argparse.ArgumentParser):
    """Argument parser whose errors are one line.

    The options that matter most are those of the parser itself. They come first; other options
    belong to groups. `complete_help` adds the last group.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, add_help=False, formatter_class=_Layout)
        self._optionals.title = "main options"

    def error(self, message: str) -> NoReturn:
        let_main_speak()
        terminal.problem(f"{shortened(message, 500)}; see {self.prog} --help")
        raise SystemExit(2)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write help or version. argparse itself would ignore that the output is closed."""
        for row in message.splitlines():
            terminal.line(row)

    def complete_help(self) -> Group:
        """Add the last group of options and return it."""
        group = self.add_argument_group("help and messages")
        group.add_argument("-h", "--help", action="help", help="show this text and exit")
        return group


def add_command(
    subparsers: Any,
    name: str,
    *,
    help: str,
    usage: str,
    examples: Sequence[Example],
    description: str = "",
) -> CommandParser:
    """Add a command's parser.

    Args:
        subparsers: the commands so far.
        name: name of the command.
        help: what it does, in the list of commands.
        usage: its arguments in one line, behind its name.
        examples: commands that a user can copy.
        description: what it does, above the list of options; default: ``help`` as a sentence.
    """
    parser: CommandParser = subparsers.add_parser(
        name,
        help=help,
        usage=f"%(prog)s {usage}",
        description=description or f"{help[0].upper()}{help[1:]}.",
        epilog=examples_text(examples),
    )
    return parser


def examples_text(examples: Sequence[Example]) -> str:
    """Return the examples as a part of a help text, each with a comment above it."""
    rows = ["examples:"]
    for command, what in examples:
        rows += [f"  # {what}", f"  {command}"]
    return "\n".join(rows)
