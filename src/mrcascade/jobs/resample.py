"""Resampling of a file with labels, or of an image, onto the grid of another file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade import __version__
from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    NOTICE,
    Block,
    Image,
    ImageFile,
    Named,
    Resampler,
    atomic_outputs,
    beside,
    check_writable,
    derived_name,
    description_of,
    image_file,
    named_output,
    open_source,
    output_folders,
    output_layout,
    read_image,
    read_labels,
    remove_leftovers,
    result_ending,
    write_blocks_into,
    write_document,
)
from mrcascade.jobs.progress import Report
from mrcascade.storage.outputs import FILES, claim_result, only_writer

# The grid has a geometry, and a label no patient's header to copy.
_FORMAT = "nifti"
# Largest new voxel, in old ones, of which the value at the centre is a fair sample.
_COARSE = 1.5
_MOST_NAMED = 10  # labels in a message


@dataclass(frozen=True)
class Resampling:
    """Options of ``resample``; the fields have the names of the command's options.

    ``kind`` is "labels" or "image"; ``method`` is one of `io.interpolation.METHODS`, by default
    nearest for labels and linear for images.
    """

    kind: str = "labels"
    method: str | None = None
    overwrite: bool = False


def resample_label(like: Path) -> str:
    """Return the ``desc`` entity of results on the grid of ``like``: that of its name, if any."""
    return description_of(like) or "resampled"


def resample_file(
    image: Named, like: Named, output: Path, job: Resampling, *, say: Report
) -> list[Path]:
    """Put labels, or an image, onto the grid of another file (`io.resample_onto`).

    Args:
        image: the labels or the image.
        like: image that gives the grid.
        output: folder, or name of the result, a NIfTI file.
        job: options.
        say: called with one line per fact.

    Returns:
        The result and its sidecar.

    Raises:
        MRCascadeError: a file cannot be read or placed, labels are not whole numbers, the grids
            have no place in common, or outputs exist already.
    """
    source, grid_file = image_file(image).resolved(), image_file(like).resolved()
    targets = _targets(source, grid_file, output)
    inputs = [*source.paths, *grid_file.paths]
    claim_result(targets, targets[1], inputs, job.overwrite)
    with open_source(grid_file, labels=True) as grid:  # its header is enough
        if grid.affine is not None:
            check_writable(grid, targets[0])
    values = _values(source, job)
    work = Resampler(values, grid, _method(job))
    outside = work.labelled_outside() if work.labels else 0.0
    with output_folders(targets), only_writer(targets[1]):
        claim = claim_result(targets, targets[1], inputs, job.overwrite)
        with atomic_outputs(targets, job.overwrite) as (data, notes):
            _write(work, data)
            facts: dict[str, Any] = {
                "Description": f"{job.kind.capitalize()} on the grid of {grid_file.name}. {NOTICE}",
                "Sources": source.file_names,
                "SourceSHA256": values.sha256,
                "SpatialReference": grid_file.name,
                "SpatialReferenceSHA256": grid_file.digest(),
                FILES: {"result": targets[0].name},
                "Kind": job.kind,
                "Method": _method(job),
                "Software": [{"Name": "mrcascade", "Version": __version__}],
            }
            if work.labels:
                facts |= {"LabelledOutside": outside, "LabelsLost": work.lost}
            write_document(notes, facts)
            claim.check()
        remove_leftovers(targets)
    for line in _report(work, source, grid_file, outside):
        say(line)
    return targets


def _values(source: ImageFile, job: Resampling) -> Image:
    if job.kind not in ("labels", "image"):
        raise MRCascadeError(f"kind {job.kind!r}: choose labels or image")
    return read_labels(source) if job.kind == "labels" else read_image(source)


def _method(job: Resampling) -> str:
    return job.method or ("nearest" if job.kind == "labels" else "linear")


def _targets(source: ImageFile, like: ImageFile, output: Path) -> list[Path]:
    if named_output(source, output, _FORMAT) is not None:
        return [output, beside(output, "", ".json")]
    endings = (result_ending(source, _FORMAT), ".json")
    label = resample_label(Path(like.name))
    return [output / derived_name(source, label, ending) for ending in endings]


def _write(work: Resampler, temporary: Path) -> None:
    """Write the result block by block, each computed when its place in the file is reached."""
    layout = output_layout(temporary, len(work.shape))

    def fetch(block: Block) -> np.ndarray:
        spans = dict(zip(layout, block, strict=True))
        window = tuple(spans[axis] for axis in range(len(layout)))
        return work.window(window).transpose(layout)

    grid = work.on_grid(np.broadcast_to(np.zeros((), work.dtype), work.shape))
    write_blocks_into(grid, work.shape, work.dtype, fetch, temporary)


def _report(work: Resampler, source: ImageFile, like: ImageFile, outside: float) -> list[str]:
    size = " x ".join(map(str, work.shape))
    what = f"{_counted(work.regions)} on {size}" if work.labels else size
    lines = [f"{source.name}: {what} voxels, {work.method}"]
    if outside:
        lines.append(f"{_percent(outside)} of the labelled voxels lie outside {like.name}")
    if work.labels and work.lost:
        lines.append(f"no voxel of the result has {_named(work.lost)}")
    beyond = 1 - work.inside / np.prod(work.shape)
    if beyond:
        lines.append(f"{_percent(beyond)} of the voxels lie outside {source.name} and are 0")
    if work.coarser > _COARSE and work.method != "mean":
        lines.append(
            f"voxels of {like.name} are up to {work.coarser:.3g} times as long as those of"
            f" {source.name}: --method mean takes all that lies in them"
        )
    return lines


def _counted(labels: Sequence[int]) -> str:
    return f"{len(labels) or 'no'} label{'s' * (len(labels) != 1)}"


def _named(labels: Sequence[int]) -> str:
    more = " ..." if len(labels) > _MOST_NAMED else ""
    shown = ", ".join(map(str, labels[:_MOST_NAMED]))
    return f"label{'s' * (len(labels) > 1)} {shown}{more}"


def _percent(share: float) -> str:
    """Return a share in per cent; a small one does not read as 0."""
    return f"{100 * share:.3g} %"
