"""What a command refuses before it loads anything heavy: by its arguments and one file's header."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mrcascade.arrays.factors import as_fraction, check_factor
from mrcascade.errors import MRCascadeError
from mrcascade.prior.format import Limits, check_maximum, prior_folder, read_document

if TYPE_CHECKING:
    from mrcascade.io import Planes, Source


def check_factors(factor: tuple[float, float], prior: str | Path | None = None) -> Limits | None:
    """Raise MRCascadeError for factors that no image can have, and for a prior that is missing or
    cannot do them; returns what the prior states about itself."""
    check_factor(factor)
    for one in factor:
        as_fraction(one)
    limits = None if prior is None else Limits.of_document(read_document(prior_folder(prior)))
    if limits is not None:
        check_maximum(max(factor), limits)
    return limits


def check_data(path: Path) -> None:
    """Raise MRCascadeError where the data to work on are missing."""
    if not path.exists():
        raise MRCascadeError(f"{path} does not exist; check the name")


def check_folder(output: Path) -> None:
    """Raise MRCascadeError for an output that is no name for a folder, or cannot be one here."""
    from mrcascade.io import check_folder_name

    check_folder_name(output)
    _check_place(output)


def check_output(
    output: Path, inputs: Sequence[Path], made: str, kind: str | None, overwrite: bool
) -> None:
    """As `check_folder`, for an output that may be the name of one input's result; such a result,
    or one of the usual name, must not be there already.

    made: what the names of results say, such as ``sr4x``. kind: format of the results, None for
    the input's.
    """
    from mrcascade.io import (
        check_one_result,
        check_target,
        derived_name,
        ending_of,
        named_output,
        pair_of,
        result_ending,
    )

    files = [path for path in inputs if _read_at_once(path)]
    alone = files[0] if len(files) == len(inputs) == 1 and pair_of(files[0]) is None else None
    if ending_of(output) is None:
        _check_place(output)
        if alone is not None and not overwrite:
            check_target(output / derived_name(alone, made, result_ending(alone, kind)))
        return
    if len(files) > 1:  # other inputs may be parts of one DICOM series
        check_one_result(output, len(files))
    elif alone is not None:
        named_output(alone, output, kind)
    check_target(output, overwrite)
    _check_place(output.parent)


@contextmanager
def header_of(path: Path, axes: str | None) -> Iterator[tuple[Source, Planes] | None]:
    """An image file and its planes, None for what no header tells at once: k-space, DICOM, lists.

    Raises MRCascadeError where the file is missing, damaged, or has no such axes.
    """
    from mrcascade.io import choose_planes, open_source

    check_data(path)
    if not _read_at_once(path):
        yield None
        return
    with open_source(path) as source:
        yield source, choose_planes(source, axes)


def _read_at_once(path: Path) -> bool:
    from mrcascade.io import format_by_ending

    found = format_by_ending(path)
    return found is not None and found.quick and not os.path.isdir(path)


def _check_place(folder: Path) -> None:
    """The nearest folder that exists must let us write; a file must not be in the way."""
    if folder.exists() and not folder.is_dir():
        raise MRCascadeError(f"{folder} is a file; give the name of a folder")
    nearest = next((f for f in (folder, *folder.absolute().parents) if f.exists()), None)
    if nearest is not None and not nearest.is_dir():
        raise _cannot_write(folder, errno.ENOTDIR)
    if nearest is not None and not os.access(nearest, os.W_OK):
        raise _cannot_write(folder, errno.EACCES)


def _cannot_write(folder: Path, code: int) -> MRCascadeError:
    reason = os.strerror(code).lower()
    return MRCascadeError(f"cannot write {folder}: {reason}; choose another folder")
