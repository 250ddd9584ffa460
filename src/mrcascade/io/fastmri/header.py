"""The ISMRMRD header of a fastMRI file: matrices and fields of view, from its XML.

Elements are found by their names without the namespace, whose version varies.
"""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Any

import numpy as np

# Real headers have about ten kB.
LARGEST_HEADER = 2**20
_LARGEST_MATRIX = 2**15
_AXES = ("x", "y", "z")
_DIGITS = 6  # of a line's number; longer ones are damage


@dataclass(frozen=True)
class Space:
    """Space of the encoding or of the reconstruction.

    The axes are (x, y, z): x is the readout, the rows of fastMRI's arrays; y the phase encoding,
    their columns; z the slice.

    Attributes:
        matrix: samples along (x, y, z).
        field: field of view along (x, y, z), mm.
    """

    matrix: tuple[int, int, int]
    field: tuple[float, float, float]

    @property
    def voxel(self) -> tuple[float, float, float]:
        """Size of a voxel along (x, y, z), mm."""
        x, y, z = (f / n for f, n in zip(self.field, self.matrix, strict=True))
        return x, y, z


@dataclass(frozen=True)
class ISMRMRDHeader:
    """Spaces of the first encoding.

    Attributes:
        encoded, recon: encoded and reconstructed space; None where the header has none.
        centre: phase-encoding line in the centre of k-space, from 0; None where the header does
            not say it.
    """

    encoded: Space | None = None
    recon: Space | None = None
    centre: int | None = None

    def voxel(self, kspace: tuple[int, int] | None) -> tuple[float, float, float]:
        """Return the size of an image's voxel (mm); ones where the header does not state it.

        The inverse Fourier transform spreads the encoded field over the matrix of the k-space, and
        a crop keeps the size of its pixels. It differs from that of `recon` where the phase
        resolution is reduced.

        Args:
            kspace: matrix (rows, columns) of the k-space that the image was made from; None for a
                stored reconstruction.
        """
        thickness = 1.0 if self.recon is None else self.recon.voxel[2]
        if self.encoded is not None and self.encoded.matrix[:2] == kspace:
            return (*self.encoded.voxel[:2], thickness)
        return (1.0, 1.0, 1.0) if self.recon is None else self.recon.voxel


def parse_header(content: bytes | str) -> ISMRMRDHeader:
    """Read an XML header. Raises ValueError where it is damaged or has impossible sizes.

    Document type definitions are refused, as only they can make a small text expand to a huge one.
    """
    text = content.decode("utf-8") if isinstance(content, bytes) else content
    text = text.rstrip("\0")
    if len(text) > LARGEST_HEADER:
        raise ValueError(f"its header has {len(text)} characters")
    if "<!DOCTYPE" in text:
        raise ValueError("its header has a document type definition")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"its header is no XML: {error}") from error
    encoding = root if _name(root) == "encoding" else _child(root, "encoding")
    spaces = _space(encoding, "encodedSpace"), _space(encoding, "reconSpace")
    return ISMRMRDHeader(*spaces, _centre(encoding))


def centred_affine(shape: tuple[int, int, int], voxel: tuple[float, float, float]) -> np.ndarray:
    """Return the affine (4, 4), voxel index -> mm, with the middle of the volume at 0.

    The header has no positions.
    """
    affine = np.diag([*voxel, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _space(encoding: Any, name: str) -> Space | None:
    space = _child(encoding, name)
    if space is None:
        return None
    matrix = [int(_text(space, "matrixSize", axis)) for axis in _AXES]
    field = [float(_text(space, "fieldOfView_mm", axis)) for axis in _AXES]
    if not all(1 <= n <= _LARGEST_MATRIX for n in matrix):
        raise ValueError(f"its header has a matrix of {matrix}")
    if not all(math.isfinite(f) and 1e-3 < f < 1e5 for f in field):
        raise ValueError(f"its header has a field of view of {field} mm")
    return Space((matrix[0], matrix[1], matrix[2]), (field[0], field[1], field[2]))


def _centre(encoding: Any) -> int | None:
    limits = _child(_child(encoding, "encodingLimits"), "kspace_encoding_step_1")
    found = _child(limits, "center")
    text = "" if found is None or not found.text else found.text.strip()
    return int(text) if text.isdecimal() and len(text) < _DIGITS else None


def _text(space: Any, group: str, axis: str) -> str:
    found = _child(_child(space, group), axis)
    if found is None or not found.text:
        raise ValueError(f"its header has no {group}/{axis}")
    return found.text


def _child(element: Any, name: str) -> Any:
    """Return the first child of that name; None where there is none, or no element."""
    if element is None:
        return None
    return next((child for child in element if _name(child) == name), None)


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
