"""Measurement of an input: slices in temporary files, and what they say of themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mrcascade.arrays.intensity import Intensity, RobustMaximum
from mrcascade.errors import MRCascadeError
from mrcascade.io import Axes, SliceStore, Source, StackOrder
from mrcascade.jobs.acquired import acquired_by_pixels, crop_to_acquired
from mrcascade.jobs.border import describe_margins
from mrcascade.jobs.intensity import describe_zero, intensity_of
from mrcascade.jobs.opened import Geometry, Opened, geometry_of
from mrcascade.jobs.progress import Report
from mrcascade.jobs.request import Request, SuperResolution
from mrcascade.jobs.workspace import Workspace
from mrcascade.measurement.acquired import Acquired
from mrcascade.measurement.border import NO_MARGINS, Margins
from mrcascade.measurement.domain import DomainScore, measure_domain
from mrcascade.measurement.examine import Examination, examine


@dataclass(frozen=True)
class Measured:
    """Measured slices of an input, and what they say of their restoration.

    Attributes:
        slices: (h, w) each; cropped to the acquired matrix if the job asks for it.
        intensity: intensity of the volume.
        geometry: planes, operator and affine of these slices.
        acquired: effective (acquired) matrix, with its evidence.
        noise: standard deviation of the noise as a fraction of the robust maximum.
        noise_origin: whether the noise was given or estimated, in words.
        margins: samples to add where the field of view cuts the anatomy.
        domain: distance from the prior's own images; None for a prior that does not know them.
    """

    slices: SliceStore
    intensity: Intensity
    geometry: Geometry
    acquired: Acquired
    noise: float
    noise_origin: str
    margins: Margins
    domain: DomainScore | None = None

    def __len__(self) -> int:
        return len(self.slices)

    def chunks(self, step: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number of the first slice and up to ``step`` slices (S, h, w) at a time."""
        for start in range(0, len(self), step):
            yield start, self.slices.read(start, min(start + step, len(self)))


def measure_input(opened: Opened, workspace: Workspace, request: Request, say: Report) -> Measured:
    """Read the slices of an input and examine them.

    Args:
        opened: the input, with its header read.
        workspace: makes the stores of the slices.
        request: job and prior.
        say: gets one line per decision.

    Raises:
        MRCascadeError: the file cannot be read completely, or its slices cannot be restored.
    """
    source, geometry, job = opened.source, opened.geometry, request.job
    slices, intensity = _load(source, opened.axes, workspace)
    for line in filter(None, (source.note, describe_zero(intensity))):
        say(line)
    acquired = acquired_by_pixels(slices, opened.acquired)
    if acquired.interpolated:
        say(_interpolated(acquired, job))
        if job.acquired is not None:
            if acquired.matrix != opened.acquired.matrix:
                geometry = geometry_of(source, opened.planes, request, acquired.matrix)
                if geometry.slices is not None:  # whose distance may follow that of the pixels
                    say(geometry.slices.describe())
            slices, intensity = crop_to_acquired(
                slices, acquired.matrix, workspace.store, intensity.zero
            )

    if job.least_squares and job.combine is None:
        return Measured(slices, intensity, geometry, acquired, 0.0, "not used", NO_MARGINS)

    def read(number: int) -> np.ndarray:
        return slices.read(number, number + 1)[0]

    found = examine(read, len(slices), geometry.operator, intensity, job.noise)
    origin = _noise_origin(found, len(slices))
    if found.estimate is not None:
        how = found.estimate.describe(intensity.scale)
        say(f"noise estimated at {how}{_part(found, len(slices))}; --noise overrides it")
    if job.least_squares:
        return Measured(slices, intensity, geometry, acquired, found.noise, origin, NO_MARGINS)
    if found.margins:
        say(describe_margins(found.margins, opened.axes))
    field, noise = geometry.operator.in_shape, found.noise
    domain = measure_domain(read, len(slices), field, request.prior, intensity, noise)
    if domain is not None and domain.outside:
        say(f"warning: {domain.warning}")
    return Measured(slices, intensity, geometry, acquired, noise, origin, found.margins, domain)


def _load(source: Source, axes: Axes, workspace: Workspace) -> tuple[SliceStore, Intensity]:
    """Return the slices of the image and their intensity."""
    order = StackOrder(source.shape, source.layout, axes)
    store = workspace.store(order, source.dtype)
    maximum = RobustMaximum(math.prod(source.shape))
    for block, values in source.blocks():
        store.put(block, values)
        maximum.add(values)
    intensity = intensity_of(store, maximum.value())
    if not intensity.scale > 0:
        raise MRCascadeError(
            f"{source.source}: zero almost everywhere; there is nothing to restore"
        )
    return store, intensity


def _interpolated(acquired: Acquired, job: SuperResolution) -> str:
    if job.acquired is not None:
        return f"its {acquired}; they are cropped to those first"
    if job.least_squares:
        return f"its {acquired}; --acquired-matrix auto crops to those first"
    work = "enlarging" if job.in_plane else "restoring"
    return (
        f"warning: its {acquired}, and {work} interpolated pixels is not what the prior was"
        " trained for; --acquired-matrix auto crops first"
    )


def _noise_origin(found: Examination, slices: int) -> str:
    if found.estimate is None:
        return "given"
    return f"estimated {found.estimate}{_part(found, slices)}"


def _part(found: Examination, slices: int) -> str:
    some = found.looked_at < slices
    return f", by {found.looked_at} evenly spread slices" if some else ""
