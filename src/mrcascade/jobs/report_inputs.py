"""Inputs of results that are there already, found again by the names and the hash in a sidecar."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mrcascade.errors import MRCascadeError
from mrcascade.io import ALL_SERIES, ImageFile, dicom_files, format_of
from mrcascade.jobs.inputs import find_inputs
from mrcascade.storage.files import TABLE_BYTES, read_json

_NAMED = 3  # inputs that a message names; more are counted


class InputSearch:
    """Search for the inputs of the results in an output folder.

    It takes the named paths first. Then it looks for files with the names that a sidecar states: in
    the dataset that a BIDS derivative links to, in the output folder, in its parent, and in folders
    and zip archives there. An image is an input only if it has the hash that the sidecar states.

    Attributes:
        missed: names of the inputs that were not found, by sidecar.
        different: a line for each image whose name fits and whose content does not.
    """

    def __init__(self, folder: Path, named: Iterable[Path] = ()) -> None:
        """folder: the output folder; named: images, or folders of them, that may be gone."""
        self.missed: dict[Path, list[str]] = {}
        self.different: list[str] = []
        self._folder = folder
        self._named = [image for path in named for image in _images(path, (None, ALL_SERIES))]
        self._near: dict[Path, list[ImageFile]] = {}
        self._digests: dict[Hashable, str | None] = {}

    def input_of(self, sidecar: Path, record: Mapping[str, Any]) -> ImageFile | None:
        """Return the input of a result; None where it is not found, as ``missed`` then says.

        Args:
            sidecar: path of the result's sidecar.
            record: its content.
        """
        sources, digest = _sources(record), record.get("SourceSHA256")
        others = []
        # The sidecar of a de-identified input states neither; a name alone proves nothing.
        for image in self._candidates(sidecar, sources) if sources and digest else ():
            found = self._digest(image)
            if found == digest:
                return image
            if found is not None:
                others.append(f"{image} is not the input of {sidecar}: its content differs")
        self.missed[sidecar] = [_name(one) for one in sources]
        self.different += others
        return None

    def notes(self) -> list[str]:
        """Return lines about the inputs that were not found; empty where all were."""
        if not self.missed:
            return []
        named = [names[0] if names else "name left out" for names in self.missed.values()]
        names = list(dict.fromkeys(named))
        listed = ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)
        count = len(self.missed)
        return [
            *self.different,
            f"{count} input{'s' * (count > 1)} not found ({listed}), neither by run.json nor in"
            f" {self._folder}, in its parent or in folders there; --inputs names them. Without"
            " them, reports show the data as the results explain them",
        ]

    def _candidates(self, sidecar: Path, sources: Sequence[str]) -> Iterator[ImageFile]:
        """Yield each image once whose files have the names of a result's sources."""
        names, seen = [_name(one) for one in sources], set()
        near = (image for path in self._paths(sidecar, sources[0]) for image in self._at(path))
        for image in itertools.chain(self._named, near):
            own, key = _file_names(image), (image.key, image.paired)
            if own and names[: len(own)] == own and key not in seen:
                seen.add(key)
                yield image

    def _paths(self, sidecar: Path, source: str) -> Iterator[Path]:
        """Yield paths near a result that may be its input, the likeliest ones first."""
        yield from self._linked(source)
        name, inside = _name(source), sidecar.parent.relative_to(self._folder)
        file, mirrored = glob.escape(name), glob.escape(str(inside))
        folder = Path(os.path.abspath(self._folder))
        for root in (folder, folder.parent):
            # Results keep the sub-folders of their inputs, and a DICOM series is a folder.
            for place in (mirrored, f"*/{mirrored}", ".", "*", "*/*"):
                for path in sorted(root.glob(f"{place}/{file}")):
                    yield path
                    if _in_series(path):
                        yield path.parent
            for path in sorted(root.glob("*.[zZ][iI][pP]")):
                if name in _members(path):
                    yield path

    def _linked(self, source: str) -> Iterator[Path]:
        """Yield the file of a BIDS URI, by the links of the derivative in the output folder."""
        scheme, _, rest = source.partition(":")
        dataset, _, inside = rest.partition(":")
        if scheme != "bids":
            return
        with suppress(MRCascadeError, OSError, ValueError, LookupError, TypeError):
            links = read_json(self._folder / "dataset_description.json", TABLE_BYTES)
            yield self._folder / unquote(links["DatasetLinks"][dataset]) / inside

    def _at(self, path: Path) -> list[ImageFile]:
        """Return the images of a path near the results."""
        if path not in self._near:
            whole = path.is_dir() or path.suffix.lower() == ".zip"
            self._near[path] = _images(path, (ALL_SERIES,) if whole else (None,))
        return self._near[path]

    def _digest(self, image: ImageFile) -> str | None:
        """Return the hash of an image; None where it cannot be read."""
        key = image.key, image.paired
        if key not in self._digests:
            self._digests[key] = None
            with suppress(MRCascadeError, OSError):
                self._digests[key] = image.digest()
        return self._digests[key]


def _sources(record: Mapping[str, Any]) -> list[str]:
    """Return the sources that a sidecar states, file names or BIDS URIs."""
    stated = record.get("Sources")
    sources = [str(one) for one in stated] if isinstance(stated, list) else []
    usable = all(_name(one) not in ("", ".", "..") and "\0" not in one for one in sources)
    return sources if usable else []


def _name(source: str) -> str:
    return source.rpartition("/")[2]


def _images(path: Path, series: Sequence[str | None]) -> list[ImageFile]:
    """Return the images of a path, single ones and pairs; none where it is gone."""
    images: dict[Hashable, ImageFile] = {}
    for channels, selector in itertools.product((1, 2), series):
        with suppress(MRCascadeError, OSError):
            for item in find_inputs([path], selector, channels=channels):
                images.setdefault((item.image.key, item.image.paired), item.image)
    return list(images.values())


def _file_names(image: ImageFile) -> list[str]:
    try:
        return image.file_names
    except MRCascadeError:  # files of a series that do not belong together
        return []


def _in_series(path: Path) -> bool:
    """Return whether a file is a DICOM image, whose folder may hold the whole series."""
    try:
        return format_of(path).folder
    except (MRCascadeError, OSError):
        return False


def _members(archive: Path) -> set[str]:
    """Return the names of the DICOM files in an archive; empty where it cannot be read."""
    with suppress(MRCascadeError, OSError):
        return {member.name for member in dicom_files(archive)}
    return set()
