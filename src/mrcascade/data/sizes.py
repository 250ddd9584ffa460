"""Whether an image can be enlarged or measured by a factor, from its header alone.

Free of torch, so that a command refuses at once.
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
    """Raise MRCascadeError, which names the planes, where ``matrix`` (rows, columns) times the
    factors has no whole sides, is not what a prior with these limits restores, or too large."""
    with _naming(source, planes):
        result = enlarged(matrix, factor)
        check_sizes(result, matrix, limits)
        for fine, coarse in zip(result, matrix, strict=True):
            check_side(fine, coarse)


def check_reduction(source: Source, planes: Planes, factor: tuple[float, float]) -> None:
    """Raise MRCascadeError, which names the planes, where a factor exceeds a side or a
    side is too long."""
    with _naming(source, planes):
        for axis, one in zip(planes.axes, factor, strict=True):
            side = legal_size(source.shape[axis], one)
            check_side(side, coarse_size(side, one))


@contextmanager
def _naming(source: Source, planes: Planes) -> Iterator[None]:
    try:
        yield
    except MRCascadeError as error:
        named = MRCascadeError(f"{source.source}: {error}")
        raise with_planes(named, source, planes) from error
