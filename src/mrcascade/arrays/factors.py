"""Downsampling factors and the image sizes that they divide."""

from collections.abc import Sequence
from fractions import Fraction

from mrcascade.errors import MRCascadeError

Factor = int | float | Fraction

_MAX_DENOMINATOR = 100
# Entries, 1 GiB of float64: a side of 16384 pixels over one of 8192.
_LARGEST_MATRIX = 2**27
_LARGEST_FACTOR = 1000  # no image has so many pixels per side that more would leave any
_READING_TOLERANCE = 5e-4  # relative; 1.333 is read as 4/3, 1.003 is refused


def legal_size(n: int, factor: Factor) -> int:
    """Largest size <= n that the factor divides into a whole number of samples.

    Factors are read as fractions with denominators up to 100, so that 1.5 is 3/2 and 1.333 is
    4/3; the sizes that p/q divides are the multiples of p.

    Raises MRCascadeError where the factor is below 1 or no such fraction, or where n is below the
    smallest legal size.
    """
    step = as_fraction(factor).numerator
    if n < step:
        raise MRCascadeError(
            f"size {n} is too small for factor {factor}; the nearest legal size is {step}"
        )
    return n - n % step


def coarse_size(n: int, factor: Factor) -> int:
    """n / factor; raises MRCascadeError where that is not a whole number of samples."""
    legal = legal_size(n, factor)
    if legal != n:
        raise MRCascadeError(
            f"size {n} is not divided by factor {factor} into whole samples; "
            f"crop to the nearest legal size {legal}"
        )
    return int(n / as_fraction(factor))


def as_fraction(factor: Factor) -> Fraction:
    """The factor as a fraction with a denominator up to 100, refused where none is near."""
    if not 1 <= factor <= _LARGEST_FACTOR:
        raise MRCascadeError(
            f"a factor must be a number from 1 to {_LARGEST_FACTOR}; got {float(factor):g}"
        )
    fraction = Fraction(factor).limit_denominator(_MAX_DENOMINATOR)
    if abs(float(fraction) - float(factor)) > _READING_TOLERANCE * float(factor):
        raise MRCascadeError(f"factor {factor} is not a simple fraction; the nearest is {fraction}")
    return fraction


def check_side(fine: int, coarse: int) -> None:
    """Raise MRCascadeError for a side whose matrix between the two grids would not fit memory."""
    if fine * coarse > _LARGEST_MATRIX:
        raise MRCascadeError(
            f"a side of {fine} pixels over one of {coarse} needs a matrix of"
            f" {fine * coarse / 2**27:.0f} GiB, and 1 GiB is the most; cut the image into parts,"
            " and check that its axes are the right ones"
        )


def factor_pair(factor: Factor | Sequence[Factor]) -> tuple[Factor, Factor]:
    """(row, col) factors from one number or a pair."""
    pair = tuple(factor) if isinstance(factor, Sequence) else (factor, factor)
    if len(pair) != 2:
        raise MRCascadeError(f"a factor must be a number or a (row, col) pair; got {factor}")
    return pair


def check_factor(factor: Sequence[Factor]) -> None:
    """Raise MRCascadeError for factors that enlarge nothing."""
    if min(factor) < 1 or max(factor) == 1:
        named = ",".join(f"{f:g}" for f in dict.fromkeys(map(float, factor)))
        raise MRCascadeError(f"factor {named}: give factors above 1, such as 2")


def enlarged(shape: Sequence[int], factor: Sequence[Factor]) -> tuple[int, int]:
    """The sides of an image of ``shape`` (rows, columns) times the factors, which `as_fraction`
    reads; MRCascadeError where one is not a whole number."""
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
    """``4x`` or ``2x1x`` style label of a pair of factors, usable in a BIDS entity."""
    rows, cols = (f"{float(f):g}".replace(".", "p") for f in factor)
    return f"{rows}x" if rows == cols else f"{rows}by{cols}x"
