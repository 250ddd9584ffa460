"""``mrcascade simulate``: measure an image file with a known operator."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mrcascade.arrays.factors import factor_label
from mrcascade.cli import early, options, terminal
from mrcascade.io.formats import formats_in_words


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("simulate", help="make a low-resolution measurement of an image")
    parser.add_argument("input", type=Path, help=formats_in_words())
    options.add_output(parser, "the measurement and its sidecar", file=True)
    options.add_factor(parser)
    options.add_kernel(parser)
    options.add_noise(parser, 0.0, "(default: 0)")
    options.add_seed(parser)
    options.add_axes(parser)
    options.add_series(parser, several=False)
    options.add_format(parser)
    options.add_complex(parser, " and pairs of _part-mag and _part-phase files")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    early.check_factors(arguments.factor)
    made, kind = f"low{factor_label(arguments.factor)}", arguments.format
    early.check_output(arguments.output, [arguments.input], made, kind, arguments.overwrite)
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
    for path in simulate_file(source, arguments.output, job, say=terminal.line):
        terminal.line(str(path))
