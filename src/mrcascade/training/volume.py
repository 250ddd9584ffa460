"""Slices of one file, ready for training."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


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
    slices: np.ndarray
    scales: dict[int, float]
    simulated: bool = False
    subject: str | None = None
    sha256: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    private: bool = False

    @property
    def channels(self) -> int:
        """2 for complex slices, else 1."""
        return 2 if np.iscomplexobj(self.slices) else 1
