"""Which files a job works on: names, folders and lists become one list of files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mrcascade.errors import MRCascadeError
from mrcascade.io import format_of, is_result_name, list_images
from mrcascade.pipeline.common import SuperResolution, sr_targets

LIST_ENDING = ".txt"


def find_inputs(named: Sequence[Path]) -> list[Path]:
    """The files that ``named`` stands for, each once, in the order given.

    A folder stands for every image below it, sorted, but for results of ``sr``; a ``.txt`` file
    for the paths in its lines, relative to the list's own folder (blank lines and lines that start
    with # are passed over); anything else for itself. Raises MRCascadeError for a folder without
    images and for a list that is missing, not text or empty.
    """
    found: dict[str, Path] = {}
    for name in named:
        if name.is_dir():
            paths = _in_folder(name)
        elif name.suffix.lower() == LIST_ENDING:
            paths = _in_list(name)
        else:
            paths = [name]
        for path in paths:
            found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def check_names(paths: Sequence[Path], output: Path, job: SuperResolution) -> None:
    """Raise MRCascadeError where two inputs would write the same file in ``output``.

    Names without a known format are passed over: they fail by themselves.
    """
    makers: dict[Path, Path] = {}
    for path in paths:
        try:
            format_of(path)
        except MRCascadeError:
            continue
        for target in sr_targets(path, output, job).values():
            if target in makers:
                raise MRCascadeError(
                    f"{makers[target]} and {path} would both write {target};"
                    " restore them into different folders"
                )
            makers[target] = path


def _in_folder(folder: Path) -> list[Path]:
    paths = [p for p in list_images(folder) if not is_result_name(p)]
    if not paths:
        raise MRCascadeError(
            f"{folder}: every image in it is a result of sr; name one to restore it once more"
        )
    return paths


def _in_list(path: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise MRCascadeError(f"{path} does not exist; check the name") from error
    except (OSError, UnicodeDecodeError) as error:
        raise MRCascadeError(
            f"{path}: not a readable list; write one path per line as UTF-8 text"
        ) from error
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise MRCascadeError(f"{path} names no file; write one path per line")
    return [path.parent / name for name in names]
