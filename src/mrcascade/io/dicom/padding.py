"""Pixels that pad a DICOM image to its rectangle and were never measured (PS3.3 C.7.5.1.1.2).

PixelPaddingValue and PixelPaddingRangeLimit are stored values, before slope and intercept. By the
standard no measured pixel has one of them, and none lies beyond them. Where one does, the element
is wrong, and its pixels count as measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mrcascade.io.dicom.files import DicomFile
from mrcascade.io.dicom.frames import Frame
from mrcascade.io.dicom.padding_range import Range


@dataclass(frozen=True)
class Padding:
    """The padding of a series.

    Attributes:
        ranges: stored values of the padding, for each file that has any.
        fill: value that replaces it: 0, no signal, or the lowest measured value if that is below 0.
        highest: largest measured value. A series that stores white as zero is inverted from it;
            ``fill`` is 0 after that.
        about: one line about the padding; empty where there is none.
    """

    ranges: Mapping[DicomFile, Range]
    fill: float
    highest: float
    about: str

    def filled(self, values: np.ndarray, stored: np.ndarray, frame: Frame) -> np.ndarray:
        """Return the values of a frame, with ``fill`` for its padding."""
        if frame.file not in self.ranges:
            return values
        return np.where(_within(stored, self.ranges[frame.file]), self.fill, values)


@dataclass
class _Seen:
    """Number of some pixels, and the extremes of their stored values and of their values."""

    count: int = 0
    stored: list[float] = field(default_factory=lambda: [np.inf, -np.inf])
    values: list[float] = field(default_factory=lambda: [np.inf, -np.inf])

    def add(self, stored: np.ndarray, slope: float, intercept: float) -> None:
        if not stored.size:
            return
        low, high = float(stored.min()), float(stored.max())
        ends = [low * slope + intercept, high * slope + intercept]
        self.count += stored.size
        self.stored = [min(self.stored[0], low), max(self.stored[1], high)]
        self.values = [min(self.values[0], *ends), max(self.values[1], *ends)]


def find_padding(
    frames: Iterable[tuple[Frame, np.ndarray]],
    declared: Mapping[DicomFile, Range],
    inverted: bool,
) -> Padding:
    """Find the padding of a series in its pixels.

    Args:
        frames: all frames, with their stored values.
        declared: `padding_range` of the files that have one.
        inverted: whether the series stores white as zero.
    """
    measured: defaultdict[DicomFile, _Seen] = defaultdict(_Seen)
    padded: defaultdict[DicomFile, _Seen] = defaultdict(_Seen)
    # Over all files that declare the same: a dark slice alone would not show that a value is wrong.
    around: dict[Range, _Seen] = {ends: _Seen() for ends in declared.values()}
    for frame, stored in frames:
        rest = stored
        if frame.file in declared:
            ends = declared[frame.file]
            mask = _within(stored, ends)
            padded[frame.file].add(stored[mask], frame.slope, frame.intercept)
            rest = stored[~mask]
            around[ends].add(rest, frame.slope, frame.intercept)
        measured[frame.file].add(rest, frame.slope, frame.intercept)
    found = {file: seen for file, seen in padded.items() if seen.count}
    wrong = {
        ends
        for file, seen in found.items()
        if (ends := declared[file]) and _among(seen, around[ends])
    }
    ranges = {file: declared[file] for file in found if declared[file] not in wrong}
    real = [*measured.values(), *(seen for file, seen in found.items() if file not in ranges)]
    lowest, highest = min(s.values[0] for s in real), max(s.values[1] for s in real)
    fill = 0.0 if inverted or not np.isfinite(lowest) else min(lowest, 0.0)
    about = ""
    own = highest if inverted else fill
    changed = [found[file] for file in ranges if found[file].values != [own, own]]
    if changed:
        whole = sum(seen.count for seen in (*measured.values(), *padded.values()))
        share = 100 * sum(seen.count for seen in changed) / whole
        about = (
            f"{share:.2g} % of its pixels are padding (PixelPaddingValue"
            f" {_words(set(ranges.values()))}), which counts as no signal"
        )
    elif wrong:
        about = f"its PixelPaddingValue {_words(wrong)} lies among measured values and is ignored"
    return Padding(ranges, fill, highest, about)


def _among(padded: _Seen, measured: _Seen) -> bool:
    """Return whether measured values lie on both sides of the padding."""
    return not (padded.stored[1] < measured.stored[0] or padded.stored[0] > measured.stored[1])


def _within(stored: np.ndarray, ends: Range) -> np.ndarray:
    return np.asarray((stored >= ends[0]) & (stored <= ends[1]))


def _words(ranges: Iterable[Range]) -> str:
    named = (f"{low}" if low == high else f"{low} to {high}" for low, high in sorted(ranges))
    return ", ".join(named)
