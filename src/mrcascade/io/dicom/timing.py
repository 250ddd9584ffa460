"""Time from one volume of a series to the next, which NIfTI stores as fourth voxel size."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from mrcascade.io.dicom.header import item, text, told
from mrcascade.io.dicom.marks import Mark, Marks

# Volumes that differ in one of these need not follow each other in time.
_OTHER_SIGNAL = ("echo time", "echo number", "inversion time", "flip angle")
_MILLISECOND = 1e-3
_IRREGULAR = 0.05  # share of the interval by which steps of a regular series may differ
_SAME_AS_STATED = 0.1  # share by which times that were rounded may differ from RepetitionTime


@dataclass(frozen=True)
class Timing:
    """Times that a file states, in seconds; None where it does not.

    Attributes:
        repetition: RepetitionTime, where all slices are excited once in it. 3-D encodings repeat
            for every line, so it is None there.
        resolution: TemporalResolution.
    """

    repetition: float | None
    resolution: float | None


def timing_of(dataset: Any) -> Timing:
    """Read the timing of a classic or enhanced image; malformed elements count as absent."""
    shared = item(dataset, "SharedFunctionalGroupsSequence") or {}
    frame = item(dataset, "PerFrameFunctionalGroupsSequence") or {}
    macros = [item(g, "MRTimingAndRelatedParametersSequence") for g in (shared, frame)]
    places = [dataset, *(macro for macro in macros if macro is not None)]
    repetition, resolution = (
        next((v[0] * _MILLISECOND for p in places if (v := told(p, key)) and v[0] > 0), None)
        for key in ("RepetitionTime", "TemporalResolution")
    )
    volumetric = text(dataset, "MRAcquisitionType").upper() == "3D"
    return Timing(None if volumetric else repetition, resolution)


def volume_seconds(marks: Sequence[Marks], timing: Timing) -> float | None:
    """Return the time from one volume to the next in seconds.

    The times of the images decide, then TemporalResolution, then RepetitionTime, as in dcm2niix.

    Args:
        marks: marks of one slice in each volume, in their order.
        timing: times that the header states.

    Returns:
        None where the volumes differ in something else than time, or follow each other irregularly.
    """
    if len(marks) < 2 or any(_differs(marks, name) for name in _OTHER_SIGNAL):
        return None
    stated = timing.repetition
    for times in _times(marks):
        steps = np.diff(times)
        if not (steps > 0).all():
            continue
        mean = float(steps.mean())
        rounding = 1.0 / len(steps) if np.equal(times, np.round(times)).all() else 0.0
        if stated and abs(mean - stated) <= max(_SAME_AS_STATED * stated, rounding):
            return stated
        return mean if np.ptp(steps) <= _IRREGULAR * mean else None
    return timing.resolution or (None if _differs(marks, "cardiac phase") else stated)


def _differs(marks: Sequence[Marks], name: str) -> bool:
    return len({one.volume.get(name) or one.loose.get(name) or () for one in marks}) > 1


def _times(marks: Sequence[Marks]) -> list[np.ndarray]:
    """Return the times that every volume has, each in seconds, the most reliable first."""
    columns = [
        [_scaled(one.loose.get("time offset"), 1.0) for one in marks],
        [_scaled(one.moments.get("trigger time"), _MILLISECOND) for one in marks],
        [_of_day(one.moments.get("reference time")) for one in marks],
        [_of_day(one.moments.get("acquisition time")) for one in marks],
    ]
    return [np.array(column, dtype=float) for column in columns if None not in column]


def _scaled(mark: Mark | None, unit: float) -> float | None:
    return float(mark[0]) * unit if mark else None


def _of_day(moment: Mark | None) -> float | None:
    """Return seconds since the year 0 of a date and a time as HHMMSS.F."""
    if not moment:
        return None
    day, clock = str(moment[0]), float(moment[1])
    minutes, seconds = divmod(clock, 100)
    hours, minutes = divmod(minutes, 100)
    try:
        days = date(int(day[:4]), int(day[4:6]), int(day[6:8])).toordinal() if day else 0
    except ValueError:
        days = 0
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
