"""Image files: the kinds of input, and the codec of a format.

An `ImageFile` gives the place and the name of an image; the `Codec` of its format opens and writes
it. A path is a `SingleFile`; a DICOM series and a pair of magnitude and phase are other kinds.
"""

import os
from abc import ABC, abstractmethod
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
from mrcascade.io.stream import bytes_sha256, reading
from mrcascade.storage.files import check_regular


class Codec(ABC):
    """Reader and writer of one file format.

    The module that `Format.codec` names holds an instance as `CODEC`. A subclass overrides the
    methods for what its format can do.
    """

    @abstractmethod
    def open(self, file: "ImageFile", stack: ExitStack, complex_valued: bool) -> RawPixels:
        """Open the pixels of a file for reading; ``stack`` closes it.

        Args:
            file: image to open.
            stack: closes the file.
            complex_valued: whether k-space gives its complex image instead of the magnitude. It
                has no effect on a file that holds an image.

        Raises:
            MRCascadeError: the file cannot be used.
        """

    def open_labels(self, file: "ImageFile", stack: ExitStack) -> RawPixels:
        """Open the pixels of a file that may hold labels of regions instead of signal.

        Raises MRCascadeError where the file cannot be used.
        """
        return self.open(file, stack, False)

    def write(self, new: NewPixels, path: Path) -> None:
        """Write pixels that `check` accepted to an empty file or folder.

        Raises:
            MRCascadeError: the codec has no writer, although its `Format` is not ``read_only``.
        """
        raise MRCascadeError(f"{path}: no writer for files of this format; write .nii.gz instead")

    def check(  # noqa: B027 (most formats hold any image)
        self,
        image: Grid,
        path: Path,
        derivation: Derivation | None,
        axes: Axes | None,
        headers: bool,
    ) -> None:
        """Raise MRCascadeError where a result of ``image`` cannot be written to ``path``.

        The caller checks what follows from the table of formats. ``axes`` and ``headers`` are
        those of `check_writable`.
        """

    def recognises(self, path: Path) -> bool:
        """Return whether a path without a known ending has this format."""
        return False

    def resolve(self, file: "ImageFile") -> "ImageFile":
        """Return the image that a path of this format stands for.

        Raises MRCascadeError where it does not stand for exactly one.
        """
        return file

    def digest(self, file: "ImageFile") -> str:
        """Return `Source.sha256` from the bytes alone, without decoding the image."""
        return bytes_sha256(file.path)

    def as_stored(
        self,
        image: Grid,
        stack: np.ndarray,
        start: int,
        extremes: tuple[float, float],
        shape: tuple[int, ...],
    ) -> np.ndarray:
        """Return slices of a result with the values that a reader of the file will find.

        Args:
            image: image that the result continues.
            stack: slices (N, rows, columns), from index ``start`` on.
            start: index of the first slice.
            extremes: smallest and largest value of the whole result.
            shape: shape of the whole result.
        """
        return stack

    def slice_axis(self, header: object | None) -> tuple[int, str] | None:
        """Return the axis that the slices follow, and the header field that states it.

        None where the header does not say.
        """
        return None

    def with_slice_axis(self, image: Grid, axis: int | None) -> object | None:
        """Return a header of ``image`` that states ``axis`` as the slice axis, where it can."""
        return image.header

    def patient(self, path: Path) -> str:
        """Return the patient named in a file; empty where there is none."""
        return ""

    def describe(self, path: Path) -> tuple[list[str], bool]:
        """Return lines about the content beyond the image's own, and whether it gives an image."""
        return [], True


def codec_of(record: Format) -> Codec:
    """Return the codec of a format; imports its module."""
    codec: Codec = import_module(record.codec).CODEC
    return codec


class ImageFile:
    """An image on the disk: a file, or several files that form one image.

    Attributes:
        path: place of the image; of several files, the first one or the folder that holds them.
        paired: whether it is a magnitude and a phase file; results then are pairs, too.
        fills_folder: whether a folder of its own counts as the file.
    """

    path: Path
    paired: ClassVar[bool] = False
    fills_folder: ClassVar[bool] = False

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Name that results derive from; it ends in `suffix`."""
        return self.path.name

    @property
    def suffix(self) -> str:
        """Ending of the name."""
        return self.path.suffix

    @property
    def format(self) -> Format:
        """Record of the format. Raises MRCascadeError where the format is unknown."""
        return format_of(self.path)

    @property
    def paths(self) -> list[Path]:
        """The files, or the folder or archive that holds them."""
        return [self.path]

    @property
    def file_names(self) -> list[str]:
        """Names of the files, in the order of reading."""
        return [path.name for path in self.paths]

    @property
    def key(self) -> Hashable:
        """Key that differs between images."""
        return os.path.abspath(self.path)

    @property
    def private(self) -> bool:
        """Whether its header and folders tend to name patients (`Format.private`)."""
        return self.format.private

    @property
    def person(self) -> str:
        """Patient named in the header; empty where it names none, or nobody in particular.

        Raises MRCascadeError where the file must be opened for that and cannot be.
        """
        return ""

    def resolved(self) -> "ImageFile":
        """Return the image that is meant; for a path to DICOM, its only series.

        Raises MRCascadeError where there is no series, or more than one.
        """
        return self

    def under_pseudonym(self, pseudonyms: Pseudonyms) -> "ImageFile":
        """Return the same image under a name that does not identify the patient.

        Raises MRCascadeError for formats without a patient's identity.
        """
        if not self.format.pseudonyms:
            raise MRCascadeError(
                f"{self}: only DICOM holds a patient's identity; leave --deidentify out"
            )
        return self

    def open(self, stack: ExitStack, complex_valued: bool = False) -> RawPixels:
        """Open the pixels for reading; see `Codec.open`."""
        return codec_of(self.format).open(self, stack, complex_valued)

    def digest(self) -> str:
        """Return the SHA-256 of the content, equal to `Source.sha256`."""
        return codec_of(self.format).digest(self)


@dataclass(frozen=True)
class SingleFile(ImageFile):
    """An image in one path; its ending or its content determines the format."""

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


# A reference to an image: an `ImageFile`, or a path.
Named = ImageFile | str | os.PathLike[str]


def image_file(named: Named) -> ImageFile:
    """Return the `ImageFile` of a path; an `ImageFile` is returned as it is."""
    return named if isinstance(named, ImageFile) else SingleFile(Path(named))


def format_of(path: Path) -> Format:
    """Return the format of a path, by its ending or else by the content.

    Raises MRCascadeError where there is no such path, and where no format fits.
    """
    found = None if path.is_dir() else format_by_ending(path)
    if found is not None:
        return found
    folders = [one for one in FORMATS.values() if one.folder]
    for one in folders:
        if path.name.lower().endswith(one.endings) or codec_of(one).recognises(path):
            return one
    with reading(path):
        os.stat(path)
    check_regular(path)
    supported = (*(one.called for one in folders), *file_endings())
    raise MRCascadeError(
        f"{path} has no supported ending; supported are {', '.join(supported)}: convert it first"
    )
