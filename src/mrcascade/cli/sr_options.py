"""Options of ``sr`` and ``bids-app``, in groups; those that matter most come first."""

from __future__ import annotations

import argparse
from pathlib import Path

from mrcascade.cli import computing, options, sharing, values
from mrcascade.cli.help import Group
from mrcascade.cli.isotropic import add_isotropic
from mrcascade.cli.report import add_report_option
from mrcascade.recipes.modes import MODES


def add_options(parser: argparse.ArgumentParser, beside: str = "") -> None:
    """Add the options that say how images are restored.

    beside: where results go without ``--output``, in words; empty to leave that option out.
    """
    options.add_factor(parser, required=False)
    add_isotropic(parser)  # the option itself is a main one
    if beside:
        options.add_output(parser, "result, uncertainty, preview and sidecar", beside)
    options.add_samples(parser, "posterior samples of mode sample; default: %(default)s")
    _add_restoration(parser.add_argument_group("restoration"))
    _add_files(parser.add_argument_group("images and formats"))
    _add_batches(parser.add_argument_group("existing results and batches"))
    group = parser.add_argument_group("computing")
    computing.add_batch_size(group, "as many as its memory holds")
    computing.add_device(group)
    computing.add_precision(group)
    sharing.add_sharing(group, "; one per CPU thread for 4 files or more")
    computing.add_compile(group)


def _add_restoration(group: Group) -> None:
    group.add_argument(
        "--mode",
        metavar="NAME",
        help=f"{'; '.join(f'{name} ({about})' for name, about in MODES.items())}; settings may"
        " follow, as in mean:orientations=8 or paper:zeta=0.1 (default: mean, and sample where"
        " --samples is above 1)",
    )
    options.add_prior(group)
    options.add_kernel(group)
    options.add_noise(group, None, "(default: estimated; 0: meet the data exactly)")
    options.add_steps(group)
    options.add_seed(group)
    group.add_argument(
        "--acquired-matrix",
        type=values.parse_matrix,
        metavar="ROWS,COLS|auto",
        help="crop k-space to this matrix first, as the stored pixels are interpolated; auto: by"
        " the header, a JSON sidecar and the spectrum (default: only warn)",
    )


def _add_files(group: Group) -> None:
    options.add_axes(group)
    options.add_series(group, several=True)
    group.add_argument(
        "--bids-filter",
        metavar="FILE|KEY=VALUE[,...]",
        help="entities of the images to take from a BIDS dataset, such as suffix=T2w,session=01, or"
        " a JSON file of them (default: all of datatype anat)",
    )
    options.add_format(group)
    group.add_argument(
        "--deidentify",
        action="store_true",
        help="DICOM: leave the patient's identity out of headers, sidecar and names of outputs",
    )
    group.add_argument(
        "--salt-file",
        type=Path,
        metavar="FILE",
        help="secret of --deidentify, made if missing; jobs that share it give a series the same"
        " name and UIDs, which --resume and --num-parts need; keep it apart from the results"
        " (default: a new secret that is not kept)",
    )


def _add_batches(group: Group) -> None:
    group.add_argument(
        "--dry-run", action="store_true", help="print size, time and memory; write no result"
    )
    options.add_overwrite(group)
    add_report_option(group)
    group.add_argument(
        "--resume",
        action="store_true",
        help="skip files that have a result made from the same input with the same settings; with"
        " --overwrite, replace results made otherwise",
    )
    group.add_argument(
        "--num-parts",
        type=values.bounded,
        default=1,
        metavar="N",
        help="number of jobs that share the files, with this one; default: %(default)s",
    )
    group.add_argument(
        "--part-id",
        type=values.whole_number,
        default=0,
        metavar="I",
        help="number of this job, from 0 to N - 1; default: %(default)s",
    )
