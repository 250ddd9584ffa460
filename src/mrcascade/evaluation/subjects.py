"""Subjects of a test set: intervals are between people, and people seen in training are named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mrcascade.dataset import read_manifest
from mrcascade.evaluation.job import Surveyed

Subjects = Mapping[str, str]


def read_subjects(root: Path) -> dict[str, str]:
    """Subject of each file of a data folder, by file name, where its manifest has ``subject``."""
    return {
        name: str(facts["subject"])
        for name, facts in read_manifest(root).items()
        if facts.get("subject")
    }


def subject_of(file: str, subjects: Subjects) -> str:
    """The file's subject; the file's own name where none is known."""
    return subjects.get(file, file)


def count_subjects(files: Iterable[str], subjects: Subjects) -> int:
    """Number of different subjects; a file without a known one counts as one."""
    return len({subject_of(file, subjects) for file in files})


def describe_subjects(survey: Sequence[Surveyed], subjects: Subjects) -> str:
    """How many subjects each anatomy has, and for how many files that is a guess."""
    counts = ", ".join(
        f"{anatomy} {count_subjects(files, subjects)} ({len(files)} files)"
        for anatomy, files in _by_anatomy(survey).items()
    )
    unknown = sum(s.file.name not in subjects for s in survey)
    guess = f"; {unknown} files without a subject in the manifest count as one each"
    return counts + (guess if unknown else "")


def notes_on_subjects(
    survey: Sequence[Surveyed], subjects: Subjects, trained: Iterable[str]
) -> list[str]:
    """Anatomies of one subject, and files of subjects in the ``trained`` files of a prior."""
    result = []
    single = [a for a, f in _by_anatomy(survey).items() if count_subjects(f, subjects) == 1]
    if single:
        result.append(
            f"One subject each: {', '.join(single)}. Their figures describe that person, and have"
            " no interval between people."
        )
    trained = set(trained)
    people = {subjects[file] for file in trained if file in subjects}
    # Files that are in training themselves have a note of their own.
    seen = [s for s in survey if subjects.get(s.file.name) in people and s.file.name not in trained]
    if seen:
        anatomies = ", ".join(_by_anatomy(seen))
        result.append(
            f"Careful: {len(seen)} of {len(survey)} files ({anatomies}) are of a person whose other"
            " images a prior was trained on; how it does on other people, they do not tell."
        )
    return result


def _by_anatomy(survey: Sequence[Surveyed]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for surveyed in survey:
        members.setdefault(surveyed.file.anatomy, []).append(surveyed.file.name)
    return members
