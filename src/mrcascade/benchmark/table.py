"""Table of a benchmark, in Markdown that is aligned for a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mrcascade.storage.outputs import read_record

#: Head of the table.
HEADER = (
    "mode",
    "batch",
    "s / slice",
    "first slice",
    "evaluations",
    "GFLOP",
    "of peak",
    "outside",
)
_NUMBER = re.compile(r"([\d.]+(e[+-]?\d+)?( %|[x*])?|-|)")
_IN_PART = "*"  # mark of a chain that was timed with fewer steps


def read_benchmark(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file of ``mrcascade benchmark``; None for any other file."""
    document = read_record(path)
    return document if document and {"machine", "results"} <= document.keys() else None


def describe_machine(document: Mapping[str, Any]) -> str:
    """Return the machine of a benchmark in one line."""
    machine = document["machine"]
    compiled = ", compiled" if machine["compiled"] else ""
    return (
        f"{machine['processor']}, {machine['precision']}{compiled}, torch {machine['torch']},"
        f" peak {machine['peak_gflops']:.4g} GFLOP/s"
    )


def describe_task(document: Mapping[str, Any]) -> str:
    """Return what was restored, and how often, in one line."""
    settings, size = document["settings"], document["results"][0]["size"]
    factor = "x".join(f"{f:g}" for f in dict.fromkeys(settings["factor"]))
    noise = f"noise {settings['noise']:g}" if settings["noise"] else "noise-free"
    rounds = settings["rounds"]
    how = f"median of {rounds} rounds" if rounds > 1 else "one round"
    return f"{factor}x to {size} x {size} ({settings['kernel']}, {noise}), {how}"


def benchmark_table(document: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table in Markdown, and those that explain it.

    Args:
        document: what `run_benchmark` returns, or the JSON file that holds it.
    """
    return [*markdown(HEADER, table_rows(document)), *table_notes(document)]


def table_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of the table, one per mode and batch size."""
    results = document["results"]
    modes = [r["mode"] for r in results]
    return [
        (
            r["mode"],
            str(r["batch"]),
            f"{r['seconds_per_slice']:.3g}{_IN_PART * in_part(r)}",
            "" if r["mode"] in modes[:i] else f"{r['first_slice_seconds']:.3g}",
            str(r["nfe"]),
            f"{r['gflop']:.4g}",
            percent(r["share_of_peak"]),
            percent(r["outside_networks"]),
        )
        for i, r in enumerate(results)
    ]


def table_notes(document: Mapping[str, Any]) -> list[str]:
    """Return the lines that explain the table, behind an empty one."""
    lines = ["", "first slice: one slice in seconds, with its operator, decompositions and plan"]
    lines += ["outside: share of the time outside the networks"]
    if any(map(in_part, document["results"])):
        lines += [f"{_IN_PART} timed with fewer steps and scaled; --seconds gives more time"]
    return lines


def in_part(result: Mapping[str, Any]) -> bool:
    """Return whether a chain was timed with fewer steps than it has."""
    return bool(result["steps"] != result["timed_steps"])


def percent(share: float | None) -> str:
    """Return a share as per cent; ``-`` for one that is not known."""
    return "-" if share is None else f"{100 * share:.3g} %"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table with padded cells; columns of numbers align right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(4, *map(len, column)) for column in columns]
    right = [are_numbers(cells) for _, *cells in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, right, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + (":" if number else "-")
        for width, number in zip(widths, right, strict=True)
    ]
    return [line(header), line(rule), *map(line, rows)]


def are_numbers(cells: Sequence[str]) -> bool:
    """Return whether each cell is a number, perhaps with a mark or unit, "-" or empty."""
    return all(_NUMBER.fullmatch(cell) for cell in cells)
