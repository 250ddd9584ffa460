"""An input with its header read: planes, operator and geometry, before any pixel."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.data.sizes import check_enlargement, check_stack
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
from mrcascade.jobs.request import Factors, Request
from mrcascade.jobs.result import bids_metadata
from mrcascade.measurement.acquired import Acquired
from mrcascade.measurement.thick import SliceGrid, slice_grid
from mrcascade.messages.faults import naming
from mrcascade.operators import SeparableOperator
from mrcascade.restore import check_measurement
from mrcascade.restore.volume import ThickSlices


@dataclass(frozen=True)
class Geometry:
    """Planes of an image and the operator that measured them.

    The affine is that of the measured grid: the stored grid, or the acquired one if the job crops
    an interpolated image.

    Attributes:
        axes: in-plane axes (rows, columns).
        operator: what measured the planes; the identity if the job leaves them as they are.
        affine: affine of the measured grid.
        kernel: name of the operator's kernel.
        slices: slices and the thinner ones of the result; None if the job leaves them.
    """

    axes: Axes
    operator: SeparableOperator
    affine: np.ndarray | None
    kernel: str
    slices: SliceGrid | None = None

    def result_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the result of an image of this shape."""
        sides = dict(zip(self.axes, self.operator.in_shape, strict=True))
        if self.slices is not None:
            sides[self.slices.axis] = self.slices.samples
        return tuple(sides.get(axis, n) for axis, n in enumerate(shape))

    @property
    def thick(self) -> ThickSlices:
        """How the slices of the image see the thinner ones of the result."""
        slices = self.slices
        assert slices is not None  # the job makes slices thinner
        return ThickSlices(
            slices.slices, slices.samples, slices.profile, slices.thickness / slices.distance
        )

    def resolution(self, factor: Factors) -> str:
        """Say how the grid of the result differs from the input's (BIDS's `Resolution`)."""
        parts, slices = [], self.slices
        if max(factor) > 1 or slices is None:
            parts.append(f"in-plane matrix enlarged by {factor[0]:g} x {factor[1]:g}")
        if slices is not None:
            parts.append(
                f"slices {slices.spacing:.6g} mm instead of {slices.distance:.6g} mm apart"
            )
        return ", ".join(parts)

    def result_affine(self) -> np.ndarray | None:
        """Return the affine of the result."""
        affine, operator = self.affine, self.operator
        if affine is None:
            return None
        sides = operator.out_shape, operator.in_shape
        affine = resampled_affine(affine, self.axes, self.kernel, *sides)
        return affine if self.slices is None else self.slices.affine(affine)


@dataclass(frozen=True)
class Opened:
    """An open input, with what follows from its header.

    Attributes:
        source: the open file.
        planes: planes of its slices.
        geometry: operator and affine.
        acquired: effective (acquired) matrix.
        metadata: BIDS metadata of the image.
    """

    source: Source
    planes: Planes
    geometry: Geometry
    acquired: Acquired
    metadata: dict[str, Any]

    @property
    def axes(self) -> Axes:
        """In-plane axes (rows, columns)."""
        return self.planes.axes

    def describe(self) -> list[str]:
        """Return lines about planes and slices."""
        lines, slices = [describe_planes(self.source, self.planes)], self.geometry.slices
        if slices is not None:
            lines += [slices.describe(), *(f"warning: {note}" for note in slices.notes)]
        return lines


def open_input(item: Item, request: Request, target: Path, stack: ExitStack) -> Opened:
    """Open an input and check that it can be restored.

    Args:
        item: the input.
        request: job and prior.
        target: name of the result.
        stack: closes the input.

    Raises:
        MRCascadeError: the prior cannot restore the input, or the result could not be written.
    """
    opened = _opened(item, request, stack)
    check_writable(
        opened.source, target, derivation_of(request.job, "result", (0.0, 1.0), ""), opened.axes
    )
    return opened


def open_stacks(item: Item, first: Opened, request: Request, stack: ExitStack) -> list[Opened]:
    """Open the stacks that are combined with an image, if any; new slices have its spacing.

    Args:
        item: the input.
        first: its image, which is open.
        request: job and prior.
        stack: closes the stacks.

    Raises:
        MRCascadeError: a stack is no stack of thick slices, or one of them is a series or complex.
    """
    isotropic, slices = request.job.isotropic, first.geometry.slices
    if request.job.combine is None:
        return []
    if not item.others:
        raise MRCascadeError(f"{first.source.source}: --combine needs two or more stacks")
    assert isotropic is not None  # `Request.of` has checked it
    assert slices is not None
    isotropic = replace(isotropic, spacing=slices.spacing)
    like = replace(request, job=replace(request.job, isotropic=isotropic))
    others = [_opened(Item(image), like, stack) for image in item.others]
    for one in (first, *others):
        if one.source.dtype.kind == "c":
            raise MRCascadeError(
                f"{one.source.source} is complex, and the phase of stacks differs; --combine takes"
                " magnitudes"
            )
        if len(one.source.shape) > 3:
            raise MRCascadeError(
                f"{one.source.source} has {one.source.shape[3]} volumes; --combine takes stacks of"
                " one: extract it"
            )
    return others


def _opened(item: Item, request: Request, stack: ExitStack) -> Opened:
    prior, job = request.prior, request.job
    source = stack.enter_context(open_source(item.image, prior.channels == 2))
    planes = choose_planes(source, job.axes)
    axes = planes.axes
    acquired = acquired_by_header(source, axes, job.acquired)
    geometry = geometry_of(source, planes, request, acquired.matrix)
    finer = axes if geometry.slices is None else (*axes, geometry.slices.axis)
    metadata = bids_metadata(item, finer)
    return Opened(source, planes, geometry, acquired, metadata)


def checked_item(item: Item) -> Item:
    """Return the item with the only series of a DICOM path; other items as they are.

    Raises MRCascadeError for a phase image without its magnitude, and for several series.
    """
    for image in (item.image, *item.others):
        refuse_phase(image)
    others = tuple(image.resolved() for image in item.others)
    return replace(item, image=item.image.resolved(), others=others)


def geometry_of(source: Source, planes: Planes, request: Request, matrix: Matrix) -> Geometry:
    """Return planes, operator and affine of an image.

    Args:
        source: the open image.
        planes: its planes.
        request: job and prior.
        matrix: effective (acquired) matrix (rows, columns), used if the job asks for the crop.

    Raises:
        MRCascadeError: the prior cannot restore the image.
    """
    job, prior, axes = request.job, request.prior, planes.axes
    stored = source.shape[axes[0]], source.shape[axes[1]]
    shape = stored if job.acquired is None else matrix
    if job.isotropic is None or job.in_plane:
        check_enlargement(source, planes, shape, job.factor, prior.limits)  # before H is built
    operator = operator_for(shape, job.kernel, job.factor)
    if not job.least_squares:
        try:
            check_measurement((1, *shape), source.dtype, operator, prior)
        except MRCascadeError as error:
            raise MRCascadeError(f"{source.source}: {error}") from error
    affine = source.affine
    if affine is not None:  # the crop is one of k-space, for every kernel
        affine = resampled_affine(affine, axes, "fourier", stored, shape)
    slices = None
    if job.isotropic is not None:
        pixels = [source.spacing[a] * n for a, n in zip(axes, stored, strict=True)]
        pixels = [side / n for side, n in zip(pixels, operator.in_shape, strict=True)]
        slices = slice_grid(source, axes, job.isotropic, pixels)
    geometry = Geometry(axes, operator, affine, job.kernel, slices)
    if slices is not None and not job.least_squares:
        with naming(str(source.source)):
            check_stack(slices.samples + 2 * geometry.thick.margin, prior.limits)
    return geometry
