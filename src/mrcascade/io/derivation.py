"""What a result says about how it was made, for formats that can say so (DICOM)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.io.pseudonym import Pseudonyms

NOTICE = "Research software; not for diagnosis."
# Entries of a sidecar that are names; the same bytes under another name are the same input.
_NAMES = ("Files", "Sources")


@dataclass(frozen=True)
class Derivation:
    """Of one image that was computed from another.

    label: short, such as ``sr2x``. number: tells the images apart that one job makes, from 1. text:
    one sentence. prior: name, empty where none was used. window: the values to show from black
    to white. quantity: whether values are something else than the source's signal (a standard
    deviation). pseudonyms: what replaces the patient's identity; None keeps it. identity: of
    `identity_of`, the same for the same work alone; empty for work that is like no other.
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
    """The derivation, which a DICOM output needs; MRCascadeError where there is none."""
    if derivation is None:
        raise MRCascadeError("a DICOM output must say how it was derived; write .nii.gz instead")
    return derivation


def identity_of(record: Mapping[str, Any]) -> str:
    """A hash of what a sidecar says but for names of files: input, settings, seed, versions,
    device. UIDs that follow from it are the same where the pixels are."""
    told = {key: value for key, value in record.items() if key not in _NAMES}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
