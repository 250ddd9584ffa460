"""The acquired matrix in a DICOM header, which can be smaller than the stored one."""

from typing import Any

from mrcascade.io.dicom.header import item, number, numbers, text


def acquired_matrix(dataset: Any, rows: int, columns: int) -> tuple[int, int] | None:
    """Return the acquired matrix (rows, columns) over the stored field of view.

    The phase-encoding lines cover PercentPhaseFieldOfView of the field of view along the frequency
    direction. Where the stored image covers more (some scanners store squares), the matrix is
    extended in proportion. It is at most the stored one; None where the header does not state it.
    """
    found = _classic(dataset) or _enhanced(dataset)
    if found is None:
        return None
    acquired, phase, percent, spacing = found
    stored = (rows, columns)
    if min(acquired) < 1:
        return None
    sizes = [float(n) for n in acquired]
    if phase is not None and percent is not None and 0 < percent < 100:
        frequency = 1 - phase
        extent = stored[frequency] * spacing[frequency] * percent / 100
        sizes[phase] *= stored[phase] * spacing[phase] / extent
    limited = [min(round(size), n) for size, n in zip(sizes, stored, strict=True)]
    return limited[0], limited[1]


_Found = tuple[tuple[int, int], int | None, float | None, tuple[float, ...]]


def _classic(dataset: Any) -> _Found | None:
    """Read AcquisitionMatrix: frequency rows, frequency columns, phase rows, phase columns.

    One of each pair is 0 (PS3.3 C.8.3.1).
    """
    values = numbers(dataset, "AcquisitionMatrix", None)
    if values is None or len(values) != 4:
        return None
    matrix = int(max(values[0], values[2])), int(max(values[1], values[3]))
    phase = 0 if values[2] and not values[3] else 1 if values[3] and not values[2] else None
    spacing = numbers(dataset, "PixelSpacing", 2) or (1.0, 1.0)
    return matrix, phase, number(dataset, "PercentPhaseFieldOfView"), spacing


def _enhanced(dataset: Any) -> _Found | None:
    """Read the MR FOV/Geometry macro (PS3.3 C.8.13.5.3), shared or of the first frame."""
    groups = [
        item(dataset, f"{kind}FunctionalGroupsSequence") or {} for kind in ("PerFrame", "Shared")
    ]
    field = next((f for g in groups if (f := item(g, "MRFOVGeometrySequence"))), None)
    measures: Any = next((m for g in groups if (m := item(g, "PixelMeasuresSequence"))), {})
    if field is None:
        return None
    along = {"ROW": 1, "COLUMN": 0}.get(text(field, "InPlanePhaseEncodingDirection"))
    frequency = number(field, "MRAcquisitionFrequencyEncodingSteps")
    steps = number(field, "MRAcquisitionPhaseEncodingStepsInPlane")
    if along is None or frequency is None or steps is None:
        return None
    matrix = (int(steps), int(frequency)) if along == 0 else (int(frequency), int(steps))
    spacing = numbers(measures, "PixelSpacing", 2) or (1.0, 1.0)
    return matrix, along, number(field, "PercentPhaseFieldOfView"), spacing
