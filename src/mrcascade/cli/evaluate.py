"""``mrcascade evaluate``: compare methods on simulated measurements of known images."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from mrcascade.cli import early, options, terminal
from mrcascade.cli.progress import ProgressBar
from mrcascade.recipes.modes import COMPARED, MODES


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="compare methods on images whose truth is known",
        description="Measure every image of a test set, restore it by each method and compare with"
        " the truth. Repeat the command to continue an interrupted evaluation.",
    )
    options.add_data(parser)
    parser.add_argument(
        "--split", default="test", metavar="NAME", help="train, val or test; default: %(default)s"
    )
    parser.add_argument(
        "--methods",
        default="zero-fill,bicubic,mean,paper",
        metavar="NAME[,NAME]",
        help="methods to compare: zero-fill, bicubic, regression, diffpir, cascade-2level,"
        f" posterior-mean and the modes {', '.join(MODES | COMPARED)}; settings may follow a name,"
        " as in paper:zeta=0.5; default: %(default)s",
    )
    options.add_factor(parser)
    options.add_kernel(parser)
    options.add_noise(parser, 0.0, "(default: 0)")
    parser.add_argument(
        "--noise-handling",
        choices=("estimated", "known"),
        default="estimated",
        help="whether methods estimate the noise, as sr does, or get its true value; default:"
        " %(default)s",
    )
    options.add_prior(parser)
    options.add_baselines(parser)
    options.add_sampling(
        parser, "posterior samples that posterior-mean averages; default: 8", default=None
    )
    options.add_batch_size(parser, options.GPU_UNIT)
    options.add_device(parser)
    options.add_precision(parser)
    options.add_compile(parser)
    parser.add_argument(
        "--max-slices",
        type=options.positive,
        metavar="N",
        help="slices per file, evenly spread (default: all)",
    )
    parser.add_argument(
        "--anatomy-slices",
        type=options.positive,
        metavar="N",
        help="slices per anatomy, drawn with the seed (default: all)",
    )
    options.add_simulated_phase(parser)
    options.add_workers(parser)
    options.add_test_files(parser)
    options.add_output(parser, "metrics, tables and the picture")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    early.check_data(arguments.data)
    early.check_factors(arguments.factor)
    early.check_folder(arguments.output)
    from mrcascade.evaluation.job import Evaluation
    from mrcascade.evaluation.run import evaluate
    from mrcascade.evaluation.units import Unfinished

    device = options.resolve_device(arguments.device)
    job = Evaluation(
        data=arguments.data,
        methods=tuple(name.strip() for name in arguments.methods.split(",")),
        split=arguments.split,
        factor=arguments.factor,
        kernel=arguments.kernel,
        noise=arguments.noise,
        noise_handling=arguments.noise_handling,
        prior=arguments.prior,
        baselines=arguments.baselines,
        steps=arguments.steps,
        samples=arguments.samples,
        seed=arguments.seed,
        batch_size=options.resolve_batch_size(arguments.batch_size, device),
        device=device,
        precision=options.choose_precision(arguments.precision, device),
        compile=arguments.compile == "on",
        max_slices=arguments.max_slices,
        anatomy_slices=arguments.anatomy_slices,
        workers=options.resolve_workers(arguments.workers, device),
        matrices=arguments.effective_matrix,
        simulate_phase=arguments.simulate_phase,
        lpips_weights=arguments.lpips_weights,
        overwrite=arguments.overwrite,
    )
    unfinished: Unfinished | None = None
    with closing(ProgressBar()) as bar:
        try:
            written = evaluate(job, arguments.output, say=bar.say, progress=bar.counting)
        except Unfinished as error:
            unfinished, written = error, list(error.written)
    for path in written:
        terminal.line(str(path))
    if unfinished is None:
        return 0
    terminal.problem(str(unfinished))
    return 1
