"""Outcomes of the inputs of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mrcascade.jobs.common import Item

Status = Literal["done", "skipped", "failed"]


@dataclass
class Done:
    """Outcome of one input.

    Attributes:
        number: index of the input in its batch, from 0.
        seconds: wall time of the work on it, which may overlap with work on other inputs.
        outputs: files of its result.
        notes: lines that were reported about it.
        error: reason of its failure.
    """

    number: int
    item: Item
    status: Status = "done"
    seconds: float = 0.0
    outputs: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
