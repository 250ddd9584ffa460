"""``mrcascade sr``: super-resolve volumes."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcascade.cli import options
from mrcascade.errors import MRCascadeError
from mrcascade.modes import MODES, default_mode

if TYPE_CHECKING:
    from mrcascade.pipeline import Batch, Done, Item
    from mrcascade.pipeline.common import Report
    from mrcascade.samplers import Progress

    Tick = Callable[[Progress], None]


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("sr", help="super-resolve image files")
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="INPUT",
        help="DICOM series (folder, files or zip), image files (NIfTI, fastMRI, .npy, grey PNG or"
        " TIFF), folders of them, BIDS datasets, or .txt lists of paths",
    )
    options.add_output(parser, "result, uncertainty, preview and sidecar")
    options.add_factor(parser)
    options.add_prior(parser)
    options.add_kernel(parser)
    options.add_noise(parser, None, "(default: estimated; 0: meet the data exactly)")
    parser.add_argument(
        "--mode",
        metavar="NAME",
        help=f"{'; '.join(f'{name} ({about})' for name, about in MODES.items())}; settings may"
        " follow, as in mean:orientations=8 or sample:zeta=0.1 (default: mean, and sample where"
        " --samples is above 1)",
    )
    options.add_sampling(parser, "posterior samples, by mode sample; default: %(default)s")
    options.add_axes(parser)
    options.add_series(parser, several=True)
    parser.add_argument(
        "--bids-filter",
        metavar="FILE|KEY=VALUE[,...]",
        help="which images of a BIDS dataset, such as suffix=T2w,session=01, or a JSON file of such"
        " entities (default: all of datatype anat)",
    )
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
        "--resume",
        action="store_true",
        help="skip files whose results are there, made from the same input with the same settings",
    )
    parser.add_argument(
        "--num-parts",
        type=options.positive,
        default=1,
        metavar="N",
        help="share the files out over N jobs, of which this is one; default: %(default)s",
    )
    parser.add_argument(
        "--part-id",
        type=options.whole,
        default=0,
        metavar="I",
        help="which one, from 0 to N - 1; default: %(default)s",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print size, time and memory; write nothing"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from mrcascade.pipeline import (
        Batch,
        Part,
        SuperResolution,
        check_dataset,
        check_job,
        check_names,
        find_inputs,
    )
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
    part = Part(arguments.part_id, arguments.num_parts)
    device = options.resolve_device(arguments.device)
    precision = options.resolve_precision(arguments.precision, device)
    prior = CascadePrior.from_pretrained(arguments.prior, device, precision)
    check_job(prior, job)
    if job.mode is None and job.samples > 1:
        print(
            f"mode {default_mode(job.samples)}, for --samples {job.samples}; --mode names another"
        )
    items = find_inputs(arguments.inputs, arguments.series, arguments.bids_filter, prior.channels)
    check_dataset(items, arguments.output)
    check_names(items, arguments.output, job)
    items = part.of(items)
    batch = Batch(items, arguments.output, prior, job, part, arguments.resume)
    if arguments.dry_run:
        return each(items, _estimating(batch))
    return _report(_restore(batch))


def each(items: Sequence[Item], work: Callable[[Item], None]) -> int:
    """Do the work on each input and go on after one that fails; the exit code.

    0: all were done; 1: some; 2: none. The only file's error is raised.
    """
    if len(items) == 1:
        work(items[0])
        return 0
    failed = []
    for item in items:
        try:
            work(item)
        except MRCascadeError as error:
            print(f"mrcascade: {error}", file=sys.stderr)
            failed.append(item)
    return _failures(failed, len(items))


def _failures(failed: Sequence[Item], count: int) -> int:
    """Name the inputs that failed; the exit code."""
    if failed:
        names = ", ".join(map(str, failed))
        print(f"mrcascade: {len(failed)} of {count} files failed: {names}", file=sys.stderr)
    return 0 if not failed else 2 if len(failed) == count else 1


def _restore(batch: Batch) -> list[Done]:
    """Run a batch. One file tells all of its decisions and its outputs; of several each gets one
    line, and the record holds the rest."""
    count = len(batch.items)
    with closing(_Bar()) as bar:

        def begin(number: int, item: Item) -> tuple[Report, Callable[[int], Tick]]:
            bar.name = f"{number + 1}/{count} {item.name}" if count > 1 else ""
            return (bar.say if count == 1 else lambda line: None), bar.start

        def end(done: Done) -> None:
            if count > 1:
                bar.say(f"{bar.name}: {done.status}, {done.seconds:.1f} s")
            if done.error and count > 1:
                print(f"mrcascade: {done.error}", file=sys.stderr)

        return batch.run(begin=begin, end=end)


def _report(results: Sequence[Done]) -> int:
    """The last lines, and the exit code."""
    if len(results) == 1:
        (done,) = results
        if done.error is not None:
            raise MRCascadeError(done.error)
        for path in done.outputs:
            print(path)
        return 0
    counts = Counter(done.status for done in results)
    seconds = sum(done.seconds for done in results)
    parts = [f"{counts[s]} {s}" for s in ("done", "skipped", "failed") if counts[s]]
    print(f"{len(results)} files: {', '.join(parts) or 'none for this part'}; {seconds:.1f} s")
    return _failures([done.item for done in results if done.status == "failed"], len(results))


def _estimating(batch: Batch) -> Callable[[Item], None]:
    from mrcascade.pipeline import Estimator

    estimator = Estimator(batch.prior, batch.job)

    def work(item: Item) -> None:
        job = batch.to_do(item)
        done = f"{item}: already done"
        print(done if job is None else estimator.file(item, batch.output, job.overwrite))

    return work


class _Bar:
    """A progress bar over network evaluations, from when their number is known."""

    def __init__(self) -> None:
        self._bar: Any = None
        self.name = ""

    def start(self, total: int) -> Tick:
        from tqdm import tqdm

        self.close()
        self._bar = tqdm(total=total, unit="eval", desc=self.name, disable=None, file=sys.stderr)
        return lambda event: self._bar.update(event.denoised.shape[0])

    def say(self, line: str) -> None:
        if self._bar is None:
            print(line)
        else:
            self._bar.write(line)  # a plain line into a running bar would tear it

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
