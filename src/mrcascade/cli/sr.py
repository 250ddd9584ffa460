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

from mrcascade.cli import early, places, sharing, terminal
from mrcascade.cli.help import add_command
from mrcascade.cli.isotropic import isotropic_of
from mrcascade.cli.progress import ProgressBar
from mrcascade.cli.report import tell_batch_report, wants_reports
from mrcascade.cli.sr_options import add_options
from mrcascade.errors import MRCascadeError
from mrcascade.io.formats import formats_in_words
from mrcascade.messages.duration import rounded
from mrcascade.messages.faults import naming
from mrcascade.recipes.modes import default_mode
from mrcascade.recipes.settings import read_mode

if TYPE_CHECKING:
    from mrcascade.executors import Workers
    from mrcascade.executors.task import Job
    from mrcascade.io import Pseudonyms
    from mrcascade.jobs import Done, FileBatch, Item, SlicesDone
    from mrcascade.jobs.progress import Report
    from mrcascade.measurement.thick import Isotropic


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "sr",
        help="super-resolve image files",
        usage="INPUT [INPUT ...] (--factor F | --isotropic) [-o DIR|FILE] [options]",
        description="Super-resolve MR images: more pixels in plane (--factor), thin slices of thick"
        " ones (--isotropic), or both. An input is never changed.",
        examples=(
            ("mrcascade sr t2.nii.gz --factor 2", "twice the matrix in plane, beside the input"),
            (
                "mrcascade sr t2.nii.gz --factor 2 --samples 8 -o out/",
                "samples, their mean and a standard deviation map",
            ),
            ("mrcascade sr t2.nii.gz --isotropic", "thick slices to isotropic voxels"),
            ("mrcascade sr exam/T2_TSE --factor 2 -o out/", "a DICOM series"),
            (
                "mrcascade sr bids/ --factor 2 --bids-filter suffix=T2w",
                "a BIDS dataset, into bids/derivatives/mrcascade",
            ),
            (
                "mrcascade sr ax.nii cor.nii sag.nii --isotropic --combine -o out/",
                "one volume of several stacks",
            ),
            ("mrcascade sr scans/ --factor 2 --dry-run", "size, time and memory of a batch"),
        ),
    )
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="INPUT",
        help="DICOM series (folder, files or zip), image files"
        f" ({formats_in_words(folders=False)}), folders of them, BIDS datasets, or .txt lists of"
        " paths",
    )
    add_options(parser, places.BESIDE_INPUTS)
    parser.set_defaults(run=run)


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
    shared = sharing.sharing_of(arguments, arguments.precision, batch=True)
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
    output: Path | None = arguments.output
    if output is None:
        output, items = places.beside_inputs(items, arguments.inputs)
        _check_exposed(arguments.salt_file, output)
    check_dataset(items, output)
    request = request.changed(deidentify=_pseudonyms(arguments))
    check_names(items, output, request.job)
    check_one_result(output, max(len(items), part.count))
    several = len(items) > 1 or part.count > 1
    request = request.changed(report=wants_reports(arguments.report, output, several))
    items = part.of(items)
    batch = FileBatch(items, output, request, part, arguments.resume)
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
                prior.identity,
                shared.precision,
                batch.output,
                batch.request.job,
                batch.resume,
                arguments.compile == "on",
            )
            count = min(shared.workers, len(items))
            workers = open_workers(count, shared.device, shared.scheduler, bar.say)
            _restore_in_workers(batch, workers, Job.of(make, shared.device), bar)
    if request.job.report and several:
        tell_batch_report(batch)
    return _report(batch.results, monotonic() - started)


def _refuse_early(arguments: argparse.Namespace, isotropic: Isotropic | None) -> None:
    from mrcascade.measurement.thick import LEAST_SQUARES, result_label
    from mrcascade.measurement.thick_options import ThickOptions

    mode = arguments.mode or default_mode(arguments.samples)
    if mode.partition(":")[0] != LEAST_SQUARES:
        read_mode(mode)
    limits = early.check_factors(arguments.factor, arguments.prior)
    combined = arguments.combine is not None
    ThickOptions(
        isotropic=isotropic is not None,
        in_plane=arguments.factor is not None,
        mode=mode,
        samples=arguments.samples,
        combine=arguments.combine,
        steps=arguments.steps,
        noise=arguments.noise,
    ).check()
    if combined and arguments.num_parts > 1:
        raise MRCascadeError("--combine makes one result; leave --num-parts out")
    if arguments.dry_run and arguments.scheduler is not None:
        raise MRCascadeError("--dry-run estimates the work of this machine; leave --scheduler out")
    if combined:
        early.check_stacks(arguments.inputs)
    made = result_label(arguments.factor or (1.0, 1.0), isotropic, combined)
    inputs = arguments.inputs[:1] if combined else arguments.inputs
    output = arguments.output or places.folder_beside(inputs)
    # A dry run says which results exist.
    replaced = arguments.overwrite or arguments.resume or arguments.dry_run
    if output is not None:
        early.check_output(output, inputs, made, arguments.format, replaced)
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
    if arguments.output is not None:
        _check_exposed(salt, arguments.output)
    if salt is None and arguments.deidentify and (arguments.resume or arguments.num_parts > 1):
        option = "--resume" if arguments.resume else "--num-parts"
        raise MRCascadeError(
            f"--deidentify with {option} needs --salt-file FILE, as runs with different secrets"
            " give different names; the file is made if missing"
        )


def _check_exposed(salt: Path | None, output: Path) -> None:
    """Raise MRCascadeError where the secret of --deidentify would lie among the results."""
    if salt is not None and output.resolve() in salt.resolve().parents:
        raise MRCascadeError(
            f"--salt-file {salt}: lies in the folder of the results, which gives the secret away;"
            " keep it elsewhere"
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
