"""Downsampling factors, and the image sizes that a factor divides into whole samples."""

from collections.abc import Sequence
from fractions import Fraction

from mrcascade.errors import MRCascadeError

Factor = int | float | Fraction

#: Largest number of thin slices per thick one.
MOST_RATIO = 8

_MAX_DENOMINATOR = 100
# Entries of an operator's matrix; 1 GiB of float64, such as 16384 fine by 8192 coarse pixels.
_LARGEST_MATRIX = 2**27
_LARGEST_FACTOR = 1000  # a larger one would leave no pixel of any real image
_READING_TOLERANCE = 5e-4  # relative; 1.333 is read as 4/3, 1.003 is refused


def legal_size(n: int, factor: Factor) -> int:
    """Return the largest size <= n that the factor divides into a whole number of samples.

    A factor is read as a fraction p/q with a denominator up to 100: 1.5 is 3/2, 1.333 is 4/3.
    It divides the multiples of p.

    Raises:
        MRCascadeError: the factor is below 1 or near no such fraction, or n is smaller than p.
    """
    step = as_fraction(factor).numerator
    if n < step:
        raise MRCascadeError(
            f"size {n} is too small for factor {factor}; the nearest legal size is {step}"
        )
    return n - n % step


def coarse_size(n: int, factor: Factor) -> int:
    """Return n / factor. Raises MRCascadeError unless that is a whole number of samples."""
    legal = legal_size(n, factor)
    if legal != n:
        raise MRCascadeError(
            f"size {n} is not divided by factor {factor} into whole samples; "
            f"crop to the nearest legal size {legal}"
        )
    return int(n / as_fraction(factor))


def as_fraction(factor: Factor) -> Fraction:
    """Return the factor as a fraction with a denominator up to 100.

    Raises MRCascadeError where the factor is below 1, above 1000 or near no such fraction.
    """
    if not 1 <= factor <= _LARGEST_FACTOR:
        raise MRCascadeError(
            f"a factor must be a number from 1 to {_LARGEST_FACTOR}; got {float(factor):g}"
        )
    fraction = Fraction(factor).limit_denominator(_MAX_DENOMINATOR)
    if abs(float(fraction) - float(factor)) > _READING_TOLERANCE * float(factor):
        raise MRCascadeError(f"factor {factor} is not a simple fraction; the nearest is {fraction}")
    return fraction


def check_side(fine: int, coarse: int) -> None:
    """Raise MRCascadeError where the (coarse, fine) operator matrix of a side exceeds 1 GiB."""
    if fine * coarse > _LARGEST_MATRIX:
        raise MRCascadeError(
            f"a side of {fine} pixels over one of {coarse} needs a matrix of"
            f" {fine * coarse / 2**27:.0f} GiB, more than the limit of 1 GiB; cut the image into"
            " parts, and check that its axes are the right ones"
        )


def factor_pair(factor: Factor | Sequence[Factor]) -> tuple[Factor, Factor]:
    """Return (row, column) factors from one number or a pair. Raises MRCascadeError for others."""
    pair = tuple(factor) if isinstance(factor, Sequence) else (factor, factor)
    if len(pair) != 2:
        raise MRCascadeError(f"a factor must be a number or a (row, col) pair; got {factor}")
    return pair


def check_factor(factor: Sequence[Factor]) -> None:
    """Raise MRCascadeError for factors below 1, or where both are 1 and enlarge nothing."""
    if min(factor) < 1 or max(factor) == 1:
        named = ",".join(f"{f:g}" for f in dict.fromkeys(map(float, factor)))
        raise MRCascadeError(f"factor {named}: give factors above 1, such as 2")


def enlarged(shape: Sequence[int], factor: Sequence[Factor]) -> tuple[int, int]:
    """Return ``shape`` (rows, columns) times the factors, which `as_fraction` reads.

    Raises MRCascadeError where a side is not a whole number of pixels.
    """
    check_factor(factor)
    sides = []
    for n, f in zip(shape, factor, strict=True):
        side = n * as_fraction(f)
        if side.denominator != 1:
            raise MRCascadeError(
                f"{n} pixels times factor {f:g} is not a whole number; choose another factor"
            )
        sides.append(int(side))
    return sides[0], sides[1]


def factor_label(factor: Sequence[Factor]) -> str:
    """Label of (row, column) factors in file names: ``4x``, ``1p5x`` or ``2by1x``."""
    rows, cols = (f"{float(f):g}".replace(".", "p") for f in factor)
    return f"{rows}x" if rows == cols else f"{rows}by{cols}x"
