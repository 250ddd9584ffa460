"""Protection of existing files: outputs replace only files that mrcascade made, never an input.

A record lists the files that mrcascade made. For a result it is the JSON sidecar, for a folder of
files the JSON file at its root. Any other file under the name of an output stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrcascade import __version__
from mrcascade.errors import MRCascadeError
from mrcascade.storage.atomic import (
    FOLDER_ENDING,
    atomic_output,
    check_target,
    leftovers,
    make_folder,
    remove,
)
from mrcascade.storage.files import TABLE_BYTES, UnusableFileError, read_json

SOFTWARE = "mrcascade"
FILES = "Files"  # entry of a record: the files it lists, relative to its folder
COUNTS = "FileCounts"  # entry of a sidecar: number of files in each folder that it lists
_SLICE_FILE = re.compile(r"([0-9]{4,})\.dcm")


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise MRCascadeError where an output is an input or a folder that contains one.

    Files are compared by identity, not by name: symbolic and hard links lead to the same file, and
    so do names in another case on some file systems.
    """
    inside: dict[tuple[int, int], Path] = {}
    for path in inputs:
        real = Path(os.path.realpath(path))
        for place in (real, *real.parents):
            if (found := _identity(place)) is not None:
                inside.setdefault(found, path)
    for output in outputs:
        found = _identity(output)
        if found is None or found not in inside:
            continue
        path = inside[found]
        if _identity(path) == found:
            raise MRCascadeError(f"{output} is itself an input; choose another folder or name")
        raise MRCascadeError(f"{output} holds the input {path}; choose another folder")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


class Claim:
    """State of the output paths when the work began.

    Args:
        targets: paths of the outputs.
        replaced: files of the old result that the new one does not have.
    """

    def __init__(self, targets: Iterable[Path], replaced: Iterable[Path] = ()) -> None:
        self._replaced = {path: _state(path) for path in replaced}
        self._before = {target: _state(target) for target in targets}

    def check(self) -> None:
        """Raise MRCascadeError where a target has changed since; called before publishing."""
        for target, before in self._before.items():
            if _state(target) != before:
                raise MRCascadeError(
                    f"{target} was written by another process meanwhile and stays; choose another"
                    " folder"
                )

    def remove_replaced(self) -> None:
        """Remove the remaining files of the old result; called after publishing the new one."""
        for path, before in self._replaced.items():
            if _state(path) == before:
                remove(path)


def _state(path: Path) -> Any:
    try:
        found = path.lstat()
        inside = sorted(os.listdir(path)) if path.is_dir() and not path.is_symlink() else []
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, inside


def claim(
    targets: Sequence[Path],
    inputs: Iterable[Path],
    overwrite: bool,
    made_by_us: Callable[[Path], bool],
    record: str,
) -> Claim:
    """Check that outputs may be written, and record what their paths hold now.

    Args:
        targets: paths of the outputs.
        inputs: files that the command reads.
        overwrite: whether existing outputs may be replaced.
        made_by_us: says whether mrcascade made an existing file.
        record: name of the file that says so, for the error message.

    Raises:
        MRCascadeError: an output is an input or a folder that contains one, exists and
            ``overwrite`` is false, or exists and was not made by mrcascade.
    """
    refuse_inputs(targets, inputs)
    for target in targets:
        check_target(target, overwrite)
    for target in targets:
        if os.path.lexists(target) and (target.is_symlink() or not made_by_us(target)):
            raise MRCascadeError(
                f"{target} is not known as a file of mrcascade by {record}, and stays; move it away"
                " or choose another folder"
            )
    return Claim(targets)


def claim_result(
    targets: Sequence[Path],
    sidecar: Path,
    inputs: Sequence[Path],
    overwrite: bool,
    others: Iterable[Path] = (),
) -> Claim:
    """Check the files of one result as `claim` does.

    Args:
        targets: paths of the result's files.
        sidecar: the JSON file that lists them. One that a killed process wrote but did not
            publish counts too.
        inputs: files that the command reads.
        overwrite: whether an existing result may be replaced.
        others: files that the result would have with other settings. Those that mrcascade made
            are removed once the new result is there.
    """
    records = [r for r in map(read_record, (sidecar, *leftovers([sidecar]))) if r is not None]
    listed = {os.path.abspath(sidecar.parent / name) for r in records for name in _names(r)}
    # Each image of a BIDS derivative, and each phase, has a JSON file of its own.
    listed |= {_without_ending(name) + ".json" for name in listed}
    counts = {name: n for record in records for name, n in _counts(record)}

    def made_by_us(target: Path) -> bool:
        if target == sidecar:  # records of other kinds list no files, such as that of a batch
            record = read_record(sidecar)
            return record is not None and isinstance(record.get(FILES), dict | list)
        if os.path.abspath(target) not in listed:
            return False
        return not target.is_dir() or _holds_slices_alone(target, counts.get(target.name))

    claim(targets, inputs, overwrite, made_by_us, f"the sidecar {sidecar.name}")
    if not overwrite:
        return Claim(targets)
    # A file that the sidecar lists may be an input now; it must not be removed.
    refuse_inputs([Path(name) for name in sorted(listed)], inputs)
    present = [p for p in others if p not in targets and os.path.lexists(p)]
    return Claim(targets, [p for p in present if not p.is_symlink() and made_by_us(p)])


def _names(record: dict[str, Any]) -> list[str]:
    files = record.get(FILES)
    names = list(files.values()) if isinstance(files, dict) else files
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _without_ending(name: str) -> str:
    for ending in (".nii.gz", FOLDER_ENDING):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return os.path.splitext(name)[0]


def _holds_slices_alone(folder: Path, count: object) -> bool:
    """Return whether a DICOM result's folder holds slices 1 to ``count`` and nothing else."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_file(follow_symlinks=False)) for entry in entries]
    numbers = [m for name, file in found if file and (m := _SLICE_FILE.fullmatch(name))]
    most = count if isinstance(count, int) else len(found)
    return len(numbers) == len(found) and all(1 <= int(m[1]) <= most for m in numbers)


def file_counts(paths: Iterable[tuple[Path, Path]]) -> dict[str, list[list[Any]]]:
    """Return the sidecar's entry with the number of files in each folder, {} without folders.

    paths: pairs of the target and the path where it lies now.
    """
    counts = [[t.name, len(os.listdir(now))] for t, now in paths if now.is_dir()]
    return {COUNTS: counts} if counts else {}


def _counts(record: dict[str, Any]) -> list[tuple[str, object]]:
    pairs = record.get(COUNTS)
    pairs = pairs if isinstance(pairs, list) else []
    return [(str(p[0]), p[1]) for p in pairs if isinstance(p, list) and len(p) == 2]


# ---- folders of files ----


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file that mrcascade wrote; None for links and other files."""
    try:
        document = None if path.is_symlink() else read_json(path, TABLE_BYTES)
    except (OSError, ValueError, UnusableFileError):
        return None
    software = document.get("Software") if isinstance(document, dict) else None
    if not isinstance(software, list):
        return None
    ours = any(isinstance(made, dict) and made.get("Name") == SOFTWARE for made in software)
    return document if ours else None


def refuse_strangers(
    folder: Path, names: Iterable[str], listed: Collection[str], record: str
) -> None:
    """Raise MRCascadeError where one of ``names`` exists and is not ``listed``.

    Args:
        folder: where the names lie.
        names: files to be written, relative to the folder, with slashes.
        listed: files that mrcascade made, in the same form.
        record: name of the record, for the error message.
    """
    for name in names:
        path = folder / name
        if path.parent != folder:
            refuse_no_folder(path.parent)
        if os.path.lexists(path) and (name not in listed or path.is_symlink() or path.is_dir()):
            raise MRCascadeError(
                f"{path} is not known as a file of mrcascade by {record}, and stays; move it away"
                " or choose another folder"
            )


def refuse_no_folder(path: Path) -> None:
    """Raise MRCascadeError where ``path`` exists and is not a folder."""
    if os.path.lexists(path) and not path.is_dir():
        raise MRCascadeError(f"{path} is not a folder; move it away or choose another folder")


def check_record(folder: Path, record: str, names: Iterable[str]) -> list[str]:
    """Return the files that a folder's record lists; empty without a record.

    Raises MRCascadeError where the file ``record`` is not ours, or as `refuse_strangers` does.
    """
    path = folder / record
    listed: list[str] = []
    if os.path.lexists(path):
        document = read_record(path)
        if document is None:
            raise MRCascadeError(
                f"{path} is not a record of mrcascade, and stays; move it away or choose another"
                " folder"
            )
        listed = _names(document)
    refuse_strangers(folder, names, listed, record)
    return listed


def begin_record(folder: Path, record: str, names: Iterable[str]) -> None:
    """Add ``names`` to the record of a folder, before the first of these files is written.

    Raises MRCascadeError as `check_record` does.
    """
    names = list(names)
    listed = check_record(folder, record, names)
    if set(names) <= set(listed):
        return
    document = {
        "Description": "Files that mrcascade made here, and may replace.",
        "Software": [{"Name": SOFTWARE, "Version": __version__}],
        FILES: sorted({*listed, *names}),
    }
    with atomic_output(folder / record, overwrite=True) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n")


# ---- one job per output ----


@contextmanager
def only_writer(output: Path, wait: float = 0) -> Iterator[None]:
    """Lock ``output`` against other processes within the block.

    The lock is a hidden file beside it, which is removed at the end. On file systems without locks
    other processes are not kept out.

    Args:
        output: path of the output.
        wait: seconds to wait for another process.

    Raises:
        MRCascadeError: another process is still writing the output after ``wait`` seconds.
    """
    from filelock import FileLock, Timeout

    make_folder(output.parent)
    lock = _lock_file(output)
    if os.path.lexists(lock) and (lock.is_symlink() or not lock.is_file() or lock.stat().st_size):
        raise MRCascadeError(f"{lock} is not a lock of mrcascade; move it away")
    # Another thread may end the work.
    holder: Any = FileLock(lock, timeout=wait, thread_local=False)
    try:
        _acquire(holder, lock)
    except Timeout as error:  # first, as it is an OSError too
        raise MRCascadeError(
            f"{output}: another process is writing it; wait for it or choose another folder"
        ) from error
    except (NotImplementedError, OSError):
        holder = None
    try:
        yield
    finally:
        if holder is not None:
            with contextlib.suppress(OSError):  # before release: then it may be another's
                lock.unlink()
            holder.release()


def _acquire(holder: Any, lock: Path) -> None:
    """Lock the file that lies at ``lock``: its last holder may have removed the one just locked."""
    holder.acquire()
    while not lock.exists():
        holder.release()
        holder.acquire()


def _lock_file(output: Path) -> Path:
    name = hashlib.sha256(os.fsencode(output.name.casefold())).hexdigest()[:16]
    return output.parent / f".mrcascade-{name}.lock"
