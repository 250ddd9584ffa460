"""``mrcascade info``: describe a prior, an image, a folder of images or DICOM series."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mrcascade.cli import options, terminal
from mrcascade.cli.help import add_command
from mrcascade.errors import MRCascadeError
from mrcascade.prior.format import (
    BUNDLED,
    PRIOR_FILE,
    SLICES,
    list_priors,
    prior_folder,
    read_document,
    weight_files,
)
from mrcascade.prior.hub import Repository
from mrcascade.storage.digest import file_sha256

if TYPE_CHECKING:
    from mrcascade.arrays.intensity import Intensity
    from mrcascade.io import Found, Named, Planes, SliceStore, Source


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "info",
        help="describe a prior, an image, a folder of images or DICOM series",
        usage="[PRIOR_OR_IMAGE] [options]",
        examples=(
            ("mrcascade info t2.nii.gz", "planes, acquired matrix, intensity and noise"),
            ("mrcascade info t2_desc-sr2x.nii.gz", "a result, and how it was made"),
            ("mrcascade info exam/", "images and DICOM series of a folder"),
            ("mrcascade info mr-small", "a prior"),
        ),
    )
    parser.add_argument(
        "what",
        nargs="?",
        metavar="PRIOR_OR_IMAGE",
        help="prior name, folder or repository (ORG/REPO[@REVISION]), image file, folder of images,"
        " or DICOM file, folder or zip (default: list the priors that come with the package)",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch the prior's repository from the Hugging Face hub into its cache, where all"
        " commands find it; without this option nothing is downloaded",
    )
    options.add_series(parser, several=False)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.download:
        return _print(describe_prior(_downloaded(arguments.what)))
    if arguments.what is None:
        for name in list_priors():
            default = " (default)" * (name == options.DEFAULT_PRIOR)
            terminal.line(describe_prior(prior_folder(name))[0] + default)
        return 0
    path = Path(arguments.what)
    if arguments.what in list_priors() or os.path.isfile(path / PRIOR_FILE):
        return _print(describe_prior(prior_folder(arguments.what)))
    if not path.exists():
        return _print(describe_prior(_cached(arguments.what)))
    if path.is_dir() and arguments.series is None and (images := _images_in(path)):
        return _list_folder(path, images)
    return _print(describe_input(path, arguments.series))


def _print(lines: Iterable[str]) -> int:
    for line in lines:
        terminal.line(line)
    return 0


def _cached(name: str) -> Path:
    """Return the folder of a prior in the hub's cache, for a name that is nothing else."""
    repository = Repository.of_name(name)
    if repository is not None:
        with contextlib.suppress(MRCascadeError):
            return prior_folder(name)
    hint = ", or fetch a repository of that name with --download" if repository else ""
    raise MRCascadeError(
        f"{name}: neither a prior (bundled: {', '.join(list_priors()) or 'none'}) nor a file; check"
        f" the name{hint}"
    )


def _downloaded(name: str | None) -> Path:
    """Fetch the prior of that name from the hub and return its folder in the cache."""
    if name is None or Repository.of_name(name) is None:
        raise MRCascadeError(
            "--download needs a repository of the hub; give ORG/REPO or ORG/REPO@REVISION"
        )
    if os.path.lexists(name):
        raise MRCascadeError(
            f"{name}: is here, and comes before a repository of the hub; drop --download, or start"
            " from another folder"
        )
    return prior_folder(name, download=True)


def describe_prior(folder: Path) -> list[str]:
    """Return lines about a prior, from its JSON alone."""
    document = read_document(folder)
    try:
        levels, provenance = document["levels"], document["provenance"]
        kind = "complex" if document["channels"] == 2 else "magnitude"
        if "phase" in provenance:
            kind += f" ({provenance['phase']} phase)"
        size = sum(path.stat().st_size for path in weight_files(folder)) / 1e6
        lines = [
            f"prior {_name_of(folder, document)}: {kind}, kernel {document['kernel']},"
            f" {len(levels)} level{'s' * (len(levels) != 1)},"
            f" factors up to {document['maximum_factor']}, {size:.1f} MB",
            f"folder: {folder}",
            f"SHA-256 of its {PRIOR_FILE}: {file_sha256(folder / PRIOR_FILE)}",
            f"trained on {provenance.get('slices', '?')} slices of"
            f" {len(provenance.get('files', []))} files ({provenance.get('data', '?')})",
            f"domain score: {_domain(document)}",
        ]
        for number, level in enumerate(levels, start=1):
            stats, training = level["statistics"], level["training"]
            lines.append(
                f"level {number}: band std {stats['std']:.4f} of the maximum,"
                f" {_network(level['networks'])},"
                f" {training.get('images', '?')} training patches"
            )
        if (folder / SLICES / PRIOR_FILE).is_file():
            lines.append(_of_slices(read_document(folder / SLICES)))
    except MRCascadeError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MRCascadeError(
            f"{folder / PRIOR_FILE}: not a complete prior ({reason}); fetch it again"
        ) from error
    return lines


def _of_slices(document: dict[str, Any]) -> str:
    """Return a line about a prior's regression network for thick slices."""
    finest = document["levels"][0]
    return (
        f"thick slices: {_network(finest['networks'])},"
        f" {finest['training'].get('images', '?')} training patches"
    )


def _name_of(folder: Path, document: dict[str, Any]) -> str:
    """Return the name that ``--prior`` takes for a bundled prior; for another, its own name."""
    place, bundled = folder.resolve(), BUNDLED.resolve()
    if place.is_relative_to(bundled):
        return place.relative_to(bundled).as_posix()
    return str(document["name"])


def _domain(document: dict[str, Any]) -> str:
    """Return whose images the prior compares an input with."""
    known = document.get("domain")
    if known is None:
        return "none, as the prior does not know its own images"
    return f"by the images of {known['people']} people, in training or validation"


def _network(networks: dict[str, Any]) -> str:
    for key, kind in (("unet", "denoiser"), ("mean", "regression")):
        if networks[key] is not None:
            return f"{kind} of {networks[key]['channels']} channels"
    return "no network"


def describe_input(path: Path, series: str | None) -> list[str]:
    """Return lines about an image file, or about the DICOM series below a path."""
    from mrcascade.io import (
        ALL_SERIES,
        choose_series,
        codec_of,
        find_below,
        format_of,
    )

    record = format_of(path)
    if not record.folder:
        lines, gives_image = codec_of(record).describe(path)
        image = describe_image(path) if gives_image else [f"{path}: {record.name}"]
        return [*image, *lines, *_made(path)]
    found = find_below(path)
    chosen = choose_series(found, series or ALL_SERIES, str(path))
    _note(found)
    if len(chosen) == 1:
        return [chosen[0].describe(), *describe_image(chosen[0]), *_made(path)]
    return [f"{path}: {len(chosen)} series", *(one.describe() for one in chosen)]


def _made(path: Path) -> list[str]:
    """Return lines about how a result of ``sr`` was made; empty for other images."""
    from mrcascade.jobs.made import describe_made

    return describe_made(Path(os.path.abspath(path)))


def _images_in(folder: Path) -> list[Path]:
    """Return the image files below a folder, without DICOM files."""
    from mrcascade.io import images_below

    return images_below(folder)


def _list_folder(folder: Path, images: list[Path]) -> int:
    """Print a line per image, then one per DICOM series. Returns 1 where one is damaged, else 0."""
    from mrcascade.io import find_below

    code = 0
    for path in images:
        name = path.relative_to(folder).as_posix()
        try:
            terminal.line(f"{name}: {_in_one_line(path)}")
        except MRCascadeError as error:
            terminal.problem(str(error))
            code = 1
    found = find_below(folder)
    for series in found.series:
        terminal.line(series.describe())
    _note(found)
    return 1 if found.damaged else code


def _in_one_line(path: Path) -> str:
    """Return size, voxel size and planes of an image file, or what else it is."""
    from mrcascade.io import (
        ColourPictureError,
        choose_planes,
        describe_planes,
        is_preview_name,
        is_result_name,
        open_source,
    )

    if is_preview_name(path):
        return "preview of a result of sr"
    try:
        with open_source(path) as source:
            size = " x ".join(map(str, source.shape))
            facts = [size, *_voxel_size(source), describe_planes(source, choose_planes(source))]
    except ColourPictureError as error:
        return f"{error.kind} picture, not grey: no image to restore"
    return ", ".join([*facts, *(["result of sr"] if is_result_name(path) else [])])


def _note(found: Found) -> None:
    """Print which files belong to no series, and why."""
    for one in found.damaged:
        terminal.problem(str(one.error))
    for line in found.notes():
        terminal.note(line)


def describe_image(image: Named) -> list[str]:
    """Return lines about an image: size and planes by its header, then facts from its pixels."""
    from mrcascade.io import choose_planes, describe_planes, open_source

    with open_source(image) as source:
        planes = choose_planes(source)
        return [
            f"{image}: {source.format}, {' x '.join(map(str, source.shape))},"
            f" {'complex' if source.dtype.kind == 'c' else 'real'}",
            *(f"voxel size: {size}" for size in _voxel_size(source)),
            f"in plane: {describe_planes(source, planes)}",
            *([f"image: {source.origin}"] if source.origin else []),
            *_of_pixels(source, planes),
        ]


def _voxel_size(source: Source) -> list[str]:
    """Return the voxel size as a list of one text, empty without a geometry."""
    if source.affine is None:
        return []
    return [" x ".join(f"{size:.4g}" for size in source.spacing) + " mm"]


def _of_pixels(source: Source, planes: Planes) -> list[str]:
    """Return lines with intensity, acquired matrix and noise, estimated from the pixels."""
    from mrcascade.arrays.intensity import RobustMaximum
    from mrcascade.io import SliceStore, StackOrder
    from mrcascade.jobs.acquired import acquired_by_header, acquired_by_pixels
    from mrcascade.jobs.intensity import intensity_of

    maximum = RobustMaximum(math.prod(source.shape))
    order = StackOrder(source.shape, source.layout, planes.axes)
    with TemporaryDirectory() as folder, SliceStore(Path(folder), order, source.dtype) as slices:
        for block, values in source.blocks():
            slices.put(block, values)
            maximum.add(values)
        intensity = intensity_of(slices, maximum.value())
        above = f" above the zero level, {intensity.zero:.6g}" if intensity.zero else ""
        lines = [f"pixels: {source.note}"] if source.note else []
        lines += [f"robust maximum: {intensity.scale:.6g}{above}"]
        acquired = acquired_by_pixels(slices, acquired_by_header(source, planes.axes, None))
        matrix = f"{acquired.matrix[0]} x {acquired.matrix[1]}"
        evidence = f"by {acquired.evidence}" if acquired.evidence else "all that is stored"
        lines.append(f"acquired matrix: {matrix} ({evidence})")
        lines.append(f"noise: {_noise(slices, intensity)}")
    return lines


def _noise(slices: SliceStore, intensity: Intensity) -> str:
    """Return the noise that ``sr`` would estimate, or why it cannot, in words."""
    from mrcascade.measurement.noise import estimate_noise, slices_for_noise

    try:
        chosen = (slices.read(i, i + 1)[0] for i in slices_for_noise(len(slices)))
        found = estimate_noise(chosen, zero=intensity.zero)
    except MRCascadeError as error:
        return f"not known; {error}"
    return found.describe(intensity.scale)
