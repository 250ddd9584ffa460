"""Model card of a saved prior: metadata that the hub reads, and a page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mrcascade.errors import MRCascadeError

CARD, FACTS = "README.md", "facts.json"
TAGS = ("mri", "super-resolution", "diffusion", "inverse-problems", "medical")
# A link to a file above the card, which a folder of its own does not hold.
_LINK_ABOVE = re.compile(r"\[([^\]]*)\]\(\.\./[^)]*\)")
_MARK = "---\n"
_PAGE = """# {name}

Scale-cascaded diffusion prior for {kind} MR images, for mrcascade. Research use; not for diagnosis.

{kind_title} images, kernel `{kernel}`, factors up to {maximum_factor:g} per axis, {levels}, {size:.1f} MB.

## Use

    mrcascade info ORG/REPO --download
    mrcascade sr t2.nii.gz -o out/ --factor 2 --prior ORG/REPO

## Training

{slices} slices of {files} files ({data}). `prior.json` has the training's settings and figures, and names the
images (`provenance`).

## Limits

Details of samples are plausible, not measured. Scanners, contrasts, anatomies and pathologies that the training did
not show are unseen.
"""  # noqa: E501 (a page, not code)


def with_metadata(page: str, license: str | None) -> str:
    """Return a card with the metadata of the hub at its head.

    A card that has metadata keeps them. Links to files above the card become their text.

    Args:
        page: the card.
        license: identifier of a licence as the hub lists them, such as ``cc-by-4.0``; None to
            state none.

    Raises:
        MRCascadeError: a licence is given for a card that has its own metadata.
    """
    if page.startswith(_MARK):
        if license is not None:
            raise MRCascadeError(
                f"licence {license!r}: the prior's {CARD} has metadata of its own; state it there"
            )
        return page
    # JSON's texts are YAML's, too.
    stated = [] if license is None else [f"license: {json.dumps(license)}"]
    lines = [
        *stated,
        "library_name: mrcascade",
        "pipeline_tag: image-to-image",
        "tags:",
        *(f"- {tag}" for tag in TAGS),
    ]
    return _MARK + "\n".join(lines) + f"\n{_MARK}\n" + _LINK_ABOVE.sub(r"\1", page)


def plain_card(document: Mapping[str, Any], size: int) -> str:
    """Return the card of a prior that has none, from its JSON and the bytes of its weights."""
    provenance = document["provenance"]
    kind = "complex" if document["channels"] == 2 else "magnitude"
    files, count = provenance.get("files"), len(document["levels"])
    return _PAGE.format(
        name=document["name"],
        kind=kind,
        kind_title=kind.capitalize(),
        kernel=document["kernel"],
        maximum_factor=document["maximum_factor"],
        levels=f"{count} level{'s' * (count != 1)}",
        size=size / 1e6,
        slices=provenance.get("slices", "An unknown number of"),
        files=len(files) if isinstance(files, list) else "unknown",
        data=provenance.get("data", "unknown data"),
    )
