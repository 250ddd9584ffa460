"""Checks before anything heavy is loaded: the arguments, the output and one file's header."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mrcascade.arrays.factors import as_fraction, check_factor, check_side, coarse_size
from mrcascade.errors import MRCascadeError
from mrcascade.prior.format import (
    Limits,
    check_maximum,
    check_sizes,
    prior_folder,
    read_document,
)

if TYPE_CHECKING:
    from mrcascade.io import Planes, Source


def check_factors(
    factor: tuple[float, float] | None, prior: str | Path | None = None
) -> Limits | None:
    """Check the factors, and that the prior is there and supports them.

    Args:
        factor: (row, column) factors; None where planes stay as they are.
        prior: name or folder of the prior; None where the command needs none.

    Returns:
        The limits that the prior states, None without a prior or where they are malformed.

    Raises:
        MRCascadeError: the factors are not valid or too large for the prior, or it is missing.
    """
    if factor is not None:
        check_factor(factor)
    for one in factor or ():
        as_fraction(one)
    limits = None if prior is None else Limits.of_document(read_document(prior_folder(prior)))
    if limits is not None and factor is not None:
        check_maximum(max(factor), limits)
    return limits


def check_size(side: int, factor: tuple[float, float], limits: Limits | None) -> None:
    """Check that results of ``side`` x ``side`` pixels can be made at these factors.

    limits: limits of the prior; None where they are not known.

    Raises MRCascadeError where a factor does not divide the side, or the prior cannot make it.
    """
    measured = [coarse_size(side, one) for one in factor]
    for coarse in measured:
        check_side(side, coarse)
    if limits is not None:
        check_sizes((side, side), measured, limits)


def check_data(path: Path) -> None:
    """Raise MRCascadeError where the file or folder of the data does not exist."""
    if not path.exists():
        raise MRCascadeError(f"{path} does not exist; check the name")


def check_stacks(paths: Sequence[Path]) -> None:
    """Raise MRCascadeError where the stacks of one volume are missing, or a single file is one."""
    for path in paths:
        check_data(path)
    if len(paths) == 1 and _read_at_once(paths[0]):
        raise MRCascadeError(
            f"--combine makes one volume of two or more stacks, and {paths[0]} is the only one"
            " given; name them all, or leave --combine out"
        )


def check_folder(output: Path) -> None:
    """Raise MRCascadeError for an output folder with an unsuitable name or an unwritable place."""
    from mrcascade.io import check_folder_name

    check_folder_name(output)
    _check_place(output)


def check_output(
    output: Path, inputs: Sequence[Path], made: str, kind: str | None, overwrite: bool
) -> None:
    """Check an output that names a folder, or the result of one input.

    Args:
        output: folder or file name.
        inputs: paths that the command was given.
        made: part of the results' usual names, such as ``sr4x``.
        kind: format of the results, None for the input's.
        overwrite: whether existing results may be replaced.

    Raises:
        MRCascadeError: the place cannot be written, the name does not suit the results, or a
            result exists and ``overwrite`` is false.
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
    """Open an image file and choose its planes by its header.

    Yields None for k-space, DICOM, folders and lists, which have no single header.

    Args:
        path: the image file.
        axes: in-plane axes as ``--axes`` gives them, such as ``0,2``; None to choose.

    Raises:
        MRCascadeError: the file is missing, damaged, or has no such axes.
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
    """Raise MRCascadeError where a folder cannot be made: no permission, or a file in its place."""
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
