"""``mrcascade cache``: pack training slices in one file, which training reads slice by slice."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mrcascade.cli import options, terminal, values
from mrcascade.cli.help import add_command
from mrcascade.errors import MRCascadeError

if TYPE_CHECKING:
    from mrcascade.data.folder import DataFile
    from mrcascade.storage.outputs import Claim

FACTORS = (2, 4)  # of the measurements whose robust maxima scale the images
FILES_AT_ONCE = 8  # files of each worker process whose slices wait to be written


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "cache",
        help="pack training and validation slices in one file",
        usage="--data DIR -o FILE [options]",
        examples=(
            ("mrcascade cache --data images/ -o slices.hdf5", "magnitude images"),
            (
                "mrcascade cache --data kspace/ -o complex.hdf5 --complex",
                "complex images of k-space",
            ),
        ),
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="image folder")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="cache file (.hdf5)"
    )
    options.add_complex(parser)
    options.add_simulated_phase(parser)
    options.add_seed(parser)
    parser.add_argument(
        "--workers",
        type=values.workers,
        default=1,
        metavar="N",
        help="processes that read the images; default: %(default)s",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing cache")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from mrcascade.io import output_folders, remove_leftovers
    from mrcascade.storage.outputs import claim, only_writer
    from mrcascade.training.slice_cache import CACHE_ENDING, is_cache, new_cache
    from mrcascade.training.slices import check_training, training_files

    target, data = arguments.output, arguments.data
    if target.suffix != CACHE_ENDING:
        raise MRCascadeError(f"{target}: the name of a cache ends in {CACHE_ENDING}")

    def claimed() -> Claim:
        return claim([target], [data], arguments.overwrite, is_cache, "what it holds")

    claimed()
    phase_seed = arguments.seed if arguments.simulate_phase else None
    with output_folders([target]), only_writer(target):
        mine = claimed()
        files = training_files(data, arguments.complex)
        with new_cache(target) as writer:
            for part in _parts(files, phase_seed, arguments.workers):
                writer.add_part(part)
            volumes = writer.finish(str(target)).volumes
            check_training(volumes, data)
            mine.check()
        remove_leftovers([target])
    slices = sum(len(v.slices) for v in volumes)
    size = target.stat().st_size / 2**20
    terminal.line(f"{target}: {slices} slices of {len(volumes)} files, {size:.1f} MiB")


def _parts(
    files: Sequence[tuple[DataFile, str]], phase_seed: int | None, workers: int
) -> Iterator[bytes]:
    """Yield the encoded slices of each file, in the order of the files."""
    if workers == 1:
        yield from map(_encoder(files, phase_seed), range(len(files)))
        return
    from mrcascade.executors import LocalWorkers
    from mrcascade.executors.task import Job

    def lost(number: int, reason: str) -> NoReturn:
        raise MRCascadeError(f"{files[number][0].name}: {reason}")

    job = Job.of(partial(_encoder, files, phase_seed), "cpu")
    with LocalWorkers(workers, "cpu") as processes:
        together = workers * FILES_AT_ONCE
        for first in range(0, len(files), together):
            numbers = range(first, min(first + together, len(files)))
            found = dict(processes.results(job, numbers, lost))
            yield from (found.pop(number) for number in numbers)


def _encoder(
    files: Sequence[tuple[DataFile, str]], phase_seed: int | None, device: str = "cpu"
) -> Callable[[int], bytes]:
    """Return a function that encodes the slices of a file, given its number."""
    from mrcascade.training.slice_cache import packed_volumes
    from mrcascade.training.slices import read_volume

    def encode_file(number: int) -> bytes:
        file, split = files[number]
        return packed_volumes([read_volume(file, split, FACTORS, phase_seed)])

    return encode_file
