"""Helpers of several benchmarks: options, one-line errors, JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mrcascade.errors import MRCascadeError


def numbers(text: str) -> list[float]:
    """Parse an option such as ``0,0.01``."""
    return [float(part) for part in text.split(",")]


def names(text: str) -> list[str]:
    """Parse an option such as ``mean,paper``."""
    return [part.strip() for part in text.split(",")]


def settings(text: str) -> dict[str, Any]:
    """Parse ``name=value,...`` into numbers and switches by name, such as ``batch=8``."""
    try:
        pairs = (part.split("=") for part in names(text) if part)
        return {name: json.loads(value) for name, value in pairs}
    except ValueError:
        raise MRCascadeError(f"{text!r}: give NAME=VALUE,..., such as rate=0.01") from None


def run(main: Callable[[], None]) -> None:
    """Call ``main``; an MRCascadeError ends the process with one line and exit code 2."""
    try:
        main()
    except MRCascadeError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def table_row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def write_json(options: argparse.Namespace, **document: Any) -> None:
    """Write the options and the results to ``options.output``, if it is given.

    That path is left out, and others are named without their folders: they say where one machine
    keeps its files.
    """
    if options.output is None:
        return
    given = {key: value for key, value in vars(options).items() if key != "output"}
    settings = {k: v.name if isinstance(v, Path) else v for k, v in given.items()}
    settings |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"settings": settings, **document}, indent=1) + "\n")
