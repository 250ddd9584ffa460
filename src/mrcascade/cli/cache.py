"""``mrcascade cache``: pack training slices in one file, for machines without image libraries."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcascade.cli import options, terminal
from mrcascade.cli.help import add_command
from mrcascade.errors import MRCascadeError

if TYPE_CHECKING:
    from mrcascade.storage.outputs import Claim


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "cache",
        help="pack training and validation slices in one file",
        usage="--data DIR -o FILE [options]",
        examples=(
            ("mrcascade cache --data images/ -o slices.npz", "magnitude images"),
            (
                "mrcascade cache --data kspace/ -o complex.npz --complex",
                "complex images of k-space",
            ),
        ),
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="image folder")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="cache file (.npz)"
    )
    options.add_complex(parser)
    options.add_simulated_phase(parser)
    options.add_seed(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing cache")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from mrcascade.io import output_folders, remove_leftovers
    from mrcascade.storage.outputs import claim, only_writer
    from mrcascade.training.slices import is_cache, load_volumes, write_cache

    if arguments.output.suffix != ".npz":
        raise MRCascadeError(f"{arguments.output}: the name of a cache ends in .npz")
    target = arguments.output

    def claimed() -> Claim:
        return claim([target], [arguments.data], arguments.overwrite, is_cache, "what it holds")

    claimed()
    phase_seed = arguments.seed if arguments.simulate_phase else None
    with output_folders([target]), only_writer(target):
        mine = claimed()
        volumes = load_volumes(arguments.data, 4, (2, 4), phase_seed, arguments.complex)
        write_cache(volumes, target, mine.check)
        remove_leftovers([target])
    slices = sum(len(v.slices) for v in volumes)
    size = arguments.output.stat().st_size / 2**20
    terminal.line(f"{arguments.output}: {slices} slices of {len(volumes)} files, {size:.1f} MiB")
