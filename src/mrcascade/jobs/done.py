"""How the inputs of a batch ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mrcascade.jobs.common import Item

Status = Literal["done", "skipped", "failed"]


@dataclass
class Done:
    """How one input ended.

    Attributes:
        number: of the input in its batch, from 0.
        seconds: of the work on it, part of which may have gone on beside that on others.
        outputs: files of its result.
        notes: lines that were said of it.
        error: why it failed.
    """

    number: int
    item: Item
    status: Status = "done"
    seconds: float = 0.0
    outputs: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
