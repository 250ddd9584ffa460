"""Options that several commands share, with one name, meaning and help text each.

Options that say how a command computes are those of `mrcascade.cli.computing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mrcascade.cli.help import Group
from mrcascade.cli.values import axes, bounded, fraction, parse_factor, whole_number
from mrcascade.io.formats import FORMATS, requestable_formats

DEFAULT_PRIOR = "mr-small"
PRIOR = "NAME|DIR|ORG/REPO[@REVISION]"


class _KernelNames:
    """Names of the kernels, for the parser: their table is imported when it asks for them."""

    def __iter__(self) -> Iterator[str]:
        from mrcascade.operators.kernels import KERNELS

        return iter(KERNELS)


def add_output(parser: Group, what: str, beside: str = "") -> None:
    """Add ``--output``, the folder for ``what``.

    beside: where results go without the option, in words. The option may then also name the result
    of one input. Empty where it is required and names a folder.
    """
    name = "; for one input also the name of the result, such as t2_sr.nii.gz" * bool(beside)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=not beside,
        metavar="DIR|FILE" if beside else "DIR",
        help=f"folder for {what}{name}{f' (default: {beside})' if beside else ''}",
    )


def add_overwrite(parser: Group) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace existing outputs")


def add_data(parser: Group) -> None:
    """Add ``--data``, the folder of known images."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="ROOT",
        help="folder of images or DICOM series (ROOT/<anatomy>/<split>/files, or any)",
    )


def add_test_files(parser: Group) -> None:
    """Add the files that an evaluation may need besides images."""
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


def add_series(parser: Group, several: bool) -> None:
    """Add ``--series``. ``several`` allows ``all``."""
    parser.add_argument(
        "--series",
        metavar="NUMBER|UID" + "|all" * several,
        help="which DICOM series, where a folder or archive holds several (mrcascade info lists"
        " them)",
    )


def add_format(parser: Group) -> None:
    bound = [f"; {one.name} needs a {one.called} input" for one in FORMATS.values() if one.own_only]
    parser.add_argument(
        "--format",
        choices=requestable_formats(),
        help=f"of the results (default: the input's{''.join(bound)})",
    )


def add_factor(
    parser: Group,
    default: tuple[float, float] | None = None,
    required: bool = True,
) -> None:
    """Add ``--factor``; with a default (of equal factors) it is not required."""
    parser.add_argument(
        "--factor",
        type=parse_factor,
        required=required and default is None,
        default=default,
        metavar="F[,F]",
        help="in-plane factor, or two (rows,columns)"
        + (f"; default: {default[0]:g}" if default else ""),
    )


def add_kernel(parser: Group) -> None:
    parser.add_argument(
        "--kernel",
        choices=_KernelNames(),
        default="fourier",
        metavar="KERNEL",
        help="how the low-resolution image was made: %(choices)s (default: fourier, a smaller"
        " k-space)",
    )


def add_noise(parser: Group, default: float | None, extra: str) -> None:
    """Add ``--noise``. ``extra`` ends its help text."""
    parser.add_argument(
        "--noise",
        type=fraction,
        default=default,
        metavar="SIGMA",
        help="standard deviation of the noise, as a fraction of the low-resolution image's robust"
        f" maximum (99.9th percentile) {extra}",
    )


def add_prior(parser: Group) -> None:
    parser.add_argument(
        "--prior",
        default=DEFAULT_PRIOR,
        metavar=PRIOR,
        help="bundled prior, prior folder or repository in the hub's cache; default: %(default)s",
    )


def add_baselines(parser: Group) -> None:
    parser.add_argument(
        "--baselines",
        default="mr-small-baselines",
        metavar=PRIOR,
        help="priors that the methods other than the cascade use; default: mr-small-baselines",
    )


def add_steps(parser: Group) -> None:
    parser.add_argument(
        "--steps", type=bounded, metavar="T", help="sampling steps (default: the mode's)"
    )


def add_samples(parser: Group, about: str, default: int | None = 1) -> None:
    """Add ``--samples``. ``about`` is its help text."""
    parser.add_argument("--samples", type=bounded, default=default, metavar="K", help=about)


def add_axes(parser: Group) -> None:
    parser.add_argument(
        "--axes",
        type=axes,
        metavar="I,J",
        help="in-plane array axes (default: by the format, the JSON file beside the image, the"
        " header or the voxel sizes; mrcascade info says which)",
    )


def add_seed(parser: Group) -> None:
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=0,
        metavar="N",
        help="seed of random numbers; default: 0",
    )


def add_complex(parser: Group, also: str = "") -> None:
    """Add ``--complex``. ``also`` names further inputs in its help text."""
    parser.add_argument(
        "--complex",
        action="store_true",
        help=f"read k-space (fastMRI){also} as complex images, not as magnitudes",
    )


def add_simulated_phase(parser: Group) -> None:
    parser.add_argument(
        "--simulate-phase",
        action="store_true",
        help="turn magnitude images into complex ones, with a simulated phase, drawn with the seed",
    )
