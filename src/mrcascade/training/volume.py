"""Slices of one file, ready for training, in memory or read one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np


class Slices(Protocol):
    """Slices (S, H, W), real or complex. An array is one; others read a slice when asked for it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(S, H, W)."""

    @property
    def dtype(self) -> Any:
        """Type of the values."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


@dataclass(frozen=True)
class Volume:
    """Slices of one file.

    Attributes:
        slices: (S, H, W).
        scales: factor -> robust maximum of the measurement at that factor.
        group: anatomy (``DataFile``).
        subject: person; None if unknown.
        simulated: whether the phase of complex slices is simulated (``mrcascade.arrays.phase``).
        sha256: SHA-256 of the file; empty if unknown.
        facts: texts and numbers of its manifest, with the ``contrast`` from its name.
        private: whether its name must not be published (``mrcascade.data.subjects``).
    """

    file: str
    group: str
    split: str
    slices: Slices
    scales: dict[int, float]
    simulated: bool = False
    subject: str | None = None
    sha256: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    private: bool = False

    @property
    def channels(self) -> int:
        """2 for complex slices, else 1."""
        return 2 if np.issubdtype(self.slices.dtype, np.complexfloating) else 1

    def changed(self, change: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int]) -> Volume:
        """Return the volume with every slice changed when it is asked for.

        Args:
            change: maps a stack of one slice, (1, H, W), to one of the same kind.
            shape: sides of a changed slice.
        """
        return replace(self, slices=_ChangedWhenRead(self.slices, change, shape))


class _ChangedWhenRead:
    """Slices that are changed when they are read."""

    def __init__(
        self, source: Slices, change: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int]
    ) -> None:
        self._source, self._change = source, change
        self.shape, self.dtype = (len(source), *shape), source.dtype

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, place: int, /) -> np.ndarray:
        return self._change(self._source[place][None])[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[place] for place in range(len(self)))
