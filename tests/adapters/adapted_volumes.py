"""Volumes that the tests of the adapters have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcascade import CascadePrior
from mrcascade.adapters.volume import Enlargement

SHAPE = (16, 3, 20)  # coronal slices of 6 mm
# Left-handed, oblique, unequal pixels.
TURN = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN @ np.diag([-2.0, 6.0, 1.5])
AFFINE[:3, 3] = 10, -20, 30


def enlargement(prior: CascadePrior, **changed: Any) -> Enlargement:
    settings: dict[str, Any] = {
        "factor": 2, "kernel": "area", "axes": None, "prior": prior, "noise": 0.01, "mode": None,
        "steps": None, "samples": 1, "seed": 3, "batch_size": 2,
    }  # fmt: skip
    return Enlargement(**settings | changed)
