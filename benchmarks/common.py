"""Helpers of several benchmarks: options, one-line errors, meters, JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrcascade.errors import MRCascadeError
from mrcascade.prior.denoiser import LevelNetworks


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


def random_measurement(shape: tuple[int, int]) -> np.ndarray:
    """Return a measurement (h, w) of noise for timings, which do not depend on its content."""
    return np.abs(np.random.default_rng(0).normal(size=shape)).astype(np.float32)


class NetworkMeter:
    """Meter that sums the growth of ``read()`` over the networks' forward passes."""

    def __init__(self, read: Callable[[], float]) -> None:
        self.read = read
        self.total = 0.0

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Count every pass of every level within the block."""
        originals = {name: getattr(LevelNetworks, name) for name in ("forward", "conditional_mean")}
        for name, function in originals.items():
            setattr(LevelNetworks, name, self._metered(function))
        try:
            yield
        finally:
            for name, function in originals.items():
                setattr(LevelNetworks, name, function)

    def _metered(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def metered(*arguments: Any) -> Any:
            before = self.read()
            result = function(*arguments)
            self.total += self.read() - before
            return result

        return metered


def table_row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def write_json(options: argparse.Namespace, **document: Any) -> None:
    """Write the options and the results to ``options.output``, if it is given."""
    if options.output is None:
        return
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    settings |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"settings": settings, **document}, indent=1) + "\n")
