"""``mrcascade evaluate``: measure known images, restore them by several methods, compare."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

from mrcascade.cli import options

_REDRAW_SECONDS = 0.2


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="compare methods on images whose truth is known",
        description="Measure every image of a test set, restore it by each method and compare with"
        " the truth. An interrupted evaluation goes on when the command is repeated.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="ROOT",
        help="folder of images (ROOT/<anatomy>/<split>/files, or any)",
    )
    parser.add_argument(
        "--split", default="test", metavar="NAME", help="train, val or test; default: %(default)s"
    )
    parser.add_argument(
        "--methods",
        default="zero-fill,bicubic,mean,paper",
        metavar="NAME[,NAME]",
        help="of zero-fill, bicubic, regression, diffpir, dps, multigrid, multigrid-pnp, mean,"
        " paper; default: %(default)s",
    )
    options.add_factor(parser)
    options.add_kernel(parser)
    options.add_noise(parser, 0.0, "(default: 0)")
    options.add_prior(parser)
    parser.add_argument(
        "--baselines",
        default="mr-small-baselines",
        metavar="NAME|DIR",
        help="priors of the methods diffpir, dps, multigrid, multigrid-pnp and regression;"
        " default: %(default)s",
    )
    options.add_sampling(parser, "score the mean of K samples; default: %(default)s")
    options.add_batch_size(parser)
    options.add_device(parser)
    options.add_precision(parser)
    parser.add_argument(
        "--max-slices",
        type=options.positive,
        metavar="N",
        help="per file, evenly spread (default: all)",
    )
    parser.add_argument(
        "--effective-matrix",
        type=Path,
        metavar="FILE",
        help="JSON or CSV table of the acquired matrices (default: the data's manifest.json)",
    )
    parser.add_argument(
        "--lpips-weights",
        type=Path,
        metavar="DIR",
        help="folder of the LPIPS weights (default: $MRCASCADE_LPIPS, else torch's hub cache)",
    )
    options.add_output(parser, "metrics, tables and the picture")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    from mrcascade.evaluation.run import Evaluation, evaluate

    job = Evaluation(
        data=arguments.data,
        methods=tuple(name.strip() for name in arguments.methods.split(",")),
        split=arguments.split,
        factor=arguments.factor,
        kernel=arguments.kernel,
        noise=arguments.noise,
        prior=arguments.prior,
        baselines=arguments.baselines,
        steps=arguments.steps,
        samples=arguments.samples,
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        device=options.resolve_device(arguments.device),
        precision=arguments.precision,
        max_slices=arguments.max_slices,
        matrices=arguments.effective_matrix,
        lpips_weights=arguments.lpips_weights,
        overwrite=arguments.overwrite,
    )
    with closing(_Bar()) as bar:
        written = evaluate(job, arguments.output, say=bar.say, progress=bar.start)
    for path in written:
        print(path)


class _Bar:
    """A progress bar that starts when the number of slices is known."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._drawn = 0.0

    def start(self, slices: int) -> Callable[[int, str], None]:
        from tqdm import tqdm

        # Methods differ a thousandfold in cost, so the estimate averages over the whole run.
        self._bar = tqdm(total=slices, unit="slice", smoothing=0, disable=None, file=sys.stderr)
        return self._advance

    def _advance(self, slices: int, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(slices)
        if not slices and monotonic() > self._drawn + _REDRAW_SECONDS:
            self._drawn = monotonic()
            self._bar.refresh()  # `update` draws only when the count moves

    def say(self, line: str) -> None:
        print(line)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
