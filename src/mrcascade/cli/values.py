"""Values of options: functions that parse a text and raise ArgumentTypeError for a bad one."""

from __future__ import annotations

import argparse

# Largest number of steps, samples, batches and parts of a job; more would only fill the memory.
LARGEST_COUNT = 100_000
_LARGEST_WHOLE = 2**63 - 1  # what a seed can be
_DIGITS = 20  # a number with more digits exceeds every limit
_MOST_WORKERS = 256  # processes, each with its own networks
_LONGEST_SIDE = 2**16


def parse_factor(text: str) -> tuple[float, float]:
    """Parse (row, column) factors: ``4`` -> (4, 4); ``2,1`` -> (2, 1)."""
    parts = text.split(",")
    try:
        values = [float(p) for p in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(1 <= v < float("inf") for v in values):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a factor of 1 or more, or two such as 2,1"
        )
    return values[0], values[-1]


def parse_matrix(text: str) -> str | tuple[int, int]:
    """Parse ``auto``, or rows and columns such as ``256,210``."""
    if text == "auto":
        return text
    parts = text.split(",")
    try:
        rows, columns = map(side, parts)
    except (argparse.ArgumentTypeError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither auto nor two sizes such as 256,210"
        ) from None
    return rows, columns


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    value = whole_number(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more")
    return value


def bounded(text: str) -> int:
    """Parse a whole number from 1 to `LARGEST_COUNT`."""
    return _up_to(positive(text), LARGEST_COUNT)


def side(text: str) -> int:
    """Parse a number of rows or columns."""
    return _up_to(positive(text), _LONGEST_SIDE)


def workers(text: str) -> int:
    """Parse a number of processes that one machine can run."""
    return _up_to(positive(text), _MOST_WORKERS)


def axes(text: str) -> str:
    """Parse two different axis numbers, such as ``0,2``; return them as given."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or parts[0] == parts[1] or not set(parts) <= set("012"):
        raise argparse.ArgumentTypeError(f"{text!r} is not two of the axes 0, 1 and 2, such as 0,2")
    return text


def whole_number(text: str) -> int:
    """Parse a whole number of at least 0 that fits 64 bits."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return _up_to(int(text.lstrip("0")[:_DIGITS] or "0"), _LARGEST_WHOLE)


def _up_to(value: int, most: int) -> int:
    if value > most:
        raise argparse.ArgumentTypeError(f"{str(value)!r} is more than {most}")
    return value


def fraction(text: str) -> float:
    """Parse a number of at least 0 and below 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up to 1")
    return value
