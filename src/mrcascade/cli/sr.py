"""``mrcascade sr``: super-resolve image files and DICOM series."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from mrcascade.cli import early, options, sharing, terminal
from mrcascade.cli.isotropic import add_isotropic, isotropic_of
from mrcascade.cli.progress import ProgressBar
from mrcascade.errors import MRCascadeError
from mrcascade.io.formats import formats_in_words
from mrcascade.messages.duration import rounded
from mrcascade.messages.faults import naming
from mrcascade.recipes.modes import MODES, default_mode
from mrcascade.recipes.settings import read_mode

if TYPE_CHECKING:
    from mrcascade.executors import Workers
    from mrcascade.executors.task import Job
    from mrcascade.io import Pseudonyms
    from mrcascade.jobs import Done, FileBatch, Item, SlicesDone
    from mrcascade.jobs.progress import Report
    from mrcascade.measurement.thick import Isotropic


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("sr", help="super-resolve image files")
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="INPUT",
        help="DICOM series (folder, files or zip), image files"
        f" ({formats_in_words(folders=False)}), folders of them, BIDS datasets, or .txt lists of"
        " paths",
    )
    options.add_output(parser, "result, uncertainty, preview and sidecar", file=True)
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how images are restored, without inputs and output."""
    options.add_factor(parser, required=False)
    options.add_prior(parser)
    options.add_kernel(parser)
    options.add_noise(parser, None, "(default: estimated; 0: meet the data exactly)")
    parser.add_argument(
        "--mode",
        metavar="NAME",
        help=f"{'; '.join(f'{name} ({about})' for name, about in MODES.items())}; settings may"
        " follow, as in mean:orientations=8 or paper:zeta=0.1 (default: mean, and sample where"
        " --samples is above 1)",
    )
    options.add_sampling(parser, "posterior samples of mode sample; default: %(default)s")
    add_isotropic(parser)
    options.add_axes(parser)
    options.add_series(parser, several=True)
    parser.add_argument(
        "--bids-filter",
        metavar="FILE|KEY=VALUE[,...]",
        help="entities of the images to take from a BIDS dataset, such as suffix=T2w,session=01, or"
        " a JSON file of them (default: all of datatype anat)",
    )
    options.add_format(parser)
    parser.add_argument(
        "--acquired-matrix",
        type=options.parse_matrix,
        metavar="ROWS,COLS|auto",
        help="crop k-space to this matrix first, as the stored pixels are interpolated; auto: by"
        " the header, a JSON sidecar and the spectrum (default: only warn)",
    )
    parser.add_argument(
        "--deidentify",
        action="store_true",
        help="DICOM: leave the patient's identity out of headers, sidecar and names of outputs",
    )
    parser.add_argument(
        "--salt-file",
        type=Path,
        metavar="FILE",
        help="secret of --deidentify, made if missing; jobs that share it give a series the same"
        " name and UIDs, which --resume and --num-parts need; keep it apart from the results"
        " (default: a new secret that is not kept)",
    )
    options.add_batch_size(parser, "as many as its memory holds")
    options.add_device(parser)
    options.add_precision(parser)
    sharing.add_sharing(parser)
    options.add_compile(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="skip files that have a result made from the same input with the same settings; with"
        " --overwrite, replace results made otherwise",
    )
    parser.add_argument(
        "--num-parts",
        type=options.bounded,
        default=1,
        metavar="N",
        help="number of jobs that share the files, with this one; default: %(default)s",
    )
    parser.add_argument(
        "--part-id",
        type=options.whole_number,
        default=0,
        metavar="I",
        help="number of this job, from 0 to N - 1; default: %(default)s",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print size, time and memory; write no result"
    )


def run(arguments: argparse.Namespace) -> int:
    isotropic = isotropic_of(arguments)
    _refuse_early(arguments, isotropic)
    from mrcascade.executors import open_workers
    from mrcascade.executors.task import Job
    from mrcascade.io import check_one_result
    from mrcascade.jobs import (
        FileBatch,
        Part,
        Request,
        SuperResolution,
        check_dataset,
        check_names,
        combined_input,
        file_worker,
        find_inputs,
    )
    from mrcascade.prior.cascade import CascadePrior

    job = SuperResolution(
        factor=arguments.factor or (1.0, 1.0),
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
        isotropic=isotropic,
        combine=arguments.combine,
    )
    part = Part(arguments.part_id, arguments.num_parts)
    _check_salt(arguments)
    shared = sharing.sharing_of(arguments, arguments.precision)
    # Until it is known who does the work, nothing opens a GPU.
    prior = CascadePrior.from_pretrained(arguments.prior, "cpu", shared.precision)
    request = Request.of(prior, job)
    if job.mode is None and job.samples > 1:
        terminal.line(
            f"mode {default_mode(job.samples)}, for --samples {job.samples}; --mode names another"
        )
    chosen = arguments.series, arguments.bids_filter
    items = find_inputs(arguments.inputs, *chosen, prior.channels, terminal.note)
    if arguments.combine is not None:
        items = [combined_input(items)]
    check_dataset(items, arguments.output)
    request = request.changed(deidentify=_pseudonyms(arguments))
    check_names(items, arguments.output, request.job)
    check_one_result(arguments.output, max(len(items), part.count))
    items = part.of(items)
    batch = FileBatch(items, arguments.output, request, part, arguments.resume)
    here = shared.here(len(items))
    if arguments.dry_run or here:
        prior.to(shared.device)
        if arguments.compile == "on":
            prior.compile()
    if arguments.dry_run:
        return each(items, _estimating(batch))
    started = monotonic()
    unit = "files" if not here else "slices" if isotropic is None else "planes"
    with closing(ProgressBar(unit, here)) as bar:
        if here:
            _restore(batch, bar)
        else:
            make = partial(
                file_worker,
                arguments.prior,
                prior.digest,
                shared.precision,
                batch.output,
                batch.request.job,
                batch.resume,
                arguments.compile == "on",
            )
            count = min(shared.workers, len(items))
            with open_workers(count, shared.device, shared.scheduler, bar.say) as workers:
                _restore_in_workers(batch, workers, Job.of(make, shared.device), bar)
    return _report(batch.results, monotonic() - started)


def _refuse_early(arguments: argparse.Namespace, isotropic: Isotropic | None) -> None:
    from mrcascade.measurement.thick import LEAST_SQUARES, result_label

    if (arguments.mode or "").partition(":")[0] != LEAST_SQUARES:
        read_mode(arguments.mode or default_mode(arguments.samples))
    limits = early.check_factors(arguments.factor, arguments.prior)
    overwrite = arguments.overwrite or arguments.resume
    combined = arguments.combine is not None
    if combined and arguments.num_parts > 1:
        raise MRCascadeError("--combine makes one result; leave --num-parts out")
    if arguments.dry_run and arguments.scheduler is not None:
        raise MRCascadeError("--dry-run estimates the work of this machine; leave --scheduler out")
    made = result_label(arguments.factor or (1.0, 1.0), isotropic, combined)
    inputs = arguments.inputs[:1] if combined else arguments.inputs
    early.check_output(arguments.output, inputs, made, arguments.format, overwrite)
    if len(arguments.inputs) > 1:  # each is checked when its turn comes
        return
    if arguments.factor is None:
        early.check_data(arguments.inputs[0])
        return
    from mrcascade.data.sizes import check_enlargement

    with early.header_of(arguments.inputs[0], arguments.axes) as found:
        if found and limits and arguments.acquired_matrix is None:
            source, planes = found
            matrix = [source.shape[axis] for axis in planes.axes]
            check_enlargement(source, planes, matrix, arguments.factor, limits)


def _check_salt(arguments: argparse.Namespace) -> None:
    """Raise MRCascadeError where the secret of --deidentify is missing, unused or exposed."""
    salt: Path | None = arguments.salt_file
    if salt is not None and not arguments.deidentify:
        raise MRCascadeError("--salt-file is the secret of --deidentify; leave it out, or add that")
    if salt is not None and arguments.output.resolve() in salt.resolve().parents:
        raise MRCascadeError(
            f"--salt-file {salt}: lies in the folder of the results, which gives the secret away;"
            " keep it elsewhere"
        )
    if salt is None and arguments.deidentify and (arguments.resume or arguments.num_parts > 1):
        option = "--resume" if arguments.resume else "--num-parts"
        raise MRCascadeError(
            f"--deidentify with {option} needs --salt-file FILE, as runs with different secrets"
            " give different names; the file is made if missing"
        )


def _pseudonyms(arguments: argparse.Namespace) -> Pseudonyms | None:
    from mrcascade.io import Pseudonyms

    salt: Path | None = arguments.salt_file
    if not arguments.deidentify:
        return None
    if salt is None or (arguments.dry_run and not salt.exists()):  # a dry run writes nothing
        return Pseudonyms()
    return Pseudonyms.of_file(salt)


def each(items: Sequence[Item], work: Callable[[Item], None]) -> int:
    """Do the work on each input, also after one that fails, and return the exit code.

    The code is 0 where all inputs were done, 1 for some, 2 for none. The error of a single input
    is raised.
    """
    failed = []
    for item in items:
        try:
            with naming(*item.names):
                work(item)
        except MRCascadeError as error:
            if len(items) == 1:
                raise
            terminal.problem(str(error))
            failed.append(item)
    return _failures(failed, len(items))


def _failures(failed: Sequence[Item], count: int) -> int:
    """Print which inputs failed and return the exit code."""
    if failed:
        names = ", ".join(map(str, failed))
        terminal.problem(f"{len(failed)} of {count} files failed: {names}")
    return 0 if not failed else 2 if len(failed) == count else 1


def _restore(batch: FileBatch, bar: ProgressBar) -> None:
    """Run a batch here, with progress. With several files, each note begins with the file's
    name."""
    count = len(batch.items)
    rest, running = _Rest(bar, count), 0

    def begin(number: int, item: Item) -> tuple[Report, Callable[[int], SlicesDone]]:
        nonlocal running
        rest.files, running = count - number - 1, number
        numbered = f"{number + 1}/{count} {item.name}" if count > 1 else ""

        def start(slices: int) -> SlicesDone:
            bar.start(slices, name=numbered)
            return lambda done: bar.at(done, rest.text(done))

        return (lambda line: bar.say(f"{item.name}: {line}" if count > 1 else line)), start

    def end(done: Done) -> None:
        if done.number == running:  # else the bar is that of the next one
            bar.close()
        rest.add(done)
        _tell_end(done, f"{done.number + 1}/{count}", count, bar)

    batch.run(begin=begin, end=end)


def _restore_in_workers(batch: FileBatch, workers: Workers, job: Job, bar: ProgressBar) -> None:
    """Run a batch in processes; the bar counts files."""
    count, ended = len(batch.items), 0
    bar.start(count)

    def begin(number: int, item: Item) -> tuple[Report, Callable[[int], SlicesDone]]:
        return (lambda line: bar.say(f"{item.name}: {line}")), lambda slices: lambda done: None

    def end(done: Done) -> None:
        nonlocal ended
        ended += 1
        _tell_end(done, f"{ended}/{count}", count, bar)
        bar.at(ended)

    batch.run_in_workers(workers, job, begin=begin, end=end)


def _tell_end(done: Done, numbered: str, count: int, bar: ProgressBar) -> None:
    if count > 1 and done.status != "skipped":  # a note has said so
        bar.say(f"{numbered} {done.item.name}: {done.status}, {done.seconds:.1f} s")
    if done.error and count > 1:
        terminal.problem(done.error)


class _Rest:
    """Estimate of a batch's remaining time. ``files`` counts the files after the current one."""

    def __init__(self, bar: ProgressBar, files: int) -> None:
        self._bar, self.files = bar, files
        self._seconds: list[float] = []

    def add(self, done: Done) -> None:
        """Add the time of a finished file. Skipped and failed ones say nothing about others."""
        if done.status == "done":
            self._seconds.append(done.seconds)

    def text(self, slices: float) -> str:
        """Return how many files are left and the time for all, after ``slices`` of this one."""
        remaining = self._bar.remaining(slices)
        if not self.files:
            return ""
        left = f"{self.files} more file{'s' * (self.files > 1)}"
        if remaining is None:
            return left
        seconds = [*self._seconds, self._bar.elapsed + remaining]
        total = remaining + self.files * sum(seconds) / len(seconds)
        return f"{left}, about {rounded(total)} for all"


def _report(results: Sequence[Done], seconds: float) -> int:
    """Print the last lines and return the exit code. ``seconds``: of the whole batch."""
    if len(results) == 1:
        (done,) = results
        if done.error is not None:
            raise MRCascadeError(done.error)
        for path in done.outputs:
            terminal.line(str(path))
        return 0
    counts = Counter(done.status for done in results)
    parts = [f"{counts[s]} {s}" for s in ("done", "skipped", "failed") if counts[s]]
    ended = ", ".join(parts) or "none for this part"
    terminal.line(f"{len(results)} files: {ended}; {seconds:.1f} s")
    return _failures([done.item for done in results if done.status == "failed"], len(results))


def _estimating(batch: FileBatch) -> Callable[[Item], None]:
    from mrcascade.jobs import Estimator

    estimator = Estimator(batch.request.prior)

    def work(item: Item) -> None:
        request = batch.to_do(item)
        if request is None:
            terminal.line(f"{item}: already done")
        else:
            terminal.line(str(estimator.file(item, batch.output, request)))

    return work
