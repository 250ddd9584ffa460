"""The contrast of an image, as its manifest or its name says, and the family it belongs to."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

# A contrast in a file's name is a word of its own, as in sub-01_T2w.nii.gz or flair_ax.npy.
_IN_NAME = re.compile(
    r"(?<![a-z0-9])(t1|t2|pd|flair)(w|-?weighted)?(?![a-z0-9])|"
    r"(?<![a-z0-9])(axt1|axt2|axflair)[a-z]*(?![a-z0-9])",
    re.IGNORECASE,
)
_FAMILY = re.compile(r"(?<![A-Za-z0-9])(FLAIR|T1|T2|PD|intermediate)(?![0-9])", re.IGNORECASE)


def contrast_of(name: PurePath, facts: dict[str, Any]) -> str:
    """Contrast of a file: ``contrast`` of its manifest's facts, else the word of its name that is
    one, such as ``T2w``; empty where neither says."""
    if facts.get("contrast"):
        return str(facts["contrast"])
    found = _IN_NAME.search(name.name)
    return found[0] if found else ""


def contrast_family(contrast: str) -> str:
    """``T1``, ``T2``, ``PD``, ``FLAIR`` or ``intermediate``, whichever a description names first;
    the description itself where it names none."""
    found = _FAMILY.search(re.sub(r"^(?i:ax)(?=[TF])", "", contrast))
    if not found:
        return contrast
    word = found[1]
    return "intermediate" if word.lower() == "intermediate" else word.upper()
