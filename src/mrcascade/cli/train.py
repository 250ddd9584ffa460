"""``mrcascade train``: train a cascade and write a prior."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from mrcascade.cli import computing, early, options, terminal, values
from mrcascade.cli.help import Group, add_command
from mrcascade.cli.progress import ProgressBar
from mrcascade.devices.launch import launched, launcher_precision
from mrcascade.errors import MRCascadeError
from mrcascade.prior.format import prior_folder


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "train",
        help="train a prior",
        usage="--data DIR|FILE -o DIR [options]",
        description="Train every level of a cascade and write the prior to OUTPUT/prior.",
        examples=(
            ("mrcascade train --data images/ -o runs/mine", "a prior of one's own images"),
            ("mrcascade train --data images/ -o runs/mine --resume", "go on after a kill"),
            (
                "mrcascade train --data images/ -o runs/knee --start mr-small --images 30000",
                "adapt a prior to other images",
            ),
        ),
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR|FILE",
        help="folder of images or DICOM series (ROOT/<anatomy>/<split>/files, or any), or a cache"
        " (.hdf5)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="run folder"
    )
    parser.add_argument(
        "--start",
        metavar=options.PRIOR,
        help="prior to start from, to adapt it to other data; its rates are lower",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the run's checkpoints")
    _add_prior(parser.add_argument_group("the prior"))
    _add_data(parser.add_argument_group("data"))
    _add_training(parser.add_argument_group("training"))
    group = parser.add_argument_group("computing")
    computing.add_device(group)
    computing.add_precision(group, launcher_precision(), ("float16",))
    computing.add_compile(group, "the networks in training", "stage of a level")
    parser.set_defaults(run=run)


def _add_prior(group: Group) -> None:
    group.add_argument(
        "--network",
        default="small",
        help="tiny, mini, small, xs or s, small-slices for thick slices, or a baseline:"
        " small-single or small-regression; default: %(default)s",
    )
    group.add_argument("--name", help="name of the prior (default: the run folder's)")
    options.add_kernel(group)
    group.add_argument(
        "--levels", metavar="I[,I]", help="train only these levels, 1 being the finest"
    )
    group.add_argument(
        "--ema-std",
        type=float,
        metavar="STD",
        help="average the weights with this relative standard deviation, such as 0.07, rebuilt"
        " from the run's snapshots (default: of the two kept, the one that validates best)",
    )


def _add_data(group: Group) -> None:
    group.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="FIELD=WORD",
        help="leave out files whose manifest has a word that begins with WORD in FIELD, such as"
        " contrast=FLAIR; may be repeated",
    )
    options.add_complex(group)
    options.add_simulated_phase(group)


def _add_training(group: Group) -> None:
    group.add_argument(
        "--images", type=values.positive, metavar="N", help="patches per level (default: 120000)"
    )
    group.add_argument(
        "--mean-images",
        type=values.whole_number,
        metavar="N",
        help="how many of these train the regression branch, before the U-Net (default: half)",
    )
    group.add_argument("--batch-size", type=values.bounded, metavar="N", help="patches per step")
    options.add_seed(group)
    group.add_argument(
        "--log-to",
        action="append",
        default=[],
        metavar="NAME",
        help="also show the losses in tensorboard (files in the run folder) or wandb; may be"
        " repeated",
    )
    group.add_argument(
        "--slice-memory",
        type=values.bounded,
        default=2,
        metavar="GIB",
        help="memory of each process for slices that are used again; default: %(default)s",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other number or switch of the training configuration, such as rate=0.01 or"
        " data_condition=false",
    )


def run(arguments: argparse.Namespace) -> None:
    early.check_data(arguments.data)
    early.check_folder(arguments.output)
    levels = _levels(arguments.levels)
    if arguments.start is not None:
        prior_folder(arguments.start)
    from mrcascade.training.config import ADAPTING, TrainConfig
    from mrcascade.training.run import train_cascade

    device = computing.resolve_device(arguments.device)
    main = launched()[0] == 0
    given = {
        **(ADAPTING if arguments.start else {}),
        "network": arguments.network,
        "kernel": arguments.kernel,
        "seed": arguments.seed,
        "precision": computing.choose_precision(arguments.precision, device, quiet=not main),
        "images": arguments.images,
        "mean_images": arguments.mean_images,
        "start": arguments.start,
        "batch": arguments.batch_size,
        "exclude": tuple(arguments.exclude),
        **dict(_assignment(text) for text in arguments.set),
    }
    config = TrainConfig(**{k: v for k, v in given.items() if v is not None})
    with closing(ProgressBar("patches")) as bar:
        folder = train_cascade(
            arguments.data,
            arguments.output,
            config,
            levels=levels,
            resume=arguments.resume,
            device=device,
            name=arguments.name,
            ema_std=arguments.ema_std,
            say=bar.say,
            progress=lambda stage, patches, done: bar.counting(patches, done, stage),
            simulate_phase=arguments.simulate_phase,
            complex_kspace=arguments.complex,
            compile=arguments.compile == "on",
            log_to=arguments.log_to,
            slice_memory=arguments.slice_memory * 2**30,
        )
    if not main:
        return
    if folder is None:
        terminal.line("some levels are not fully trained yet; the prior is written when all are")
    else:
        terminal.line(str(folder))


def _levels(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise MRCascadeError(f"--levels {text}: give numbers such as 1 or 2,3") from None


def _assignment(text: str) -> tuple[str, float | int]:
    from mrcascade.training.config import TrainConfig

    key, _, value = text.partition("=")
    numeric = {f.name: f.default for f in fields(TrainConfig) if isinstance(f.default, int | float)}
    switches = {"true": True, "false": False}
    del numeric["channels"]  # the data decide
    if key not in numeric:
        raise MRCascadeError(f"--set {text}: known are {', '.join(numeric)}")
    if isinstance(numeric[key], bool):
        if value not in switches:
            raise MRCascadeError(f"--set {text}: {value!r} is neither true nor false")
        return key, switches[value]
    try:
        return key, int(value) if isinstance(numeric[key], int) else float(value)
    except ValueError:
        raise MRCascadeError(f"--set {text}: {value!r} is not a number") from None
