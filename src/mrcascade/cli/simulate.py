"""``mrcascade simulate``: measure an image file with a known operator."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mrcascade.arrays.factors import factor_label
from mrcascade.cli import early, options, places, terminal
from mrcascade.cli.help import add_command
from mrcascade.io.formats import formats_in_words


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "simulate",
        help="make a low-resolution measurement of an image",
        usage="INPUT --factor F [-o DIR|FILE] [options]",
        examples=(
            ("mrcascade simulate t2.nii.gz --factor 4", "a quarter of the matrix"),
            (
                "mrcascade simulate t2.nii.gz --factor 2,1 --noise 0.01 -o low/",
                "half the rows, with noise",
            ),
        ),
    )
    parser.add_argument("input", type=Path, metavar="INPUT", help=formats_in_words())
    options.add_factor(parser)
    options.add_output(parser, "the measurement and its sidecar", places.BESIDE)
    options.add_overwrite(parser)
    group = parser.add_argument_group("measurement")
    options.add_kernel(group)
    options.add_noise(group, 0.0, "(default: 0)")
    options.add_seed(group)
    group = parser.add_argument_group("images and formats")
    options.add_axes(group)
    options.add_series(group, several=False)
    options.add_format(group)
    options.add_complex(group, " and pairs of _part-mag and _part-phase files")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    early.check_factors(arguments.factor)
    made, kind = f"low{factor_label(arguments.factor)}", arguments.format
    output = arguments.output or places.folder_beside([arguments.input])
    if output is not None:
        early.check_output(output, [arguments.input], made, kind, arguments.overwrite)
    from mrcascade.data.sizes import check_reduction

    with early.header_of(arguments.input, arguments.axes) as found:
        if found:
            check_reduction(*found, arguments.factor)
    from mrcascade.io import ImageFile, named_image, only_series
    from mrcascade.jobs import Simulation, simulate_file

    job = Simulation(
        factor=arguments.factor,
        kernel=arguments.kernel,
        noise=arguments.noise,
        seed=arguments.seed,
        axes=arguments.axes,
        overwrite=arguments.overwrite,
        format=arguments.format,
        complex=arguments.complex,
    )
    source: ImageFile = named_image(arguments.input, pairs=job.complex)
    if source.format.folder:
        source = only_series(arguments.input, arguments.series, terminal.note)
    if output is None:
        output, source = places.place_of(source, arguments.input)
    for path in simulate_file(source, output, job, say=terminal.line):
        terminal.line(str(path))
