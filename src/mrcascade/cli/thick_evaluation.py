"""Options of ``evaluate`` for thick slices that are made thin again."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mrcascade.cli.values import side

#: Options that need ``--isotropic``, as the parser names them. None has a default in the parser, so
#: that one that was given is known.
OPTIONS = ("axis", "size", "slice_profile", "relative_thickness")


def add_thick_slices(parser: argparse.ArgumentParser) -> None:
    """Add ``--isotropic`` and the options that need it."""
    group = parser.add_argument_group(
        "thick slices", "simulate thick slices of near-isotropic volumes, and make them thin again"
    )
    group.add_argument(
        "--isotropic",
        type=_positive,
        metavar="FACTOR",
        help="distance of the thick slices in samples of the volume, above 1 and up to 8",
    )
    group.add_argument(
        "--axis",
        type=_spatial_axes,
        metavar="I[,J]",
        help="array axes along which slices are thick, one after another (default: the slice axis)",
    )
    group.add_argument(
        "--size",
        type=side,
        metavar="N",
        help="largest number of samples per axis, around the body; default: 128",
    )
    group.add_argument(
        "--slice-profile",
        metavar="gaussian|rect|FILE",
        help="profile of the slices; a FILE has two columns, position in slice thicknesses and"
        " weight; default: gaussian, as wide at half its maximum as the slice is thick",
    )
    group.add_argument(
        "--relative-thickness",
        type=_positive,
        metavar="RATIO",
        help="slice thickness over slice distance: below 1 there are gaps, above 1 slices overlap;"
        " default: 1",
    )


def of_thick_slices(
    arguments: argparse.Namespace, common: dict[str, Any]
) -> Callable[..., list[Path]]:
    """Return the evaluation that was asked for.

    common: options that every evaluation has. Raises MRCascadeError for a bad slice profile.
    """
    from mrcascade.evaluation.isotropic.job import IsotropicEvaluation
    from mrcascade.evaluation.isotropic.run import evaluate_isotropic
    from mrcascade.io.slice_profile import read_slice_profile

    profile = arguments.slice_profile
    own = {
        "axes": arguments.axis,
        "size": arguments.size,
        "profile": None if profile is None else read_slice_profile(profile),
        "thickness": arguments.relative_thickness,
    }
    job = IsotropicEvaluation(
        **common,
        **{name: value for name, value in own.items() if value is not None},
        factor=arguments.isotropic,
    )
    return partial(evaluate_isotropic, job)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _spatial_axes(text: str) -> tuple[int, ...]:
    """Parse different axis numbers, such as ``2`` or ``0,1,2``."""
    parts = [part.strip() for part in text.split(",")]
    if not set(parts) <= set("012") or len(set(parts)) < len(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not one or more of the axes 0, 1, 2")
    return tuple(map(int, parts))
