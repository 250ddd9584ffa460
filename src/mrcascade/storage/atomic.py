"""Atomic output: a file appears whole or not at all, also after a crash or on a full disk.

An output whose name ends in `FOLDER_ENDING` is a folder of files. It also appears in one step.
"""

import contextlib
import errno
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mrcascade.errors import MRCascadeError

# Ending of a DICOM result, which is a folder of files.
FOLDER_ENDING = ".dicom"
# Errors of a disk without room.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Size of a trial file. A writer that failed for want of room left less than this.
_TRIED_BYTES = 2**16
# Longest stem of a temporary name. Process number and suffix fit below the usual 255 bytes.
_STEM_BYTES = 150
_TEMPORARY = re.compile(r"\.(.+)\.[0-9]+\.[0-9]+\.tmp((?:\..+)?)", re.DOTALL)


@contextmanager
def atomic_output(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and publish it as `path` after the block.

    The temporary file exists, empty, and has the suffix of `path`, so writers that choose a format
    by suffix work. Missing folders are made. At the end the file is flushed to disk and renamed,
    which replaces `path` in one step. (An old folder is moved away first, as no system call
    replaces a folder.) After an exception it is removed, and `path` stays as it was. A killed
    process can leave a hidden `.<stem>.<pid>.<n>.tmp<suffix>`, never part of an output.

    Raises:
        MRCascadeError: `path` exists and `overwrite` is false, `path` is a folder, its folder
            cannot be written, or the disk is full.
    """
    with atomic_outputs([path], overwrite) as temporaries:
        yield temporaries[0]


@contextmanager
def atomic_outputs(
    paths: Sequence[str | os.PathLike[str]], overwrite: bool = False
) -> Iterator[list[Path]]:
    """Yield temporary paths for files that belong together, and publish all after the block.

    Each file is handled as by `atomic_output`, and none is published before all are written. The
    files are renamed in the order of `paths`. A crash between renames can leave only the first
    ones published, so the file that means "done" comes last. An old one is moved away first, so
    that it never lies beside the files of another result.
    """
    targets = [Path(p) for p in paths]
    _refuse_repeats(targets)
    for target in targets:
        check_target(target, overwrite)
    temporaries: list[Path] = []
    try:
        for target in targets:
            temporaries.append(_create_temporary(target))
        with _full_disk_is_our_error(targets):
            yield list(temporaries)
        _publish(temporaries, targets, overwrite)
    finally:
        for temporary in temporaries:  # after publishing nothing is left under these names
            remove(temporary)


@contextmanager
def output_folders(targets: Sequence[Path]) -> Iterator[None]:
    """Make the folders of `targets`; remove those that are still empty if the block fails.

    Raises MRCascadeError where a folder cannot be made, or the disk fills up within the block.
    """
    folders = {target.parent for target in targets}
    made = {f for folder in folders for f in (folder, *folder.parents) if not f.exists()}
    try:
        with _full_disk_is_our_error(targets):
            for folder in folders:
                make_folder(folder)
            yield
    except BaseException:
        # Inner folders go first. A folder that is not empty stays.
        for folder in sorted(made, key=lambda f: len(f.parts), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def make_folder(folder: Path) -> None:
    """Make a folder for outputs unless it exists.

    Raises MRCascadeError where it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions alone do not say
            pass
    except OSError as error:
        raise _cannot_write([folder], error) from error


def check_target(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Raise MRCascadeError if `atomic_output` would refuse `path`, before a long computation."""
    target = Path(path)
    if target.is_dir() and not _is_folder(target):
        raise MRCascadeError(f"{target} is a folder; give the name of an output file")
    if not overwrite and os.path.lexists(target):
        raise MRCascadeError(f"{target} already exists; choose another name or add --overwrite")


def _is_folder(target: Path) -> bool:
    return target.name.lower().endswith(FOLDER_ENDING)


def remove(path: Path) -> None:
    """Remove a file, or a folder with everything in it."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _refuse_repeats(targets: Iterable[Path]) -> None:
    seen: set[str] = set()
    for target in targets:
        name = os.path.abspath(target)
        if name in seen:
            raise MRCascadeError(f"{target} is named twice as an output; give each its own name")
        seen.add(name)


def leftovers(targets: Iterable[Path]) -> list[Path]:
    """Return the temporary files and folders of these outputs, found by name and sorted.

    Killed processes left them, unless another process is writing the outputs now.
    """
    wanted: dict[Path, set[tuple[str, str]]] = {}
    for target in targets:
        wanted.setdefault(target.parent, set()).add(_stem_and_suffix(target))
    found = []
    for folder, names in wanted.items():
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                match = _TEMPORARY.fullmatch(entry.name)
                if match and match.groups() in names and not entry.is_symlink():
                    found.append(folder / entry.name)
    return sorted(found)


def left_targets(folder: Path) -> list[Path]:
    """Return the outputs whose temporary files or folders lie in ``folder``."""
    with os.scandir(folder) as entries:
        found = [match for entry in entries if (match := _TEMPORARY.fullmatch(entry.name))]
    return sorted({folder / "".join(match.groups()) for match in found})


def remove_leftovers(targets: Iterable[Path]) -> None:
    """Remove the `leftovers` of outputs. The caller must keep other processes from them."""
    for path in leftovers(targets):
        with contextlib.suppress(OSError):
            remove(path)


def _stem_and_suffix(target: Path) -> tuple[str, str]:
    suffix = target.name[-7:] if target.name.lower().endswith(".nii.gz") else target.suffix
    stem = os.fsencode(target.name[: len(target.name) - len(suffix)])[:_STEM_BYTES]
    return os.fsdecode(stem), suffix


def _create_temporary(target: Path) -> Path:
    """Make a new, empty, hidden file (or folder) beside `target`, with the umask's permissions."""
    stem, suffix = _stem_and_suffix(target)
    prefix = f".{stem}.{os.getpid()}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for n in itertools.count():
            temporary = target.parent / f"{prefix}.{n}.tmp{suffix}"
            # Process numbers repeat, in containers soon: a leftover only increases n.
            with contextlib.suppress(FileExistsError):
                if _is_folder(target):
                    temporary.mkdir()
                else:
                    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
                return temporary
    except OSError as error:
        raise _cannot_write([target], error) from error
    raise AssertionError("unreachable: the loop above has no end")


@contextmanager
def _full_disk_is_our_error(targets: Sequence[Path]) -> Iterator[None]:
    """Turn errors of a full disk into MRCascadeError.

    Other OSErrors pass unchanged: they may come from a file that the block reads.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        # NumPy and torch do not say why a write fell short.
        number = getattr(error, "errno", None)
        full = error if number is not None else _fullness(targets)
        if not isinstance(full, OSError) or full.errno not in _NO_ROOM:
            raise
        raise _cannot_write(targets, full) from error


def _fullness(targets: Sequence[Path]) -> OSError | None:
    """Return the error of a trial write beside one of ``targets``, None without one."""
    for folder in {target.parent for target in targets}:
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(_TRIED_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            return error
    return None


def _publish(temporaries: Sequence[Path], targets: Sequence[Path], overwrite: bool) -> None:
    try:
        for temporary in temporaries:
            for file in temporary.iterdir() if temporary.is_dir() else ():
                _flush(file)
            _flush(temporary)
        for target in targets:
            check_target(target, overwrite)  # another process may have made it since
        with _moved_away(targets[-1] if len(targets) > 1 else None):
            _rename_all(temporaries, targets)
    except OSError as error:
        raise _cannot_write(targets, error) from error
    for folder in {target.parent for target in targets}:
        with contextlib.suppress(OSError):  # not every file system can flush a folder
            _flush(folder)


def _rename_all(temporaries: Sequence[Path], targets: Sequence[Path]) -> None:
    """Give all outputs their names; where one cannot have its own, new ones lose theirs again.

    Without the last one, which means "done", the others would belong to nobody.
    """
    new: list[tuple[Path, Path]] = []
    try:
        for temporary, target in zip(temporaries, targets, strict=True):
            if not os.path.lexists(target):
                new.append((temporary, target))
            _replace(temporary, target)
    except BaseException:
        for temporary, target in new:
            with contextlib.suppress(OSError):
                os.replace(target, temporary)
        raise


@contextmanager
def _moved_away(last: Path | None) -> Iterator[None]:
    """Move the file that means "done" away; move it back if the block fails."""
    if last is None or last.is_symlink() or not last.is_file():
        yield
        return
    old = _create_temporary(last)
    os.replace(last, old)
    try:
        yield
    except BaseException:
        os.replace(old, last)
        raise
    remove(old)


def _replace(temporary: Path, target: Path) -> None:
    if not target.is_dir():
        os.replace(temporary, target)
        return
    old = _create_temporary(target)
    try:
        os.replace(target, old)  # replaces the empty folder
        os.replace(temporary, target)
    except OSError:
        with contextlib.suppress(OSError):
            os.replace(old, target)
        raise
    remove(old)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(targets: Sequence[Path], error: OSError) -> MRCascadeError:
    names = ", ".join(str(target) for target in targets)
    if error.errno in _NO_ROOM:
        return MRCascadeError(f"no space left to write {names}; free some or choose another folder")
    reason = error.strerror or type(error).__name__
    return MRCascadeError(f"cannot write {names}: {reason.lower()}; choose another folder")
