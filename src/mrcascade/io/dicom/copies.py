"""Files of one series that share a SOPInstanceUID: copies of one image, or different images.

The UID should be unique to an image, but some anonymisers give one to a whole series.
"""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from mrcascade.io.dicom.files import DicomFile
from mrcascade.io.dicom.frames import FileFacts
from mrcascade.io.dicom.header import UNDEFINED_LENGTH

_READ_BYTES = 2**20


@dataclass(frozen=True)
class Distinct:
    """The images of a series, each once.

    Attributes:
        kept: files of the images, in the order given.
        copies: files that hold one of these images again.
        reused: files of `kept` that share their UID with another one.
    """

    kept: tuple[FileFacts, ...]
    copies: tuple[DicomFile, ...]
    reused: tuple[DicomFile, ...]


def without_copies(files: Sequence[FileFacts]) -> Distinct:
    """Remove files that equal another one in UID, geometry, scaling, marks and stored pixels."""
    groups: dict[str, list[FileFacts]] = {}
    for one in files:
        groups.setdefault(one.instance or str(one.file), []).append(one)
    kept: list[FileFacts] = []
    copies: list[DicomFile] = []
    reused: list[DicomFile] = []
    for group in groups.values():
        images: dict[Hashable, FileFacts] = {}
        for one in group:
            key = _content(one, group[0].file) if len(group) > 1 else None
            if key in images:
                copies.append(one.file)
            else:
                images[key] = one
        kept += images.values()
        reused += [one.file for one in images.values()] if len(images) > 1 else []
    return Distinct(tuple(kept), tuple(copies), tuple(reused))


def _content(one: FileFacts, file: DicomFile) -> Hashable:
    """Return the content that two copies share, with `file` in place of their own."""
    frames = tuple(
        (replace(f, file=file), tuple(f.marks.volume.items()), tuple(f.marks.loose.items()))
        for f in one.frames
    )
    return frames, replace(one.format, offset=None), _pixel_digest(one)


def _pixel_digest(one: FileFacts) -> str:
    """Return the SHA-256 of the stored pixels.

    Where their length is unknown, it covers the rest of the file.
    """
    digest = hashlib.sha256()
    known = one.format.offset is not None and one.format.length != UNDEFINED_LENGTH
    left = one.format.length if known else None
    with one.file.open() as stream:
        stream.seek(one.format.offset or 0)
        while part := stream.read(_READ_BYTES if left is None else min(left, _READ_BYTES)):
            digest.update(part)
            left = None if left is None else left - len(part)
    return digest.hexdigest()
