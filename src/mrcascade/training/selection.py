"""Selection of training volumes: exclusions, sampling probabilities, provenance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.data.contrast import contrast_family
from mrcascade.data.subjects import digest
from mrcascade.errors import MRCascadeError
from mrcascade.training.config import TrainConfig, check_exclusion
from mrcascade.training.volume import Volume

_ORDER = "anatomy, subject, contrast, file, slice"
_OLDER_ORDER = "anatomy, file by the root of its number of slices, slice"


def without(volumes: Sequence[Volume], exclude: Sequence[str], data: Path) -> list[Volume]:
    """Return the volumes that no exclusion ``FIELD=WORD`` matches.

    A field is ``anatomy``, ``subject``, ``file`` or a field of the manifest. An exclusion matches
    if a word of the field's text starts with its word: ``contrast=T2`` matches "T2w TSE" and
    "T2-weighted". Case is ignored. Raises MRCascadeError for an exclusion without any match.
    """
    for text in exclude:
        field, word = check_exclusion(text)
        begins = re.compile(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![0-9])", re.IGNORECASE)
        kept = [v for v in volumes if not begins.search(_fields(v).get(field, ""))]
        if len(kept) == len(volumes):
            known = sorted({_fields(v)[field] for v in volumes if field in _fields(v)})
            said = f"there are {', '.join(known)}" if known else "no file says it"
            raise MRCascadeError(f"{data}: --exclude {text} names no file; of {field!r} {said}")
        volumes = kept
    return list(volumes)


def _fields(volume: Volume) -> dict[str, str]:
    known = {"anatomy": volume.group, "file": volume.file}
    return {**volume.facts, **known, **({"subject": volume.subject} if volume.subject else {})}


def volume_subject(volume: Volume) -> str:
    """Return the volume's subject, or its file name if the subject is unknown."""
    return volume.subject or volume.file


def family_of(volume: Volume) -> str:
    """Return the volume's contrast (`contrast_family`), or its file name if it is unknown."""
    contrast = volume.facts.get("contrast")
    return contrast_family(contrast) if contrast else volume.file


def slice_weights(
    volumes: Sequence[Volume], anatomy_balance: float = 1.0, contrast_balance: float = 0.0
) -> np.ndarray:
    """Return the sampling probability of every slice.

    A patch is drawn by anatomy, then by subject, contrast, file and slice, with equal probability
    at each step. A subject with eight echoes thus counts as one subject, and subjects with many
    slices do not dominate. If no subject is known, the probability of a file is proportional to the
    square root of its number of slices, and the balances have no effect.

    Args:
        volumes: the volumes.
        anatomy_balance: an anatomy's probability is proportional to its number of subjects to the
            power of ``1 - anatomy_balance``; 0 draws all subjects with equal probability.
        contrast_balance: files are weighted by their contrast's probability within the anatomy to
            the power of ``-contrast_balance``; 1 draws contrasts with equal probability.
    """
    if not any(volume.subject for volume in volumes):
        return _by_file(volumes)
    keys = [(v.group, volume_subject(v), family_of(v), v.file) for v in volumes]
    people: dict[str, set[str]] = {}
    for group, subject, *_ in keys:
        people.setdefault(group, set()).add(subject)
    weights = np.array([len(people[group]) ** (1 - anatomy_balance) for group, *_ in keys])
    for depth in range(4):  # anatomies, subjects in them, contrasts, files
        members: dict[tuple[str, ...], set[str]] = {}
        for key in keys:
            members.setdefault(key[:depth], set()).add(key[depth])
        weights /= [len(members[key[:depth]]) for key in keys]
    copies: dict[tuple[str, ...], int] = {}
    for key in keys:
        copies[key] = copies.get(key, 0) + 1
    weights /= [copies[key] for key in keys]
    weights = _balanced(weights, [(v.group, family_of(v)) for v in volumes], contrast_balance)
    counts = [len(v.slices) for v in volumes]
    per_slice = np.repeat(weights / np.array(counts), counts)
    return per_slice / per_slice.sum()


def _balanced(
    weights: np.ndarray, contrasts: Sequence[tuple[str, str]], strength: float
) -> np.ndarray:
    """Return weights with rare contrasts raised; the sum over each anatomy stays."""
    shares, before, after = (dict[Any, float]() for _ in range(3))
    for contrast, weight in zip(contrasts, weights, strict=True):
        shares[contrast] = shares.get(contrast, 0.0) + weight
    raised = weights * [shares[contrast] ** -strength for contrast in contrasts]
    for (group, _), old, new in zip(contrasts, weights, raised, strict=True):
        before[group] = before.get(group, 0.0) + old
        after[group] = after.get(group, 0.0) + new
    return np.asarray(raised * [before[group] / after[group] for group, _ in contrasts])


def _by_file(volumes: Sequence[Volume]) -> np.ndarray:
    counts = np.array([len(volume.slices) for volume in volumes])
    totals: dict[str, float] = {}
    for volume, count in zip(volumes, counts, strict=True):
        totals[volume.group] = totals.get(volume.group, 0.0) + np.sqrt(count)
    weights = np.sqrt(counts) / [totals[volume.group] for volume in volumes] / counts
    per_slice = np.repeat(weights, counts)
    return per_slice / per_slice.sum()


def describe_selection(
    train: Sequence[Volume], validation: Sequence[Volume], config: TrainConfig
) -> Mapping[str, Any]:
    """Return the provenance's entries about the images of a prior.

    * ``files``, ``validation_files``: names of files; for private files their hash.
    * ``subjects``, ``contents`` and the same for the validation: digests by which others recognise
      a subject (`mrcascade.data.subjects.digest`) and the bytes of a file.
    * ``sampling``: order in which a patch is drawn; subjects, files, slices and probability of each
      anatomy and contrast.
    """
    told: dict[str, Any] = {}
    for prefix, volumes in (("", train), ("validation_", validation)):
        told[f"{prefix}files"] = [_public_name(v) for v in volumes]
        told[f"{prefix}subjects"] = sorted({digest(v.subject) for v in volumes if v.subject})
        told[f"{prefix}contents"] = sorted({v.sha256[:16] for v in volumes if v.sha256})
    known = any(v.subject for v in train)
    told["sampling"] = {
        "order": _ORDER if known else _OLDER_ORDER,
        "anatomy_balance": config.anatomy_balance,
        "contrast_balance": config.contrast_balance,
        "drawn": _drawn(train, config),
    }
    return told


def _public_name(volume: Volume) -> str:
    return f"sha256:{volume.sha256[:16]}" if volume.private else volume.file


def _drawn(volumes: Sequence[Volume], config: TrainConfig) -> list[dict[str, Any]]:
    balances = config.anatomy_balance, config.contrast_balance
    weights = iter(slice_weights(volumes, *balances))
    members: dict[tuple[str, str], list[Volume]] = {}
    shares: dict[tuple[str, str], float] = {}
    for volume in volumes:
        contrast = volume.facts.get("contrast")
        key = volume.group, contrast_family(contrast) if contrast else "unknown"
        members.setdefault(key, []).append(volume)
        shares[key] = shares.get(key, 0.0) + sum(next(weights) for _ in volume.slices)
    return [
        {
            "anatomy": group,
            "contrast": contrast,
            "subjects": len({volume_subject(v) for v in found}),
            "files": len(found),
            "slices": sum(len(v.slices) for v in found),
            "share": round(float(shares[group, contrast]), 4),
        }
        for (group, contrast), found in sorted(members.items())
    ]
