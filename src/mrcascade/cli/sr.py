"""``mrcascade sr``: super-resolve a volume."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcascade.cli import options

if TYPE_CHECKING:
    from mrcascade.samplers import Progress


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("sr", help="super-resolve an image file")
    parser.add_argument("input", type=Path, help="NIfTI (.nii, .nii.gz) or .npy")
    options.add_output(parser, "result, uncertainty, preview and sidecar")
    options.add_factor(parser)
    parser.add_argument(
        "--prior", default=options.DEFAULT_PRIOR, metavar="NAME|DIR", help="default: %(default)s"
    )
    options.add_kernel(parser)
    options.add_noise(parser, None, "(default: estimated; 0: meet the data exactly)")
    parser.add_argument(
        "--mode",
        default="mean",
        metavar="NAME",
        help="recipe: mean (one evaluation per level) or paper (T = 200); default: %(default)s",
    )
    parser.add_argument(
        "--steps", type=options.positive, metavar="T", help="instead of the recipe's"
    )
    parser.add_argument(
        "--samples", type=options.positive, default=1, metavar="K", help="posterior samples"
    )
    options.add_seed(parser)
    options.add_axes(parser)
    parser.add_argument(
        "--batch-size", type=options.positive, default=4, metavar="N", help="default: %(default)s"
    )
    options.add_device(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from mrcascade.pipeline import SuperResolution, super_resolve_file
    from mrcascade.prior import CascadePrior

    prior = CascadePrior.from_pretrained(arguments.prior, options.resolve_device(arguments.device))
    job = SuperResolution(
        factor=arguments.factor,
        kernel=arguments.kernel,
        noise=arguments.noise,
        mode=arguments.mode,
        steps=arguments.steps,
        samples=arguments.samples,
        seed=arguments.seed,
        axes=arguments.axes,
        batch_size=arguments.batch_size,
        overwrite=arguments.overwrite,
    )
    bars: list[Any] = []

    def progress(total: int) -> Callable[[Progress], None]:
        from tqdm import tqdm

        bars.append(tqdm(total=total, unit="eval", disable=None, file=sys.stderr))
        return lambda event: bars[0].update(event.denoised.shape[0])

    try:
        written = super_resolve_file(
            arguments.input, arguments.output, prior, job, say=print, progress=progress
        )
    finally:
        for bar in bars:
            bar.close()
    for path in written:
        print(path)
