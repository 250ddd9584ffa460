"""``mrcascade info``: what a prior or an image is, at once."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcascade.cli import options
from mrcascade.errors import MRCascadeError
from mrcascade.prior_format import (
    PRIOR_FILE,
    bundled_priors,
    file_sha256,
    prior_folder,
    read_document,
)

if TYPE_CHECKING:
    from mrcascade.io import Input


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("info", help="describe a prior, an image file or DICOM series")
    parser.add_argument(
        "what",
        metavar="PRIOR_OR_IMAGE",
        help="prior name or folder, image file, or DICOM file, folder or zip",
    )
    options.add_series(parser, several=False)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    path = Path(arguments.what)
    if arguments.what in bundled_priors() or (path / PRIOR_FILE).is_file():
        print("\n".join(describe_prior(prior_folder(arguments.what))))
    elif path.exists():
        print("\n".join(describe_input(path, arguments.series)))
    else:
        raise MRCascadeError(
            f"{arguments.what}: neither a prior (bundled: {', '.join(bundled_priors()) or 'none'})"
            " nor an image file"
        )


def describe_prior(folder: Path) -> list[str]:
    """Lines about a prior, from its JSON alone."""
    document = read_document(folder)
    try:
        levels, provenance = document["levels"], document["provenance"]
        kind = "complex" if document["channels"] == 2 else "magnitude"
        if "phase" in provenance:
            kind += f" ({provenance['phase']} phase)"
        size = sum((folder / level["file"]).stat().st_size for level in levels) / 1e6
        lines = [
            f"prior {document['name']}: {kind}, kernel {document['kernel']},"
            f" {len(levels)} levels, factors up to {document['maximum_factor']}, {size:.1f} MB",
            f"folder: {folder}",
            f"SHA-256 of its {PRIOR_FILE}: {file_sha256(folder / PRIOR_FILE)}",
            f"trained on {provenance.get('slices', '?')} slices of"
            f" {len(provenance.get('files', []))} files ({provenance.get('data', '?')})",
        ]
        for number, level in enumerate(levels, start=1):
            stats, training = level["statistics"], level["training"]
            lines.append(
                f"level {number}: band std {stats['std']:.4f} of the maximum,"
                f" {_network(level['networks'])},"
                f" {training.get('images', '?')} training patches"
            )
    except (KeyError, TypeError, OSError) as error:
        raise MRCascadeError(f"{folder / PRIOR_FILE}: not a complete prior ({error})") from error
    return lines


def _network(networks: dict[str, Any]) -> str:
    for key, kind in (("unet", "denoiser"), ("mean", "regression")):
        if networks[key] is not None:
            return f"{kind} of {networks[key]['channels']} channels"
    return "no network"


def describe_input(path: Path, series: str | None) -> list[str]:
    """Lines about an image file or about what DICOM series there are."""
    from mrcascade.io import (
        ALL_SERIES,
        SUFFIXES,
        choose_series,
        describe_fastmri,
        dicom_files,
        find_series,
        format_of,
    )

    if format_of(path) == "fastmri":
        lines, gives_image = describe_fastmri(path)
        return [*describe_image(path), *lines] if gives_image else [f"{path}: fastmri", *lines]
    if format_of(path) != "dicom":
        return describe_image(path)
    found = find_series(dicom_files(path, tuple(SUFFIXES)))
    chosen = choose_series(found, series or ALL_SERIES, str(path))
    if len(chosen) == 1:
        return [chosen[0].describe(), *describe_image(chosen[0])]
    return [f"{path}: {len(chosen)} series", *(one.describe() for one in chosen)]


def describe_image(image: Input) -> list[str]:
    """Lines about an image: size, geometry, what ``sr`` would take as its planes."""
    from mrcascade.intensity import RobustMaximum
    from mrcascade.io import choose_planes, describe_planes, open_source

    with open_source(image) as source:
        maximum = RobustMaximum(math.prod(source.shape))
        for _, values in source.blocks():
            maximum.add(values)
        planes = choose_planes(source)
        lines = [
            f"{image}: {source.format}, {' x '.join(map(str, source.shape))},"
            f" {'complex' if source.dtype.kind == 'c' else 'real'}",
            f"in plane: {describe_planes(source, planes)}",
            f"robust maximum: {maximum.value():.6g}",
        ]
        if source.affine is not None:
            spacing = " x ".join(f"{s:.4g}" for s in source.spacing)
            lines.insert(1, f"voxel size: {spacing} mm")
        if source.origin:
            lines.append(f"image: {source.origin}")
        if source.acquired is not None:
            acquired = " x ".join(str(source.acquired.get(a, "?")) for a in planes.axes)
            lines.append(f"acquired matrix: {acquired} (by {source.acquired_by})")
    return lines
