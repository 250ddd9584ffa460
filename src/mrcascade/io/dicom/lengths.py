"""Lengths in the header of a DICOM file: slice thickness and distance of slices."""

from typing import Any

from mrcascade.io.dicom.header import item, number


def length(place: Any, keyword: str) -> float | None:
    """Return an element of a dataset or a macro as a length in mm; None unless it is above 0."""
    value = number(place, keyword)
    return value if value is not None and value > 0 else None


def slice_distance(dataset: Any) -> float:
    """Distance of slices where there is only one: SpacingBetweenSlices, SliceThickness, or 1 mm."""
    shared = item(dataset, "SharedFunctionalGroupsSequence") or {}
    for place in (dataset, item(shared, "PixelMeasuresSequence") or {}):
        for keyword in ("SpacingBetweenSlices", "SliceThickness"):
            if (value := length(place, keyword)) is not None:
                return value
    return 1.0
