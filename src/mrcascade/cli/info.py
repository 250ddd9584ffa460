"""``mrcascade info``: what a prior or an image is, at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.prior_format import PRIOR_FILE, bundled_priors, prior_folder, read_document


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("info", help="describe a prior or an image file")
    parser.add_argument(
        "what", metavar="PRIOR_OR_IMAGE", help="prior name or folder, or image file"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    path = Path(arguments.what)
    if arguments.what in bundled_priors() or (path / PRIOR_FILE).is_file():
        print("\n".join(describe_prior(prior_folder(arguments.what))))
    elif path.is_file():
        print("\n".join(describe_image(path)))
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


def describe_image(path: Path) -> list[str]:
    """Lines about an image: size, geometry, what ``sr`` would take as its planes."""
    from mrcascade.intensity import robust_maximum
    from mrcascade.io import choose_axes, describe_axes, read_image

    image = read_image(path)
    spacing = " x ".join(f"{s:.4g}" for s in image.spacing)
    lines = [
        f"{path}: {image.format}, {' x '.join(map(str, image.data.shape))},"
        f" {'complex' if image.data.dtype.kind == 'c' else 'real'}",
        f"in plane: {describe_axes(image, choose_axes(image))}",
        f"robust maximum: {robust_maximum(image.data):.6g}",
    ]
    if image.affine is not None:
        lines.insert(1, f"voxel size: {spacing} mm")
    return lines
