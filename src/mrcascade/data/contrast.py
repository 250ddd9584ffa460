"""Contrast of an image, by its manifest or file name, and the family of a contrast."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

# In a file name a contrast is a separate word, as in sub-01_T2w.nii.gz or flair_ax.npy.
_IN_NAME = re.compile(
    r"(?<![a-z0-9])(t1|t2|pd|flair)(w|-?weighted)?(?![a-z0-9])|"
    r"(?<![a-z0-9])(axt1|axt2|axflair)[a-z]*(?![a-z0-9])",
    re.IGNORECASE,
)
_FAMILY = re.compile(r"(?<![A-Za-z0-9])(FLAIR|T1|T2|PD|intermediate)(?![0-9])", re.IGNORECASE)


def contrast_of(name: PurePath, facts: dict[str, Any]) -> str:
    """Return the contrast of a file, such as ``T2w``; empty where it is not known.

    Args:
        name: path of the file, whose last part may contain the contrast.
        facts: the manifest's entry, whose ``contrast`` counts first.
    """
    if facts.get("contrast"):
        return str(facts["contrast"])
    found = _IN_NAME.search(name.name)
    return found[0] if found else ""


def contrast_family(contrast: str) -> str:
    """Return the family that a contrast's description names first.

    Families are ``T1``, ``T2``, ``PD``, ``FLAIR`` and ``intermediate``. A description without one
    is returned unchanged.
    """
    found = _FAMILY.search(re.sub(r"^(?i:ax)(?=[TF])", "", contrast))
    if not found:
        return contrast
    word = found[1]
    return "intermediate" if word.lower() == "intermediate" else word.upper()
