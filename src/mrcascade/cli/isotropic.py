"""Options of ``sr`` that make thick slices thin."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mrcascade.errors import MRCascadeError

if TYPE_CHECKING:
    from mrcascade.measurement.thick import Isotropic

_KERNEL = "fourier"  # of planes, where none is named


def add_isotropic(parser: argparse.ArgumentParser) -> None:
    """Add ``--isotropic``, and a group of options that say more about the slices."""
    parser.add_argument(
        "--isotropic",
        type=_millimetres,
        nargs="?",
        const=True,
        metavar="MM",
        help="make slices thin: MM apart (default: as the pixels of the result, at most 8 for each"
        " slice); modes mean, sample, balanced, and lsq (least squares with the slice profile,"
        " without a prior: done in seconds)",
    )
    group = parser.add_argument_group("thick slices to isotropic voxels")
    group.add_argument(
        "--slice-thickness",
        type=_millimetres,
        metavar="MM",
        help="thickness of the slices (default: by the DICOM header or the JSON file, else their"
        " distance)",
    )
    group.add_argument(
        "--slice-profile",
        metavar="gaussian|rect|FILE",
        help="how a slice weighs positions: gaussian (as wide at half maximum as it is thick), rect"
        " (constant), or a text file of two columns, position in slice thicknesses and weight"
        " (default: gaussian)",
    )
    group.add_argument(
        "--combine",
        nargs="?",
        const="headers",
        type=_placement,
        metavar="headers|rigid",
        help="make one volume of all inputs, stacks of one contrast of one person in any direction,"
        " on the grid of the first; headers (default) refuses stacks that lie more than a voxel"
        " apart, rigid moves them by the rigid motion that it finds; modes mean and lsq",
    )


def isotropic_of(arguments: argparse.Namespace) -> Isotropic | None:
    """Return what is asked of thick slices; None where slices stay as they are.

    Raises MRCascadeError for options that have no effect together, and for a bad profile.
    """
    slices = {
        "--slice-thickness": arguments.slice_thickness,
        "--slice-profile": arguments.slice_profile,
        "--combine": arguments.combine,
    }
    if arguments.isotropic is None:
        if named := [name for name, value in slices.items() if value is not None]:
            raise MRCascadeError(f"{' and '.join(named)}: of --isotropic alone; add that")
        if arguments.factor is None:
            raise MRCascadeError("give --factor, such as 2, or --isotropic for thick slices")
        return None
    if arguments.factor is None and arguments.kernel != _KERNEL:
        raise MRCascadeError(
            "--kernel says how planes were made, which --isotropic leaves as they are; leave it"
            " out, or add --factor"
        )
    from mrcascade.io.slice_profile import read_slice_profile
    from mrcascade.measurement.thick import Isotropic

    spacing = None if arguments.isotropic is True else arguments.isotropic
    profile = read_slice_profile(arguments.slice_profile or "gaussian")
    return Isotropic(spacing, arguments.slice_thickness, profile)


def _placement(text: str) -> str:
    if text not in ("headers", "rigid"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither headers nor rigid (inputs come before --combine)"
        )
    return text


def _millimetres(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a length in mm above 0 (inputs come before --isotropic)"
        )
    return value
