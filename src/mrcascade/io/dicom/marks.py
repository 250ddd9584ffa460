"""Marks of frames at one position in the header: echo, time, diffusion, number."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mrcascade.io.dicom.header import item, number, numbers, private_numbers, text, told, words

# Numbers and texts; () where the header does not say.
Mark = tuple[float | str, ...]

_DIGITS = 3  # digits of numbers that name a volume; further ones are rounding
_PHILIPS, _PHILIPS_MR = "Philips Imaging DD 001", "Philips MR Imaging DD 001"
_SIEMENS, _UIH = "SIEMENS MR HEADER", "Image Private Header"
_GE_B_VALUE_OFFSET = 1_000_000_000  # GE adds it to b-values


@dataclass(frozen=True)
class Marks:
    """The marks of a frame.

    Attributes:
        order: sorts frames where the numbers are reliable.
        volume: name -> mark that all frames of a volume share; marks that order time come last.
        loose: likewise, for marks that on some scanners differ from slice to slice.
        moments: name -> time, which only sorts frames of one position.
        number: index of the frame in its series, () where it has none.
    """

    order: tuple[float, ...]
    volume: Mapping[str, Mark] = field(hash=False)
    loose: Mapping[str, Mark] = field(hash=False)
    moments: Mapping[str, Mark] = field(hash=False)
    number: tuple[float, ...]


def classic_marks(dataset: Any) -> Marks:
    """Return the marks of a classic image, which has all elements at the top level."""
    named = ("InstanceNumber", "EchoTime", "TemporalPositionIdentifier", "AcquisitionNumber")
    values = {keyword: number(dataset, keyword) for keyword in named}
    instance = values["InstanceNumber"]
    return Marks(
        order=tuple(values[keyword] or 0.0 for keyword in named),
        volume={
            "echo time": _mark(values["EchoTime"]),
            "b-value": _b_value(dataset),
            "time": _mark(values["TemporalPositionIdentifier"]),
        },
        loose={
            "echo number": _rounded(told(dataset, "EchoNumbers", None)),
            "inversion time": _rounded(told(dataset, "InversionTime")),
            "flip angle": _rounded(told(dataset, "FlipAngle")),
            "gradient": _gradient(dataset),
            "cardiac phase": _rounded(private_numbers(dataset, 0x2001, 0x08, _PHILIPS)),
            "acquisition": _mark(values["AcquisitionNumber"]),
        },
        moments={
            "trigger time": told(dataset, "TriggerTime") or (),
            "acquisition time": _moment(dataset, "AcquisitionDateTime")
            or _date_and_time(dataset, "Acquisition"),
        },
        number=() if instance is None else (instance,),
    )


def enhanced_marks(macro: Callable[[str], Any], dataset: Any, index: int) -> Marks:
    """Return the marks of a frame of an enhanced image.

    Args:
        macro: finds a functional group's macro, {} where there is none.
        dataset: the file's pydicom Dataset.
        index: index of the frame in the file.
    """
    content, diffusion = macro("FrameContentSequence"), macro("MRDiffusionSequence")
    echo = number(macro("MREchoSequence"), "EffectiveEchoTime")
    b_value = number(diffusion, "DiffusionBValue")
    position = number(content, "TemporalPositionIndex")
    dimensions = numbers(content, "DimensionIndexValues", None) or ()
    direction = item(diffusion, "DiffusionGradientDirectionSequence") or {}
    label = macro("MRArterialSpinLabelingSequence")
    timing = macro("MRTimingAndRelatedParametersSequence")
    sync = macro("CardiacSynchronizationSequence")
    return Marks(
        order=(echo or 0.0, b_value or 0.0, position or 0.0, *dimensions),
        volume={
            "echo time": _mark(echo),
            "b-value": _mark(b_value),
            "time": _mark(position),
        },
        loose={
            "gradient": _rounded(told(direction, "DiffusionGradientOrientation", 3)),
            "label": tuple(words(label, "ASLContext")),
            "flip angle": _rounded(told(timing, "FlipAngle")),
            "inversion time": _rounded(told(macro("MRModifierSequence"), "InversionTimes", None)),
            "time offset": _rounded(
                told(macro("TemporalPositionSequence"), "TemporalPositionTimeOffset")
            ),
            "acquisition": _rounded(told(content, "FrameAcquisitionNumber")),
            "instance": _rounded(told(dataset, "InstanceNumber")),
            **{f"dimension {place}": (value,) for place, value in enumerate(dimensions)},
        },
        moments={
            "trigger time": told(sync, "NominalCardiacTriggerDelayTime") or (),
            "reference time": _moment(content, "FrameReferenceDateTime"),
            "acquisition time": _moment(content, "FrameAcquisitionDateTime"),
        },
        number=(number(dataset, "InstanceNumber") or 0.0, index),
    )


def _mark(value: float | None) -> Mark:
    return () if value is None else (round(value, _DIGITS),)


def _rounded(values: tuple[float, ...] | None) -> Mark:
    # Adding 0.0 makes -0.0 equal to 0.0 in every use.
    return tuple(round(value, _DIGITS) + 0.0 for value in values or ())


def _b_value(dataset: Any) -> Mark:
    """Return DiffusionBValue, or the vendor's private element for it."""
    ge = private_numbers(dataset, 0x0043, 0x39, "GEMS_PARM_01")
    found = (
        told(dataset, "DiffusionBValue")
        or private_numbers(dataset, 0x0019, 0x0C, _SIEMENS)
        or private_numbers(dataset, 0x2001, 0x03, _PHILIPS)
        or private_numbers(dataset, 0x0065, 0x09, _UIH)
        or (ge and (ge[0] % _GE_B_VALUE_OFFSET,))
    )
    return _rounded(found[:1]) if found else ()


def _gradient(dataset: Any) -> Mark:
    """Return DiffusionGradientOrientation, or the vendor's private element for it."""
    found = (
        told(dataset, "DiffusionGradientOrientation", 3)
        or private_numbers(dataset, 0x0019, 0x0E, _SIEMENS)
        or private_numbers(dataset, 0x0065, 0x37, _UIH)
    )
    if found:
        return _rounded(found)
    for group, elements, creator in (
        (0x2005, (0xB0, 0xB1, 0xB2), _PHILIPS_MR),
        (0x0019, (0xBB, 0xBC, 0xBD), "GEMS_ACQU_01"),
    ):
        parts = [private_numbers(dataset, group, element, creator) for element in elements]
        if all(parts):
            return _rounded(tuple(part[0] for part in parts if part))
    return ()


def _date_and_time(dataset: Any, kind: str) -> Mark:
    time = text(dataset, f"{kind}Time")
    return _as_moment(text(dataset, f"{kind}Date") + "T" + time) if time else ()


def _moment(dataset: Any, keyword: str) -> Mark:
    """Return a DT element as (date, time of day as HHMMSS.F)."""
    value = text(dataset, keyword)
    return _as_moment(value[:8] + "T" + value[8:]) if len(value) > 8 else ()


def _as_moment(value: str) -> Mark:
    match = re.match(r"([\d.]*)T(\d{2,6}(?:\.\d*)?)", value.replace(":", ""))
    return (match[1], float(match[2])) if match else ()
