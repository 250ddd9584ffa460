"""One file's slices, ready for training."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Volume:
    """Slices (S, H, W) of one file; ``scales[f]`` is the robust maximum at factor ``f``.

    ``group`` is an anatomy and ``subject`` a person, None where unknown, see ``DataFile``;
    ``simulated`` says that the phase of complex slices is made up (``mrcascade.arrays.phase``).
    ``sha256`` is that of the file, empty where unknown, and ``facts`` are the texts and numbers of
    its manifest, with the ``contrast`` that its name tells. ``private`` says that its name stays
    out of what is published (``mrcascade.data.subjects``).
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
