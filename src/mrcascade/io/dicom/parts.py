"""The part of a complex image, or the map derived from one, that a frame holds.

The standard states it in ComplexImageComponent (PS3.3 C.8.13.3.1.2), which classic images lack.
Vendors state it in the values of ImageType from the third on: Siemens and United Imaging in a
letter, Philips in two values such as ``M_FFE, M`` or ``VELOCITY MAP, P``, Canon and Bruker in
words. GE states it only in (0043,102F). A unit such as Hz in RescaleType identifies maps as well.
"""

import re
from typing import Any

from mrcascade.io.dicom.header import private, private_numbers, text

MAGNITUDE = "magnitudes"
_PHASE, _REAL, _IMAGINARY = "phases", "real parts", "imaginary parts"
_VELOCITY, _FIELD, _MIXED = "velocities", "B0 maps", "mixed parts"

_COMPONENTS = {
    "MAGNITUDE": MAGNITUDE,
    "PHASE": _PHASE,
    "REAL": _REAL,
    "IMAGINARY": _IMAGINARY,
    "MIXED": _MIXED,
}
_LETTERS = {"M": MAGNITUDE, "P": _PHASE, "R": _REAL, "I": _IMAGINARY}
_GE_CODES = {0: MAGNITUDE, 1: _PHASE, 2: _REAL, 3: _IMAGINARY}
# Words that stand alone or before "MAP" or "IMAGE".
_WORDS = {
    "MAGNITUDE": MAGNITUDE,
    "PHASE": _PHASE,
    "REAL": _REAL,
    "IMAGINARY": _IMAGINARY,
    "PHASEMAP": _PHASE,
    "PHASE DIFFERENCE": _PHASE,
    "VELOCITY": _VELOCITY,
    "B0": _FIELD,
    "B0MAP": _FIELD,
    "FIELD": _FIELD,
    "FIELDMAP": _FIELD,
}
_SUFFIX = re.compile(r" (MAP|IMAGE)$")
_LETTER_AND_SEQUENCE = re.compile(r"([MPRI])_[A-Z0-9_]+")  # M_FFE, R_IR
_FLAVOUR = 2  # index of the third value of ImageType and FrameType
_UNITS = {
    "HZ": _FIELD,
    "RAD": _PHASE,
    "RADIALS": _PHASE,
    "MRAD": _PHASE,
    "MILLIRADIALS": _PHASE,
    "MILLIRADIANS": _PHASE,
    "CM/S": _VELOCITY,
    "MM/S": _VELOCITY,
    "M/S": _VELOCITY,
}


def part_of(image_type: list[str], component: str, dataset: Any, scaling: Any) -> str:
    """Return the part: ``MAGNITUDE``, also by default, or another part in words.

    Where sources disagree, another part than magnitude counts: a prior of magnitudes must get
    nothing else.

    Args:
        image_type: values of ImageType or FrameType.
        component: ComplexImageComponent, "" where it is absent.
        dataset: holds private elements.
        scaling: holds RescaleType.
    """
    said = _COMPONENTS.get(component.upper(), "")
    found = [said, *_by_image_type(image_type, said), *_by_maker(dataset)]
    found.append(_UNITS.get(text(scaling, "RescaleType").upper(), ""))
    others = [part for part in found if part not in ("", MAGNITUDE)]
    maps = [part for part in others if part in (_VELOCITY, _FIELD)]  # more exact than "phases"
    return (maps or others or [MAGNITUDE])[0]


def _by_image_type(values: list[str], said: str) -> list[str]:
    """Return the parts that the values from the third on name.

    Single letters count only in the third and the fourth.
    """
    named = values[_FLAVOUR:]
    found = []
    for place, value in enumerate(named):
        plain = value.replace("_", " ")
        if plain == "VELOCITY" and said == MAGNITUDE:
            continue  # the standard's flavour of velocity-encoded images, magnitudes among them
        word = _WORDS.get(_SUFFIX.sub("", plain), "")
        if not word and place < 2 and (letter := _letter(value)):
            if place and named[0] == "M":
                continue  # Siemens: the values after the letter state how the image was filtered
            word = _LETTERS[letter]
        found.append(word)
    return found


def _letter(value: str) -> str:
    if value in _LETTERS:
        return value
    match = _LETTER_AND_SEQUENCE.fullmatch(value)
    return match[1] if match else ""


def _by_maker(dataset: Any) -> list[str]:
    ge = private_numbers(dataset, 0x0043, 0x2F, "GEMS_PARM_01")
    philips = str(private(dataset, 0x2005, 0x11, "Philips MR Imaging DD 001") or "").strip()
    siemens = str(private(dataset, 0x0051, 0x16, "SIEMENS MR HEADER") or "").strip()
    return [
        _GE_CODES.get(int(ge[0]), "") if ge else "",
        _LETTERS.get(philips, ""),
        _LETTERS.get(re.split(r"[/ \\]", siemens)[0], ""),
    ]
