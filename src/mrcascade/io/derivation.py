"""What a result says about how it was made, for formats that can say so (DICOM)."""

from dataclasses import dataclass

from mrcascade.errors import MRCascadeError
from mrcascade.io.pseudonym import Pseudonyms

NOTICE = "Research software; not for diagnosis."


@dataclass(frozen=True)
class Derivation:
    """Of one image that was computed from another.

    label: short, such as ``sr2x``. number: tells the images apart that one job makes, from 1. text:
    one sentence. prior: name, empty where none was used. window: the values to show from black
    to white. quantity: whether values are something else than the source's signal (a standard
    deviation). pseudonyms: what replaces the patient's identity; None keeps it.
    """

    label: str
    text: str
    window: tuple[float, float]
    number: int = 1
    prior: str = ""
    quantity: bool = False
    pseudonyms: Pseudonyms | None = None


def check_derivation(derivation: Derivation | None) -> Derivation:
    """The derivation, which a DICOM output needs; MRCascadeError where there is none."""
    if derivation is None:
        raise MRCascadeError("a DICOM output must say how it was derived; write .nii.gz instead")
    return derivation
