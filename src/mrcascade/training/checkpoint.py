"""Reading and checking of a level's checkpoint."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import torch

from mrcascade.errors import MRCascadeError

_KINDS: dict[str, type | tuple[type, ...]] = {
    "config": str,
    "level": int,
    "statistics": str,
    "networks": dict,
    "optimizer": list,
    "ema": list,
    "seen": int,
    "seconds": (int, float),
}


def read_state(path: Path) -> dict[str, Any]:
    """Return the entries of a checkpoint, on the CPU.

    Raises MRCascadeError if the file is damaged, or if entries have wrong types or weights that
    are not finite.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not check the checksums
            damaged = archive.testzip()
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        raise MRCascadeError(
            f"{path}: not a readable checkpoint; delete it and train anew"
        ) from error
    if damaged:
        raise MRCascadeError(f"{path}: not a readable checkpoint; delete it and train anew")
    if not isinstance(state, dict) or not _holds_its_entries(state):
        raise not_a_checkpoint(path)
    if not all(_finite(weights) for weights in (state["networks"], *state["ema"])):
        raise MRCascadeError(
            f"{path}: its weights are NaN or infinite, so the training cannot go on; delete it and"
            " train anew, with a lower learning rate"
        )
    return state


def not_a_checkpoint(path: Path) -> MRCascadeError:
    """Return the error for a file that torch can read but that is not a checkpoint."""
    return MRCascadeError(f"{path}: not a checkpoint of a level; delete it and train anew")


def _holds_its_entries(state: dict[str, Any]) -> bool:
    if not all(isinstance(state.get(key), kind) for key, kind in _KINDS.items()):
        return False
    if not isinstance(state.get("scaler", {}), dict):  # older versions had none
        return False
    try:
        config, statistics = json.loads(state["config"]), json.loads(state["statistics"])
    except (ValueError, RecursionError):
        return False
    described = [config, *statistics] if isinstance(statistics, list) and statistics else [None]
    return state["seen"] >= 0 and all(
        isinstance(entry, dict) for entry in (*described, *state["ema"])
    )


def _finite(weights: dict[str, Any]) -> bool:
    return all(v.isfinite().all() for v in weights.values() if isinstance(v, torch.Tensor))
