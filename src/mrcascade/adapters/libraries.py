"""Import of the libraries that adapters need, each an extra of the same name."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from typing import Any

import torch

from mrcascade.errors import MRCascadeError

# Library that holds the operator schemas of import_deepinv; they exist as long as it does.
_SCHEMAS: list[torch.library.Library] = []


def import_extra(module: str) -> Any:
    """Import a module, such as "monai.transforms", of the extra that its first part names.

    Raises MRCascadeError, which names the extra, where that fails.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _cannot_import(module.partition(".")[0], error) from error


def has_deepinv() -> bool:
    """Return whether deepinv is installed; it may still fail to import."""
    return find_spec("deepinv") is not None


def import_deepinv() -> Any:
    """Import deepinv, without torchvision's compiled operators if they do not fit this torch.

    Raises MRCascadeError where that fails.
    """
    try:
        return _deepinv()
    except ImportError as error:
        raise _cannot_import("deepinv", error) from error
    except RuntimeError:  # deepinv imports torchvision, whose operators may lack their code
        for name in [n for n in sys.modules if n.partition(".")[0] in ("torchvision", "deepinv")]:
            del sys.modules[name]
    # Schemas of the operators that torchvision names on import. deepinv's samplers use none.
    _SCHEMAS.append(torch.library.Library("torchvision", "DEF"))
    for operator in ("nms", "qnms"):
        _SCHEMAS[-1].define(f"{operator}() -> ()")
    try:
        return _deepinv()
    except (ImportError, RuntimeError) as error:
        raise _cannot_import("deepinv", error) from error


def _deepinv() -> Any:
    importlib.import_module("deepinv.sampling")
    return importlib.import_module("deepinv")


def _cannot_import(library: str, error: Exception) -> MRCascadeError:
    reason = " ".join(str(error).split())[:150]
    return MRCascadeError(
        f"{library} cannot be imported ({reason}); install it: pip install 'mrcascade[{library}]'"
    )
