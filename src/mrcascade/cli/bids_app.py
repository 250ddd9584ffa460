"""``mrcascade bids-app``: ``sr`` on a BIDS dataset, with the arguments of BIDS Apps.

Gorgolewski et al. (2017), "BIDS apps: improving ease of use, accessibility, and reproducibility of
neuroimaging data analysis methods". Containers run this command.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrcascade import __version__
from mrcascade.cli import sr
from mrcascade.cli.help import add_command
from mrcascade.cli.sr_options import add_options
from mrcascade.errors import MRCascadeError


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "bids-app",
        help="super-resolve a BIDS dataset, with the arguments of BIDS Apps",
        usage="BIDS_DIR OUTPUT_DIR participant --factor F [options]",
        description="Super-resolve the images of a BIDS dataset, as sr does. There is a participant"
        " level only.",
        examples=(
            (
                "mrcascade bids-app bids/ bids/derivatives/mrcascade participant --factor 2",
                "every subject",
            ),
            (
                "mrcascade bids-app bids/ out/ participant --participant-label 01 02 --isotropic",
                "thick slices of two subjects",
            ),
        ),
    )
    parser.add_argument("bids_dir", type=Path, help="root of the BIDS dataset; never changed")
    parser.add_argument("output_dir", type=Path, help="root of the derivative dataset")
    parser.add_argument(
        "analysis_level",
        metavar="participant",
        help="level of the analysis; images are restored one by one, so there is no group level",
    )
    for name, what in (("participant", "sub"), ("session", "ses")):
        parser.add_argument(
            f"--{name}-label",
            f"--{name}_label",
            nargs="+",
            default=[],
            metavar="LABEL",
            help=f"{name}s to process, with or without {what}- (default: all)",
        )
    parser.add_argument(
        "--skip-bids-validator",
        "--skip_bids_validator",
        action="store_true",
        help="accepted for habit: no validator runs here",
    )
    parser.add_argument("--version", action="version", version=f"mrcascade {__version__}")
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.analysis_level != "participant":
        raise MRCascadeError(
            f"analysis level {arguments.analysis_level!r}: there is only participant, as images are"
            " restored one by one"
        )
    root: Path = arguments.bids_dir
    if not (root / "dataset_description.json").is_file():
        raise MRCascadeError(
            f"{root}: not the root of a BIDS dataset, as it has no dataset_description.json;"
            " mrcascade sr takes other folders"
        )
    arguments.inputs = _inputs(root, arguments.participant_label)
    arguments.output = arguments.output_dir
    arguments.bids_filter = _filter(arguments.bids_filter, arguments.session_label)
    return sr.run(arguments)


def _inputs(root: Path, participants: Sequence[str]) -> list[Path]:
    """Return the folders of the participants, in the order given; the root for none."""
    folders = dict.fromkeys(root / f"sub-{label.removeprefix('sub-')}" for label in participants)
    for folder in folders:
        if not folder.is_dir() or folder.parent != root:
            raise MRCascadeError(f"{folder}: no such participant in the dataset; check the label")
    return list(folders) or [root]


def _filter(text: str | None, sessions: Sequence[str]) -> str | None:
    """Return the value of ``--bids-filter`` that also asks for the sessions."""
    if not sessions:
        return text
    if text is not None and "=" not in text:
        raise MRCascadeError(
            f"--session-label with --bids-filter {text}: name the sessions in that file instead"
        )
    return ",".join([*([text] if text else []), *(f"session={label}" for label in sessions)])
