"""Snapshots of the averaged weights, which allow other EMA profiles after a run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.io import atomic_output
from mrcascade.storage.files import check_regular
from mrcascade.training.ema import PowerEMA, synthesize

_SNAPSHOT = re.compile(r"level[0-9]+-snapshot-([0-9]+)\.safetensors")
LARGEST_STD = 0.25  # gamma is positive up to here, as inner products of profiles require


def save_snapshot(folder: Path, level: int, seen: int, ema: PowerEMA) -> None:
    """Write every profile's weights after ``seen`` images to a snapshot.

    The file is ``level<i>-snapshot-<seen>.safetensors``. float16 is precise enough (Karras et al.
    2024, section 3.2).
    """
    from safetensors.torch import save

    tensors = {
        f"{index}.{name}": tensor.half().contiguous()
        for index in range(len(ema.stds))
        for name, tensor in ema.parameters(index).items()
    }
    metadata = {"images": str(seen), "stds": json.dumps(ema.stds)}
    with atomic_output(_name(folder, level, seen), overwrite=True) as temporary:
        # Not save_file, whose files only their owner can read.
        temporary.write_bytes(save(tensors, metadata))


def drop_snapshots(folder: Path, level: int, seen: int) -> None:
    """Delete snapshots that a killed run wrote after its last checkpoint, at ``seen`` images.

    Raises MRCascadeError for a file with such a name that is not a snapshot, and keeps it.
    """
    for images, path in _snapshots(folder, level):
        if images > seen:
            _stds(path)
            path.unlink()


def snapshot_files(folder: Path, level: int) -> list[Path]:
    """Return the files with names of a level's snapshots, oldest first."""
    return [path for _, path in _snapshots(folder, level)]


def rebuild_profile(folder: Path, level: int, std: float) -> dict[str, Tensor]:
    """Return the weights of the EMA profile of relative deviation ``std`` at the last snapshot.

    Raises MRCascadeError if ``std`` is out of range or there are too few snapshots.
    """
    if not 0 < std <= LARGEST_STD:
        raise MRCascadeError(f"EMA profile {std:g}: must be above 0 and at most {LARGEST_STD}")
    found = _snapshots(folder, level)
    if len(found) < 2:
        raise MRCascadeError(
            f"{folder}: {len(found)} snapshots of level {level}, too few to rebuild an EMA profile"
        )
    profiles = [(path, images, i, s) for images, path in found for i, s in enumerate(_stds(path))]
    snapshots = (_profile(path, index) for path, _, index, _ in profiles)
    times, stds = [p[1] for p in profiles], [p[3] for p in profiles]
    return {name: v.float() for name, v in synthesize(snapshots, times, stds, std).items()}


def _name(folder: Path, level: int, seen: int) -> Path:
    return folder / f"level{level}-snapshot-{seen}.safetensors"


def _snapshots(folder: Path, level: int) -> list[tuple[int, Path]]:
    """Return images seen and file of every snapshot of a level, oldest first."""
    paths = folder.glob(f"level{level}-snapshot-*.safetensors")
    numbered = ((_SNAPSHOT.fullmatch(path.name), path) for path in paths)
    return sorted((int(match[1]), path) for match, path in numbered if match)


def _stds(path: Path) -> list[float]:
    """Return the relative standard deviations of the profiles in a snapshot."""
    with _opened(path) as file:
        return [float(std) for std in json.loads(file.metadata()["stds"])]


def _profile(path: Path, index: int) -> dict[str, Tensor]:
    prefix = f"{index}."
    with _opened(path) as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    check_regular(path)
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise MRCascadeError(f"{path}: not a readable snapshot; delete it") from error
