"""Subjects of the images in a data folder, so that splits and statistics are by subject."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.io import ImageFile

# The first entity in the name of a BIDS file and of its folder.
_BIDS = re.compile(r"(?:^|_)(sub-[A-Za-z0-9]+)(?=_|$|\.)")
# A folder with a number in its name is a subject, unless the number counts something else.
_NUMBERED = re.compile(r"\d")
_NO_PERSON = re.compile(
    r"(t[12]|ses|visit|time|scan|series|run|echo|site|scanner|fold|batch|part|slice|ax|cor|sag)"
    r"[^a-z]*|\d+([.,_]\d+)?t",
    re.IGNORECASE,
)
_DIGITS = 16  # length of a published digest; its 64 bits make two equal ones very unlikely


def digest(text: str) -> str:
    """Return 16 hexadecimal digits in place of a text; equal texts give equal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def share_of(text: str) -> float:
    """Return a uniform number in [0, 1) that only the text decides.

    Subjects keep their split when others come and go.
    """
    return (
        int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big")
        / 2**32
    )


def find_subjects(
    images: Sequence[ImageFile],
    names: Sequence[PurePath],
    folders: Sequence[Sequence[str]],
    facts: Sequence[dict[str, Any]],
) -> list[str | None]:
    """Return the subject of each image of a data folder, None where it is not known.

    The first of these decides:

    1. ``subject`` in the manifest;
    2. the BIDS entity ``sub-`` in the name;
    3. the patient in the header (DICOM PatientID, fastMRI patient), as a digest;
    4. the outermost folder with a number, such as ``patient07``. Folders that all files share do
       not count, nor do those of a contrast, session, scanner or field strength.

    Args:
        images: the images.
        names: path of each, relative to the data folder.
        folders: folders in each name that are not splits.
        facts: the manifest's entry for each, {} without one.
    """
    shared = set.intersection(*(set(f) for f in folders)) if len(folders) > 1 else set()
    return [
        _told(entry) or _of_bids(name) or _of_header(image) or _of_folder(inside, shared)
        for image, name, inside, entry in zip(images, names, folders, facts, strict=True)
    ]


def _told(facts: dict[str, Any]) -> str | None:
    return str(facts["subject"]) if facts.get("subject") else None


def _of_bids(name: PurePath) -> str | None:
    found = (_BIDS.search(part) for part in name.parts)
    return next((match[1] for match in found if match), None)


def _of_header(image: ImageFile) -> str | None:
    patient = ""
    with suppress(MRCascadeError):  # a damaged file is reported when it is read
        patient = image.person
    return f"patient {digest(patient)}" if patient else None


def _of_folder(folders: Sequence[str], passed_over: set[str]) -> str | None:
    return next(
        (
            folder
            for folder in folders
            if folder not in passed_over
            and _NUMBERED.search(folder)
            and not _NO_PERSON.fullmatch(folder)
        ),
        None,
    )
