"""Provenance of a result, for formats whose headers record it (DICOM)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.io.pseudonym import Pseudonyms

NOTICE = "Research software; not for diagnosis."
# Sidecar entries that hold names. Equal bytes under another name are the same input.
_NAMES = ("Files", "Sources")


@dataclass(frozen=True)
class Derivation:
    """Provenance of an image that was computed from another one.

    Attributes:
        label: short label, such as ``sr2x``.
        text: description in one sentence.
        window: values to show as black and as white.
        number: number of the image among those of one job, from 1.
        prior: name of the prior; empty where none was used.
        quantity: whether values are another quantity than the source's signal, such as a
            standard deviation.
        pseudonyms: replacements of the patient's identity; None keeps it.
        identity: hash of the work (`identity_of`), equal only for equal work; empty for work that
            equals no other.
    """

    label: str
    text: str
    window: tuple[float, float]
    number: int = 1
    prior: str = ""
    quantity: bool = False
    pseudonyms: Pseudonyms | None = None
    identity: str = ""


def check_derivation(derivation: Derivation | None) -> Derivation:
    """Return the derivation. Raises MRCascadeError where it is None: DICOM output needs one."""
    if derivation is None:
        raise MRCascadeError("a DICOM output must say how it was derived; write .nii.gz instead")
    return derivation


def identity_of(record: Mapping[str, Any]) -> str:
    """Return a hash of a sidecar's entries, without names of files.

    The entries are input, settings, seed, versions and device. UIDs that follow from the hash are
    equal where the pixels are.
    """
    told = {key: value for key, value in record.items() if key not in _NAMES}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
