"""Subjects of a test set, and the subjects that priors have seen in training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mrcascade.data.folder import read_manifest
from mrcascade.data.subjects import digest
from mrcascade.evaluation.data import TestFile
from mrcascade.prior.format import seen_images

Subjects = Mapping[str, str]


class Evaluated(Protocol):
    """A file of an evaluation."""

    @property
    def file(self) -> TestFile:
        """The file."""

    @property
    def sha256(self) -> str:
        """SHA-256 of its bytes."""


@dataclass(frozen=True)
class Seen:
    """Images that priors were trained or validated on, by their provenances.

    Attributes:
        files: names of files, relative to the data folder of the training.
        subjects, contents: digests of subjects and of the bytes of files.
    """

    files: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()

    @classmethod
    def by(cls, provenances: Iterable[Mapping[str, Any]]) -> Seen:
        """Collect the images of provenances; names count only for priors without digests."""
        files, subjects, contents = set[str](), set[str](), set[str]()
        for provenance in provenances:
            found = seen_images(provenance, "contents")
            contents |= found
            subjects |= seen_images(provenance, "subjects")
            files |= set() if found else seen_images(provenance, "files")
        return cls(frozenset(files), frozenset(subjects), frozenset(contents))

    def has_file(self, surveyed: Evaluated) -> bool:
        """Return whether an image is one of them."""
        return surveyed.file.name in self.files or surveyed.sha256[:16] in self.contents


def read_subjects(root: Path, files: Iterable[TestFile] = ()) -> dict[str, str]:
    """Return file name -> subject.

    Args:
        root: data folder; entries of its manifest may have ``subject``.
        files: further files; those with a known subject are included.
    """
    told = {
        name: str(facts["subject"])
        for name, facts in read_manifest(root).items()
        if facts.get("subject")
    }
    return told | {f.name: f.data.subject for f in files if f.data.subject}


def subject_of(file: str, subjects: Subjects) -> str:
    """Return the file's subject, or the file's name if its subject is unknown."""
    return subjects.get(file, file)


def count_subjects(files: Iterable[str], subjects: Subjects) -> int:
    """Return the number of different subjects; a file of unknown subject counts as one."""
    return len({subject_of(file, subjects) for file in files})


def describe_subjects(survey: Sequence[Evaluated], subjects: Subjects) -> str:
    """Describe the number of subjects per anatomy, and of files whose subject is unknown."""
    counts = ", ".join(
        f"{anatomy} {count_subjects(files, subjects)} ({len(files)} files)"
        for anatomy, files in _by_anatomy(survey).items()
    )
    unknown = sum(s.file.name not in subjects for s in survey)
    guess = f"; {unknown} files of unknown subjects count as one each"
    return counts + (guess if unknown else "")


def notes_on_subjects(survey: Sequence[Evaluated], subjects: Subjects, seen: Seen) -> list[str]:
    """Return notes on anatomies with one subject, and on files of subjects seen in training."""
    result = []
    single = [a for a, f in _by_anatomy(survey).items() if count_subjects(f, subjects) == 1]
    if single:
        result.append(
            f"One subject each: {', '.join(single)}. Their figures describe that person, and have"
            " no interval between people."
        )
    people = {subjects[file] for file in seen.files if file in subjects}
    people |= {person for person in subjects.values() if digest(person) in seen.subjects}
    same = [s for s in survey if seen.has_file(s)]
    found = [s for s in survey if seen.has_file(s) or subjects.get(s.file.name) in people]
    if found:
        files = ""
        if same:
            files = f"; {len(same)} of them, such as {same[0].file.name}, are the same files"
        result.append(
            f"Careful: {len(found)} of {len(survey)} files ({', '.join(_by_anatomy(found))}) are of"
            f" subjects that a prior was trained or validated on{files}. They do not show how it"
            " performs on other people."
        )
    return result


def _by_anatomy(survey: Sequence[Evaluated]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for surveyed in survey:
        members.setdefault(surveyed.file.anatomy, []).append(surveyed.file.name)
    return members
