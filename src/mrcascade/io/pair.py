"""Complex images as BIDS pairs of NIfTI files, ``X_part-mag_Y`` and ``X_part-phase_Y``.

`Units` in the JSON file beside a phase file gives the meaning of its numbers: ``rad``, or
``arbitrary`` for values as the scanner stored them. Without it their range decides (`phase_scale`).
"""

import hashlib
import math
import re
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io import nifti
from mrcascade.io.blocks import BLOCK_VOXELS
from mrcascade.io.file import ImageFile, Named, image_file
from mrcascade.io.formats import FORMATS, Format
from mrcascade.io.nifti_write import agree
from mrcascade.io.raw import RawPixels
from mrcascade.io.sidecar import stated_units
from mrcascade.io.stream import bytes_sha256, open_stream

_PART = re.compile(r"_part-(mag|phase)(?=[_.])")
RADIANS, ARBITRARY = "rad", "arbitrary"


@dataclass(frozen=True)
class Convention:
    """Convention for phase: values from `low` to `high` mean ``scale * value + offset`` rad."""

    name: str
    low: float
    high: float
    scale: float
    offset: float = 0.0


# A scanner's largest integer is one step below pi, as the next one would be -pi again.
CONVENTIONS = (
    Convention("radians", -math.pi, math.pi, 1.0),
    Convention("radians", 0.0, 2 * math.pi, 1.0),
    Convention("Siemens, as stored", 0, 4095, math.pi / 2048, -math.pi),
    Convention("Siemens, rescaled", -4096, 4094, math.pi / 4096),
    Convention("thousandths of a radian", -3142, 3142, 1e-3),
)
# The phase of air is random, so that a whole image fills its range.
_COVERED = 0.9
_SLACK = 1e-3  # share of the range; values may have been rounded


@dataclass(frozen=True)
class MagnitudePhase(ImageFile):
    """The magnitude file and the phase file of a complex image.

    Attributes:
        path: the magnitude file.
        phase: the phase file.
    """

    path: Path
    phase: Path
    paired: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"{self.path} with {self.phase.name}"

    @property
    def format(self) -> Format:
        return FORMATS["nifti"]

    @property
    def paths(self) -> list[Path]:
        return [self.path, self.phase]

    def open(self, stack: ExitStack, complex_valued: bool = False) -> RawPixels:
        return _open_pair(self, stack)

    def digest(self) -> str:
        return _combined_digest(bytes_sha256(self.path), bytes_sha256(self.phase))


def is_phase(path: Path) -> bool:
    """Return whether a file is named as the phase of a complex image."""
    return _part(path) == "phase"


def refuse_phase(image: ImageFile) -> None:
    """Raise MRCascadeError for a phase without its magnitude, which cannot be enlarged."""
    if not image.paired and is_phase(image.path):
        raise MRCascadeError(
            f"{image} is the phase of a complex image, which means nothing without its magnitude;"
            " put the _part-mag file beside it and use a complex prior, or name that file alone"
        )


def pair_of(path: Path) -> MagnitudePhase | None:
    """Return the pair to which a file belongs by its name, if both files exist."""
    if _part(path) is None:
        return None
    pair = MagnitudePhase(with_part(path, "mag"), with_part(path, "phase"))
    return pair if pair.path.is_file() and pair.phase.is_file() else None


def named_image(named: Named, pairs: bool) -> ImageFile:
    """Return the named image; with ``pairs``, the path of one part stands for both."""
    image = image_file(named)
    pair = pair_of(image.path) if pairs and image is not named else None
    return pair or image


def with_part(path: Path, part: str) -> Path:
    """Return the path with `part`, "mag" or "phase", in place of its own part."""
    return path.with_name(_PART.sub(f"_part-{part}", path.name))


def join_pairs(paths: Iterable[Path], complex_images: bool) -> list[ImageFile]:
    """Join both files of each pair to one image.

    Without ``complex_images`` nothing is joined, and phase files are left out.
    """
    if not complex_images:
        return [image_file(path) for path in paths if not is_phase(path)]
    return list(dict.fromkeys(pair_of(path) or image_file(path) for path in paths))


def _part(path: Path) -> str | None:
    found = _PART.search(path.name)
    return found[1] if found and path.name.lower().endswith(FORMATS["nifti"].endings) else None


def _open_pair(pair: MagnitudePhase, stack: ExitStack) -> RawPixels:
    """Open the complex pixels of a pair for reading; `stack` closes its files.

    Geometry and header are the magnitude's. Raises MRCascadeError where the files do not fit
    together, and where the meaning of the phase's numbers is unknown.
    """
    magnitude, phase = (
        nifti.open_nifti(stack.enter_context(open_stream(path))) for path in (pair.path, pair.phase)
    )
    _check_alike(pair, magnitude, phase)
    scale, offset = phase_scale(pair.phase)

    def read(count: int) -> np.ndarray:
        angle = (phase.read(count) * scale + offset).astype(np.float32)
        return magnitude.read(count).astype(np.float32) * np.exp(1j * angle)

    def finish() -> str:
        return _combined_digest(magnitude.finish(), phase.finish())

    return RawPixels(
        magnitude.shape,
        magnitude.layout,
        True,
        read,
        finish,
        magnitude.affine,
        magnitude.header,
        magnitude.acquired,
        magnitude.acquired_by,
    )


def _combined_digest(magnitude: str, phase: str) -> str:
    """Return the SHA-256 of a pair from those of its files."""
    return hashlib.sha256(f"{magnitude} {phase}".encode()).hexdigest()


def _check_alike(pair: MagnitudePhase, magnitude: RawPixels, phase: RawPixels) -> None:
    for path, raw in ((pair.path, magnitude), (pair.phase, phase)):
        if raw.complex:
            raise MRCascadeError(
                f"{path} is complex and named as a part of a complex image; rename it without part-"
            )
    if magnitude.shape != phase.shape:
        raise MRCascadeError(
            f"{pair.path} has shape {magnitude.shape} and {pair.phase.name} {phase.shape};"
            " they are not one image"
        )
    assert magnitude.affine is not None and phase.affine is not None  # noqa: PT018 (NIfTI)
    if not agree(magnitude.affine, phase.affine, magnitude.shape):
        raise MRCascadeError(
            f"{pair.path} and {pair.phase.name} lie in different places; they are not one image"
        )


def phase_scale(path: Path) -> tuple[float, float]:
    """Return (scale, offset) that turn a phase file's numbers into radians.

    `Units` "rad" in its sidecar decides. For "arbitrary", or without `Units`, the numbers must lie
    in the interval of one of `CONVENTIONS` and fill 90 % of it; "arbitrary" excludes radians.
    Raises MRCascadeError for other units and where no interval fits.
    """
    units = stated_units(path)
    if units == RADIANS:
        return 1.0, 0.0
    if units not in (None, ARBITRARY):
        raise MRCascadeError(
            f"{path}: its sidecar gives the phase in Units {units!r}; convert it to radians and"
            f" write {RADIANS!r}"
        )
    low, high = _range(path)
    for convention in CONVENTIONS:
        if units == ARBITRARY and convention.name == "radians":
            continue
        width = convention.high - convention.low
        inside = min(low - convention.low, convention.high - high) >= -_SLACK * width
        if inside and high - low >= _COVERED * width:
            return convention.scale, convention.offset
    raise MRCascadeError(
        f"{path}: phase from {low:g} to {high:g} in unknown units; convert it to radians"
        f' and write {{"Units": "rad"}} into a JSON file of the same name beside it'
    )


def _range(path: Path) -> tuple[float, float]:
    """Return the smallest and largest finite value of a file."""
    low, high = math.inf, -math.inf
    with open_stream(path) as stream:
        raw = nifti.open_nifti(stream)
        left = math.prod(raw.shape)
        while left > 0:
            values = raw.read(min(left, BLOCK_VOXELS))
            left -= len(values)
            values = values[np.isfinite(values)].astype(np.float64)
            low = min(low, float(values.min(initial=math.inf)))
            high = max(high, float(values.max(initial=-math.inf)))
    return low, high
