"""Slice profiles that were measured, from text files."""

from __future__ import annotations

from pathlib import Path

from mrcascade.errors import MRCascadeError
from mrcascade.operators.profile import SliceProfile
from mrcascade.storage.files import TABLE_BYTES, read_text

# Positions beyond it, in slice thicknesses, are in another unit.
_WIDEST = 16.0
_MOST_ROWS = 10_000  # far more than any measurement resolves


def read_slice_profile(named: str | Path) -> SliceProfile:
    """Return the slice profile of a name ("gaussian", "rect"), or of a text file.

    A file has two columns, separated by blanks, commas or semicolons: the position in slice
    thicknesses from the centre, and the weight. Empty lines and lines that begin with # are
    passed over.

    Args:
        named: name of a profile, or path of a file.

    Raises:
        MRCascadeError: there is no such profile and no such file, or the file holds no profile.

    Example:
        >>> from pathlib import Path
        >>> from mrcascade.io.slice_profile import read_slice_profile
        >>> _ = Path("triangle.txt").write_text("-1 0\\n0 1\\n1 0\\n")
        >>> read_slice_profile("triangle.txt").weights
        (0.0, 1.0, 0.0)
    """
    if named in SliceProfile.NAMED:
        return SliceProfile(str(named))
    try:
        lines = read_text(Path(named), TABLE_BYTES).lstrip("\ufeff").splitlines()
    except FileNotFoundError as error:
        names = ", ".join(SliceProfile.NAMED)
        raise MRCascadeError(
            f"slice profile {named}: neither one of {names} nor a file; check the name"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise MRCascadeError(
            f"slice profile {named}: cannot be read; give a text file with two columns"
        ) from error
    rows = [_row(named, n, line) for n, line in enumerate(lines, start=1) if _holds_values(line)]
    if len(rows) > _MOST_ROWS:
        raise MRCascadeError(
            f"slice profile {named}: has {len(rows)} positions; give at most {_MOST_ROWS}"
        )
    try:
        positions, weights = zip(*rows, strict=True) if rows else ((), ())
        return SliceProfile("measured", positions, weights)
    except MRCascadeError as error:
        reason = str(error).partition(": ")[2]
        raise MRCascadeError(f"slice profile {named}: {reason}") from error


def _holds_values(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _row(named: str | Path, number: int, line: str) -> tuple[float, float]:
    try:
        position, weight = map(float, line.replace(",", " ").replace(";", " ").split())
    except ValueError as error:
        raise MRCascadeError(
            f"slice profile {named}, line {number}: expected two numbers, the position in slice"
            " thicknesses and the weight"
        ) from error
    if abs(position) > _WIDEST:
        raise MRCascadeError(
            f"slice profile {named}, line {number}: position {position:g} is beyond {_WIDEST:g}"
            " slice thicknesses; the unit is one thickness, not mm"
        )
    return position, weight
