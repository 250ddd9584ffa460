"""Image files: what an input can be, and what a format does with it.

An `ImageFile` says where an image lies and what it is called; the `Codec` of its format opens and
writes it. A path is a `SingleFile`; a DICOM series and a pair of magnitude and phase are others.
"""

import os
from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.blocks import Axes
from mrcascade.io.derivation import Derivation
from mrcascade.io.formats import FORMATS, Format, file_endings, format_by_ending
from mrcascade.io.new_pixels import Grid, NewPixels
from mrcascade.io.pseudonym import Pseudonyms
from mrcascade.io.raw import RawPixels
from mrcascade.io.stream import bytes_sha256
from mrcascade.storage.files import check_regular


class Codec:
    """Reads and writes files of one format. The module that `Format.codec` names holds one as
    `CODEC`; what a format cannot do stays as it is here."""

    def open(self, file: "ImageFile", stack: ExitStack, complex_valued: bool) -> RawPixels:
        """The pixels of a file, ready to be read; ``stack`` closes it.

        complex_valued: which image is made of k-space; a file that holds an image gives that.
        Raises MRCascadeError where the file cannot be used.
        """
        raise NotImplementedError

    def write(self, new: NewPixels, path: Path) -> None:
        """Write pixels that `check` found nothing against to an empty file or folder."""
        raise NotImplementedError

    def check(
        self,
        image: Grid,
        path: Path,
        derivation: Derivation | None,
        axes: Axes | None,
        headers: bool,
    ) -> None:
        """Raise MRCascadeError where a result of ``image`` cannot be written to ``path``, beyond
        what the table tells. axes, headers: as for `check_writable`."""

    def recognises(self, path: Path) -> bool:
        """Whether a path whose name has no known ending is of this format."""
        return False

    def resolve(self, file: "ImageFile") -> "ImageFile":
        """The image that a path of this format stands for; MRCascadeError where it is not one."""
        return file

    def digest(self, file: "ImageFile") -> str:
        """What `Source.sha256` is once the image was read, from the bytes alone."""
        return bytes_sha256(file.path)

    def as_stored(
        self, image: Grid, stack: np.ndarray, start: int, extremes: tuple[float, float]
    ) -> np.ndarray:
        """What a reader will make of slices ``start`` and on, (N, rows, columns), of a result;
        extremes: of the whole result."""
        return stack

    def slice_axis(self, header: object | None) -> tuple[int, str] | None:
        """The axis that the slices follow by a header, and what in it says so."""
        return None

    def with_slice_axis(self, image: Grid, axis: int | None) -> object | None:
        """The header of ``image`` for a file that says itself that slices follow ``axis``."""
        return image.header

    def patient(self, path: Path) -> str:
        """The patient whom a file names; empty where it names none."""
        return ""

    def describe(self, path: Path) -> tuple[list[str], bool]:
        """Lines about the content beyond the image's own, and whether it gives an image."""
        return [], True


def codec_of(record: Format) -> Codec:
    """The codec of a format; imports its module."""
    codec: Codec = import_module(record.codec).CODEC
    return codec


class ImageFile:
    """An image as it lies on the disk: a file, or files that belong together.

    path: where it lies; of several files, the first of them or what holds them. paired: whether it
    is a magnitude and a phase file, as its results then are. fills_folder: whether a folder of its
    own counts as the file.
    """

    path: Path
    paired: ClassVar[bool] = False
    fills_folder: ClassVar[bool] = False

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """What its results are named after, but for `suffix` at its end."""
        return self.path.name

    @property
    def suffix(self) -> str:
        """The ending of the name."""
        return self.path.suffix

    @property
    def format(self) -> Format:
        """The record of its format; MRCascadeError where there is none."""
        return format_of(self.path)

    @property
    def paths(self) -> list[Path]:
        """The files, or the folder or archive that holds them."""
        return [self.path]

    @property
    def file_names(self) -> list[str]:
        """Names of the files that are read, in the order in which they are."""
        return [path.name for path in self.paths]

    @property
    def key(self) -> Hashable:
        """What tells it from other images."""
        return os.path.abspath(self.path)

    @property
    def private(self) -> bool:
        """Whether its header and folders tend to name patients (`Format.private`)."""
        return self.format.private

    @property
    def person(self) -> str:
        """The patient whom the header names; empty where it names none, or nobody in particular.

        Raises MRCascadeError where the file must be opened for that and cannot be.
        """
        return ""

    def resolved(self) -> "ImageFile":
        """The image that is meant: of a path that means DICOM, its only series.

        Raises MRCascadeError where there is none, or several.
        """
        return self

    def under_pseudonym(self, pseudonyms: Pseudonyms) -> "ImageFile":
        """The same image with a name that does not tell who it is; MRCascadeError where its format
        names nobody."""
        if not self.format.pseudonyms:
            raise MRCascadeError(
                f"{self}: only DICOM holds a patient's identity; leave --deidentify out"
            )
        return self

    def open(self, stack: ExitStack, complex_valued: bool = False) -> RawPixels:
        """The pixels, ready to be read; as `Codec.open`."""
        return codec_of(self.format).open(self, stack, complex_valued)

    def digest(self) -> str:
        """SHA-256 of the content, as `Source.sha256` is once it was read."""
        return codec_of(self.format).digest(self)


@dataclass(frozen=True)
class SingleFile(ImageFile):
    """A path whose name or content says which format it has."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def private(self) -> bool:
        found = format_by_ending(self.path)
        return found is not None and found.private

    @property
    def person(self) -> str:
        found = format_by_ending(self.path)
        return "" if found is None else codec_of(found).patient(self.path)

    def resolved(self) -> ImageFile:
        return codec_of(self.format).resolve(self)


# What names an image: an `ImageFile`, or a path.
Named = ImageFile | str | os.PathLike[str]


def image_file(named: Named) -> ImageFile:
    """The image that a path names; an `ImageFile` is one already."""
    return named if isinstance(named, ImageFile) else SingleFile(Path(named))


def format_of(path: Path) -> Format:
    """The format of a path, by its ending or else by the content; MRCascadeError where it has
    none."""
    found = None if path.is_dir() else format_by_ending(path)
    if found is not None:
        return found
    folders = [one for one in FORMATS.values() if one.folder]
    for one in folders:
        if path.name.lower().endswith(one.endings) or codec_of(one).recognises(path):
            return one
    check_regular(path)
    supported = (*(one.called for one in folders), *file_endings())
    raise MRCascadeError(
        f"{path} has no supported ending; supported are {', '.join(supported)}: convert it first"
    )
