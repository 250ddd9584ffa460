"""What is stated of an image's slices: by its header, or by the JSON file beside it."""

from typing import Any

from mrcascade.io.formats import format_named
from mrcascade.io.raw import StatedSlices
from mrcascade.io.sidecar import finite_number, metadata_beside
from mrcascade.io.source import Source


def stated_slices(source: Source) -> StatedSlices:
    """Return thickness and distance of the slices of an open image, as far as they are stated."""
    if source.slices is not None:
        return source.slices
    if not format_named(source.format).sidecars:
        return StatedSlices()
    document = metadata_beside(source.source)
    thickness = _length(document.get("SliceThickness"))
    return StatedSlices(
        by="the JSON file beside it",
        thickness=None if thickness is None else (thickness, thickness),
        distance=_length(document.get("SpacingBetweenSlices")),
        unread=tuple(
            name
            for name in ("SliceThickness", "SpacingBetweenSlices")
            if document.get(name) is not None and _length(document[name]) is None
        ),
    )


def _length(value: Any) -> float | None:
    return float(value) if finite_number(value) and value > 0 else None
