"""Help of the commands: every example parses, the options that matter come first."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from mrcascade.cli import build_parser
from mrcascade.cli.help import CommandParser


def commands(parser: argparse.ArgumentParser) -> dict[str, CommandParser]:
    (found,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(found.choices)


COMMANDS = commands(build_parser())


def examples(parser: argparse.ArgumentParser) -> list[str]:
    lines = str(parser.epilog).splitlines()
    return [line.strip() for line in lines if line.startswith("  mrcascade ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_parses(name: str) -> None:
    found = examples(COMMANDS[name])
    assert found
    assert str(COMMANDS[name].epilog).startswith("examples:\n")
    for example in found:
        words = shlex.split(example.partition(" > ")[0])
        assert words[:2] == ["mrcascade", name]
        COMMANDS[name].parse_args(words[2:])


def test_the_first_examples_parse() -> None:
    found = examples(build_parser())
    assert found
    for example in found:
        words = shlex.split(example)[1:]
        if "--help" not in words:
            build_parser().parse_args(words)


def test_an_example_that_does_not_parse_would_be_seen() -> None:
    with pytest.raises(SystemExit):
        COMMANDS["sr"].parse_args(["t2.nii.gz", "--faktor", "2"])


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_names_options_that_exist(name: str) -> None:
    parser = COMMANDS[name]
    for option in re.findall(r"-{1,2}[a-z][a-z-]*", str(parser.usage).replace("%(prog)s", "")):
        assert option in parser._option_string_actions
    required = [a for a in parser._actions if a.required and a.option_strings]
    assert all(any(o in str(parser.usage) for o in a.option_strings) for a in required)


def test_few_options_come_first() -> None:
    text = COMMANDS["sr"].format_help()
    titles = re.findall(r"^([a-z].*):$", text, re.MULTILINE)
    assert titles == [
        "positional arguments",
        "main options",
        "thick slices to isotropic voxels",
        "restoration",
        "images and formats",
        "existing results and batches",
        "computing",
        "help and messages",
        "examples",
    ]
    main = text.split("main options:\n")[1].split("\n\n")[0]
    assert re.findall(r"^  (-\S+)", main, re.MULTILINE) == [
        "--factor",
        "--isotropic",
        "-o",
        "--samples",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    assert all(action.help for action in COMMANDS[name]._actions)
