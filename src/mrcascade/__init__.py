"""Super-resolution of MR images with scale-cascaded diffusion priors.

The names below are imported on first use, so that ``import mrcascade`` itself is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "CallableOperator": "mrcascade.operators",
    "CascadePrior": "mrcascade.prior.cascade",
    "Intensity": "mrcascade.arrays.intensity",
    "LaplacianPyramid": "mrcascade.operators.pyramid",
    "MRCascadeError": "mrcascade.errors",
    "Plan": "mrcascade.restore",
    "RECIPES": "mrcascade.sampling",
    "Restoration": "mrcascade.restore",
    "Restorer": "mrcascade.restore",
    "SamplerSettings": "mrcascade.sampling",
    "SeparableOperator": "mrcascade.operators",
    "super_resolve": "mrcascade.restore",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'mrcascade' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
