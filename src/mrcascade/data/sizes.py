"""Checks of an image's header: can it be enlarged, or measured, by a factor?

This module does not import torch, so that a command refuses an image at once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mrcascade.arrays.factors import check_side, coarse_size, enlarged, legal_size
from mrcascade.errors import MRCascadeError
from mrcascade.io import Planes, Source, with_planes
from mrcascade.prior.format import Limits, check_sizes


def check_enlargement(
    source: Source,
    planes: Planes,
    matrix: Sequence[int],
    factor: tuple[float, float],
    limits: Limits,
) -> None:
    """Check that slices of an image can be enlarged by a factor.

    Args:
        source: the image file.
        planes: its in-plane axes, which the error names.
        matrix: (rows, columns) of the slices.
        factor: (row, column) factors.
        limits: sizes that the prior can restore.

    Raises:
        MRCascadeError: a side of the result is not a whole number of pixels, does not suit the
            prior, or needs too large a matrix.
    """
    with _naming(source, planes):
        result = enlarged(matrix, factor)
        check_sizes(result, matrix, limits)
        for fine, coarse in zip(result, matrix, strict=True):
            check_side(fine, coarse)


def check_reduction(source: Source, planes: Planes, factor: tuple[float, float]) -> None:
    """Check that slices of an image can be measured with (row, column) factors.

    Raises MRCascadeError, which names the planes, where a side is shorter than a factor or too
    long.
    """
    with _naming(source, planes):
        for axis, one in zip(planes.axes, factor, strict=True):
            side = legal_size(source.shape[axis], one)
            check_side(side, coarse_size(side, one))


def check_stack(samples: int, limits: Limits) -> None:
    """Check that planes through the slice axis are long enough for a prior.

    Args:
        samples: positions along the slice axis, with those that are added at the ends.
        limits: sizes that the prior can restore.

    Raises MRCascadeError where they are not.
    """
    least = limits.minimum_size
    if samples < least:
        raise MRCascadeError(
            f"its slices give {samples} positions along the slice axis, and prior"
            f" {limits.prior!r} needs at least {least}; ask for finer slices with --isotropic MM,"
            " or take --mode lsq"
        )


@contextmanager
def _naming(source: Source, planes: Planes) -> Iterator[None]:
    try:
        yield
    except MRCascadeError as error:
        named = MRCascadeError(f"{source.source}: {error}")
        raise with_planes(named, source, planes) from error
