"""Images of thick slices made for the tests: a blob whose place in the patient is known."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.stats import special_ortho_group

FWHM = 2.3548200450309493  # of a Gaussian, in standard deviations


@dataclass(frozen=True)
class Blob:
    """A Gaussian blob seen by slices with a Gaussian profile.

    Attributes:
        shape: shape of the array.
        affine: voxel index -> RAS mm.
        axis: slice axis of the array.
        thickness: slice thickness (mm).
        centre: place of the blob (mm).
        width: standard deviation of the blob (mm).
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    axis: int
    thickness: float
    centre: np.ndarray
    width: float

    @property
    def distance(self) -> float:
        """Distance of the slices (mm)."""
        return float(np.linalg.norm(self.affine[:3, self.axis]))

    def slices(self) -> np.ndarray:
        """The image, each slice integrated over its profile."""
        index = np.moveaxis(np.indices(self.shape[:3]), 0, -1)
        offset = nib.affines.apply_affine(self.affine, index) - self.centre
        normal = self.affine[:3, self.axis] / self.distance
        across = offset @ normal
        in_plane = (offset**2).sum(-1) - across**2
        through = self.width**2 + (self.thickness / FWHM) ** 2
        values = np.exp(-in_plane / (2 * self.width**2) - across**2 / (2 * through))
        return (1000 * values * self.width / np.sqrt(through)).astype(np.float32)

    def save(self, path: Path, **document: Any) -> Path:
        """Write NIfTI, and a JSON file beside it where something is to be stated."""
        nib.save(nib.Nifti1Image(self.slices(), self.affine), path)
        if document:
            path.with_name(path.name.split(".")[0] + ".json").write_text(json.dumps(document))
        return path


def random_blob(seed: int) -> Blob:
    """A blob in the middle of a stack of random orientation, axes and sizes."""
    rng = np.random.default_rng(seed)
    axis, pixel = int(rng.integers(3)), rng.uniform(0.4, 1.2)
    distance = pixel * rng.uniform(1.5, 7.9)
    # Four standard deviations of the blob on each side.
    width = 1.1 * distance
    plane = int(np.ceil(9 * width / pixel))
    shape = [plane, plane + int(rng.integers(1, 4)), plane]
    shape[axis] = int(rng.integers(12, 15))
    spacing = np.full(3, pixel)
    spacing[axis] = distance
    turn = special_ortho_group.rvs(3, random_state=rng) * rng.choice([-1, 1], 3)
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = rng.uniform(-80, 80, 3)
    middle = (np.array(shape) - 1) / 2 + rng.uniform(-0.5, 0.5, 3)
    centre = nib.affines.apply_affine(affine, middle)
    thickness = distance * rng.uniform(0.6, 1.3)
    return Blob(tuple(shape), affine, axis, thickness, centre, width)


@dataclass
class Lines:
    """Lines that a job says."""

    said: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.said.append(line)

    @property
    def text(self) -> str:
        return "\n".join(self.said)


def phantom(shape: tuple[int, ...] = (36, 32, 6), seed: int = 0) -> np.ndarray:
    """(columns, rows, slices): a textured cylinder on air."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.linspace(-1, 1, n) for n in shape[:2])
    disc = (rows[:, None] ** 2 + columns[None] ** 2 < 0.7)[(..., *(None,) * (len(shape) - 2))]
    return (disc * (500 + 100 * rng.normal(size=shape))).clip(0).astype(np.float32)


# Turned about the first axis; pixels of 1 mm, slices 4 mm apart.
AFFINE = np.array([[-1.0, 0, 0, 8], [0, 0.96, -1.12, -9], [0, 0.28, 3.84, 2], [0, 0, 0, 1]])


def thick_file(
    path: Path, data: np.ndarray | None = None, affine: np.ndarray = AFFINE, **document: Any
) -> Path:
    """A NIfTI file of slices 4 mm apart with pixels of 1 mm, and a JSON file beside it."""
    nib.save(nib.Nifti1Image(phantom() if data is None else data, affine), path)
    if document:
        path.with_name(path.name.split(".")[0] + ".json").write_text(json.dumps(document))
    return path
