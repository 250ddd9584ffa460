"""An input whose header has been read: planes, operator and geometry, before any pixel."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.data.sizes import check_enlargement
from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    Axes,
    Planes,
    Source,
    check_writable,
    choose_planes,
    describe_planes,
    open_source,
    refuse_phase,
    resampled_affine,
)
from mrcascade.jobs.acquired import Matrix, acquired_by_header
from mrcascade.jobs.common import Item, operator_for
from mrcascade.jobs.derivation import derivation_of
from mrcascade.jobs.request import Request
from mrcascade.jobs.result import bids_metadata
from mrcascade.measurement.acquired import Acquired
from mrcascade.operators import SeparableOperator
from mrcascade.restore import check_measurement


@dataclass(frozen=True)
class Geometry:
    """The planes of an image and the operator that measured them. affine: of the measured grid,
    which is the stored one but for interpolated images that are cropped."""

    axes: Axes
    operator: SeparableOperator
    affine: np.ndarray | None

    def result_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the image once its planes are enlarged."""
        sides = dict(zip(self.axes, self.operator.in_shape, strict=True))
        return tuple(sides.get(axis, n) for axis, n in enumerate(shape))


@dataclass(frozen=True)
class Opened:
    """An input, and what its header says of the job.

    Attributes:
        source: the open file.
        planes: of its slices.
        geometry: operator and affine, by the header.
        acquired: how many of its pixels were acquired, by the header.
        metadata: what BIDS says of each image.
    """

    source: Source
    planes: Planes
    geometry: Geometry
    acquired: Acquired
    metadata: dict[str, Any]

    @property
    def axes(self) -> Axes:
        """The in-plane (rows, columns)."""
        return self.planes.axes

    def describe(self) -> str:
        """The planes in words."""
        return describe_planes(self.source, self.planes)


def open_input(item: Item, request: Request, target: Path, stack: ExitStack) -> Opened:
    """Open an input, which `stack` closes; ``target`` is the name of its result.

    Raises MRCascadeError where the prior cannot restore it, or the result cannot be written later.
    """
    prior, job = request.prior, request.job
    source = stack.enter_context(open_source(item.image, prior.channels == 2))
    planes = choose_planes(source, job.axes)
    axes = planes.axes
    check_writable(source, target, derivation_of(job, "result", (0.0, 1.0), ""), axes)
    metadata = bids_metadata(item, axes)
    acquired = acquired_by_header(source, axes, job.acquired)
    geometry = geometry_of(source, planes, request, acquired.matrix)
    return Opened(source, planes, geometry, acquired, metadata)


def checked_item(item: Item) -> Item:
    """With the only series of a path that means DICOM; any other input as it is. MRCascadeError for
    a phase by itself."""
    refuse_phase(item.image)
    return replace(item, image=item.image.resolved())


def geometry_of(source: Source, planes: Planes, request: Request, matrix: Matrix) -> Geometry:
    """Operator of an image in its planes; MRCascadeError where the prior cannot restore it.

    matrix: what was acquired, (rows, columns); it counts where the job asks for it.
    """
    job, prior, axes = request.job, request.prior, planes.axes
    stored = source.shape[axes[0]], source.shape[axes[1]]
    shape = stored if job.acquired is None else matrix
    check_enlargement(source, planes, shape, job.factor, prior.limits)  # before H is built
    operator = operator_for(shape, job.kernel, job.factor)
    try:
        check_measurement((1, *shape), source.dtype, operator, prior)
    except MRCascadeError as error:
        raise MRCascadeError(f"{source.source}: {error}") from error
    affine = source.affine
    if affine is not None:  # a crop of k-space, whatever the kernel of the restoration is
        affine = resampled_affine(affine, axes, "fourier", stored, shape)
    return Geometry(axes, operator, affine)
