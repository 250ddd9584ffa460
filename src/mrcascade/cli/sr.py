"""``mrcascade sr``: super-resolve volumes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcascade.cli import options
from mrcascade.errors import MRCascadeError

if TYPE_CHECKING:
    from mrcascade.io import Input
    from mrcascade.pipeline import SuperResolution
    from mrcascade.prior import CascadePrior
    from mrcascade.samplers import Progress


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("sr", help="super-resolve image files")
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="INPUT",
        help="DICOM series (folder, files or zip), image files (NIfTI, fastMRI, .npy, grey PNG or"
        " TIFF), folders of them, or .txt lists of paths",
    )
    options.add_output(parser, "result, uncertainty, preview and sidecar")
    options.add_factor(parser)
    options.add_prior(parser)
    options.add_kernel(parser)
    options.add_noise(parser, None, "(default: estimated; 0: meet the data exactly)")
    parser.add_argument(
        "--mode",
        default="mean",
        metavar="NAME",
        help="recipe: mean (one evaluation per level) or paper (T = 200); default: %(default)s",
    )
    options.add_sampling(parser, "posterior samples; default: %(default)s")
    options.add_axes(parser)
    options.add_series(parser, several=True)
    options.add_format(parser)
    parser.add_argument(
        "--acquired-matrix",
        type=options.acquired_matrix,
        metavar="ROWS,COLS|auto",
        help="crop k-space to this matrix first, as the stored pixels are interpolated; auto: by"
        " the header, a JSON sidecar and the spectrum (default: only warn)",
    )
    parser.add_argument(
        "--deidentify",
        action="store_true",
        help="DICOM: leave out who the patient is, in headers, sidecar and names of outputs",
    )
    options.add_batch_size(parser)
    options.add_device(parser)
    options.add_precision(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print size, time and memory; write nothing"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from mrcascade.pipeline import SuperResolution, check_job, check_names, find_inputs
    from mrcascade.prior import CascadePrior

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
        format=arguments.format,
        acquired=arguments.acquired_matrix,
        deidentify=arguments.deidentify,
    )
    images = find_inputs(arguments.inputs, arguments.series)
    check_names(images, arguments.output, job)
    device = options.resolve_device(arguments.device)
    prior = CascadePrior.from_pretrained(arguments.prior, device, arguments.precision)
    check_job(prior, job)
    work = _estimating(prior, job) if arguments.dry_run else _restoring(prior, job)
    return each(images, lambda image: work(image, arguments.output))


def each(images: Sequence[Input], work: Callable[[Input], None]) -> int:
    """Do the work on each input and go on after one that fails; the exit code.

    0: all were done; 1: some; 2: none. The only file's error is raised.
    """
    if len(images) == 1:
        work(images[0])
        return 0
    failed = []
    for image in images:
        try:
            work(image)
        except MRCascadeError as error:
            print(f"mrcascade: {error}", file=sys.stderr)
            failed.append(image)
    if failed:
        names = ", ".join(map(str, failed))
        print(f"mrcascade: {len(failed)} of {len(images)} files failed: {names}", file=sys.stderr)
    return 0 if not failed else 2 if len(failed) == len(images) else 1


def _restoring(prior: CascadePrior, job: SuperResolution) -> Callable[[Input, Path], None]:
    from mrcascade.pipeline import super_resolve_file

    def work(image: Input, output: Path) -> None:
        with closing(_Bar()) as bar:
            written = super_resolve_file(image, output, prior, job, say=bar.say, progress=bar.start)
        for result in written:
            print(result)

    return work


def _estimating(prior: CascadePrior, job: SuperResolution) -> Callable[[Input, Path], None]:
    from mrcascade.pipeline import Estimator

    estimator = Estimator(prior, job)
    return lambda image, output: print(estimator.file(image, output))


class _Bar:
    """A progress bar over network evaluations, from when their number is known."""

    def __init__(self) -> None:
        self._bar: Any = None

    def start(self, total: int) -> Callable[[Progress], None]:
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit="eval", disable=None, file=sys.stderr)
        return lambda event: self._bar.update(event.denoised.shape[0])

    def say(self, line: str) -> None:
        self.close()  # a line into a running bar would tear it
        print(line)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
