"""Identity of a result: exact digests on one machine, fingerprints with a tolerance on any.

Libraries sum in different orders, so float32 results differ between machines in their last digits.
A fingerprint holds projections on fixed vectors of random signs with norm 1. For an error ``d``
that is independent of the signs, a projection of n values has the standard deviation
``||d|| / sqrt(n)``.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image

VECTORS = 4
# Relative L2 error that another order of sums may make, and relative error of a number in a
# sidecar: estimates of noise amplify rounding. See `tests/fingerprints/__init__.py`.
ROUNDING, ESTIMATE = 2e-5, 1e-3
_DEVIATIONS = 5  # a normal number exceeds so many standard deviations once in two million times
# What differs from run to run, or from one version or machine to another, and prose.
_PASSING = {
    *("Software", "Seconds", "seconds", "SourceSHA256", "timed", "files", "SoftwareVersions"),
    *("SmallestImagePixelValue", "LargestImagePixelValue"),
    *("Description", "NoiseOrigin", "Warnings", "DerivationDescription", "facts", "notes", "how"),
}
_PASSING_VR = {"DA", "TM", "DT", "UI", "OB", "OW", "OF"}
_NOTHING = "nothing"
_UID = re.compile(r"\b[0-9]+(\.[0-9]+){5,}\b")

Record = dict[str, Any]


def outputs_of(folder: Path, kept: Mapping[str, Any]) -> dict[str, Record]:
    """A record of each file below ``folder`` and of each object in memory, by name."""
    found = {}
    for name, value in kept.items():
        array = isinstance(value, np.ndarray)
        found[name] = array_record(value) if array else {"facts": _lasting(value)}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = _UID.sub("UID", path.relative_to(folder).as_posix())
        if path.is_dir() or path.suffix not in _READERS or name.startswith("cache/"):
            continue
        while name in found:
            name += "+"
        found[name] = _READERS[path.suffix](path)
    return found


def array_record(array: np.ndarray, exact: Any = None, **facts: Any) -> Record:
    """The record of pixels; ``exact``: what belongs to their digest besides."""
    array = np.ascontiguousarray(array)
    stored = array.astype(array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{stored.dtype.str} {stored.shape} {exact!r} ".encode())
    digest.update(stored.tobytes())
    flat = array.view(array.real.dtype) if np.iscomplexobj(array) else array
    flat = flat.astype(np.float64).ravel()
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "min": float(flat.min()),
        "max": float(flat.max()),
        "mean": float(flat.mean()),
        "norm": float(np.linalg.norm(flat)),
        "projections": [float(signs(flat.size, k) @ flat) for k in range(VECTORS)],
        **({"facts": facts} if facts else {}),
        "sha256": digest.hexdigest(),
    }


def signs(size: int, number: int) -> np.ndarray:
    """Random signs over sqrt(size); NumPy keeps the streams of its bit generators."""
    words = np.random.PCG64(number).random_raw(-(-size // 64)).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8))[:size]
    return (2.0 * bits - 1.0) / math.sqrt(size)


# ---- files ----


def _nifti(path: Path) -> Record:
    image = nib.load(path)
    facts = {
        "affine": image.affine.tolist(),
        "units": list(image.header.get_xyzt_units()),
        "codes": [int(image.header[f"{form}_code"]) for form in ("qform", "sform")],
    }
    return array_record(np.asanyarray(image.dataobj), image.header.binaryblock, **facts)


def _dicom(path: Path) -> Record:
    dataset = pydicom.dcmread(path)
    header = _header(dataset)
    if "PixelData" not in dataset:
        return {"facts": header}
    return array_record(dataset.pixel_array, header, **header)


def _header(dataset: pydicom.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for element in dataset:
        name = element.keyword or str(element.tag)
        if element.VR in _PASSING_VR or name in _PASSING:
            continue
        if element.VR == "SQ":
            found[name] = [_header(item) for item in element.value]
        elif element.VR in ("DS", "FD", "FL"):
            found[name] = [float(v) for v in np.atleast_1d(element.value)] if element.VM else None
        else:
            found[name] = _UID.sub("UID", str(element.value))
    return found


def _picture(path: Path) -> Record:
    with Image.open(path) as image:
        return array_record(np.asarray(image))


def _table(path: Path) -> Record:
    with path.open(newline="") as file:
        rows = [{k: _number(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return {"facts": _lasting(rows)}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _document(path: Path) -> Record:
    return {"facts": _lasting(json.loads(path.read_text()))}


def _lasting(value: Any) -> Any:
    """A document without what passes, as JSON gives it back."""
    if isinstance(value, Mapping):
        return {str(k): _lasting(v) for k, v in value.items() if k not in _PASSING}
    if isinstance(value, (list, tuple)):
        return [_lasting(v) for v in value]
    return _UID.sub("UID", value) if isinstance(value, str) else value


_READERS = {
    ".gz": _nifti,
    ".nii": _nifti,
    ".dcm": _dicom,
    ".npy": lambda path: array_record(np.load(path)),
    ".png": _picture,
    ".tif": _picture,
    ".tiff": _picture,
    ".json": _document,
    ".csv": _table,
}

# ---- comparison ----


def pixel_differences(old: Record, new: Record) -> list[str]:
    """One line for each way in which pixels differ by more than rounding explains."""
    if "norm" not in old or "norm" not in new:
        return [] if ("norm" in old) == ("norm" in new) else ["one has pixels, the other has none"]
    for key in ("shape", "dtype"):
        if old[key] != new[key]:
            return [f"{key}: {old[key]} was recorded, {new[key]} is found"]
    lines = []
    for key, allowed in _allowed(old).items():
        pairs = zip(np.atleast_1d(old[key]), np.atleast_1d(new[key]), strict=True)
        lines += [
            f"{key}: {was:.9g} was recorded, {found:.9g} is found (allowed: {allowed:.1e})"
            for was, found in pairs
            if not abs(found - was) <= allowed
        ]
    return lines


def _allowed(record: Record) -> dict[str, float]:
    """The largest differences that rounding makes, by key."""
    peak = max(abs(record["min"]), abs(record["max"]))
    rms = ROUNDING * record["norm"] / math.sqrt(_size(record))
    least = _DEVIATIONS * ROUNDING * peak
    if not record["dtype"].startswith(("float", "complex")):
        # A stored integer changes by a whole step where the value behind it lies by the border.
        rms += math.sqrt(min(1.0, 2 * ROUNDING * peak))
        least += 1
    return {
        "min": least,
        "max": least,
        "mean": rms,
        "norm": rms * math.sqrt(_size(record)),
        "projections": _DEVIATIONS * rms,
    }


def _size(record: Record) -> int:
    return math.prod(record["shape"]) * (2 if record["dtype"].startswith("complex") else 1)


def relative_change(old: Record, new: Record) -> float:
    """``||new - old|| / ||old||`` of two arrays of one shape, estimated by their projections."""
    change = np.subtract(new["projections"], old["projections"])
    return float(np.sqrt((change**2).mean() * _size(old)) / (old["norm"] or 1.0))


def fact_differences(old: Record, new: Record, exact: bool = False) -> list[str]:
    """One line for each fact that differs; numbers by more than rounding, unless ``exact``."""
    return list(_fact_differences("", old.get("facts"), new.get("facts"), exact))


def _fact_differences(place: str, old: Any, new: Any, exact: bool) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            was, found = old.get(key, _NOTHING), new.get(key, _NOTHING)
            yield from _fact_differences(f"{place}.{key}", was, found, exact)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (was, found) in enumerate(zip(old, new, strict=True)):
            yield from _fact_differences(f"{place}[{number}]", was, found, exact)
    elif not (_same_exactly(old, new) if exact else _same(place, old, new)):
        yield f"{place.lstrip('.')}: {old!r} was recorded, {new!r} is found"


def _same_exactly(old: Any, new: Any) -> bool:
    return old == new or (old != old and new != new)


def _same(place: str, old: Any, new: Any) -> bool:
    if not (isinstance(old, float) and isinstance(new, (int, float))):
        return _same_exactly(old, new)
    # Residuals are relative to the measurement, and of exact results they are rounding alone.
    least = ROUNDING if "residual" in place.lower() else 0.0
    return math.isclose(old, new, rel_tol=ESTIMATE, abs_tol=least) or _same_exactly(old, new)
