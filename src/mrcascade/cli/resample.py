"""``mrcascade resample``: put labels, or an image, onto the grid of another image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcascade.cli import early, options, places, terminal
from mrcascade.cli.help import add_command
from mrcascade.io.formats import formats_in_words
from mrcascade.io.interpolation import METHODS

if TYPE_CHECKING:
    from mrcascade.io import ImageFile

_KINDS = ("labels", "image")


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "resample",
        help="put labels (a segmentation) onto the grid of a result, or back",
        usage="LABELS --like IMAGE [-o DIR|FILE] [options]",
        examples=(
            (
                "mrcascade resample labels.nii.gz --like t2_desc-sr2x.nii.gz -o out/",
                "labels onto the grid of a result",
            ),
            (
                "mrcascade resample pd.nii.gz --like t2.nii.gz --kind image --method linear",
                "an image onto the grid of another one",
            ),
        ),
    )
    parser.add_argument(
        "input", type=Path, metavar="LABELS", help=f"labels or image: {formats_in_words()}"
    )
    parser.add_argument(
        "--like",
        type=Path,
        required=True,
        metavar="IMAGE",
        help="image that gives the grid, such as a result of sr, or the original",
    )
    options.add_output(parser, "the resampled file, NIfTI, and its sidecar", places.BESIDE)
    options.add_overwrite(parser)
    parser.add_argument(
        "--kind",
        choices=_KINDS,
        default=_KINDS[0],
        help="what the values are: labels stay whole numbers of the same type;"
        " default: %(default)s",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        help="the value at the voxel's centre, linear interpolation, or the mean over the voxel"
        " for a coarser grid; of labels then the one with the largest share (default: nearest"
        " for labels, linear for images)",
    )
    options.add_series(parser, several=False)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    like, given = arguments.like, [arguments.input]
    early.check_data(arguments.input)
    early.check_data(like)
    from mrcascade.jobs import Resampling, resample_file, resample_label

    output = arguments.output or places.folder_beside(given)
    if output is not None:
        early.check_output(output, given, resample_label(like), "nifti", arguments.overwrite)
    job = Resampling(arguments.kind, arguments.method, arguments.overwrite)
    grid = _chosen(like, arguments.series)
    image = _chosen(arguments.input, None if grid.format.folder else arguments.series)
    if output is None:
        output, image = places.place_of(image, arguments.input)
    for path in resample_file(image, grid, output, job, say=terminal.line):
        terminal.line(str(path))


def _chosen(path: Path, series: str | None) -> ImageFile:
    from mrcascade.io import image_file, only_series

    found = image_file(path)
    return only_series(path, series, terminal.note) if found.format.folder else found
