"""Durations in words."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Return a measured time as minutes and seconds, with hours if any: ``4:05``, ``1:04:05``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def rounded(seconds: float) -> str:
    """Return an estimated time in its largest fitting unit: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
