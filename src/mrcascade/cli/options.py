"""Options that several commands share, with one name, meaning and help text each.

A function ``add_...`` adds an option to a command's parser, and ``resolve_...`` turns a given value
into the one that is used. The other functions parse a value and raise ArgumentTypeError.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from mrcascade.cli import terminal
from mrcascade.io.formats import FORMATS, requestable_formats

DEFAULT_PRIOR = "mr-small"
PRIOR = "NAME|DIR|ORG/REPO[@REVISION]"
# Largest number of steps, samples, batches and parts of a job; more would only fill the memory.
LARGEST_COUNT = 100_000
_LARGEST_WHOLE = 2**63 - 1  # what a seed can be
_DIGITS = 20  # a number with more digits exceeds every limit
_MOST_WORKERS = 256  # processes, each with its own networks
_LONGEST_SIDE = 2**16
PRECISIONS = ("float32", "bfloat16", "auto")
CPU_BATCH = 4
# Slices that a GPU evaluates together: large enough to keep it busy, few to lose to a kill.
GPU_UNIT = 64


class _KernelNames:
    """Names of the kernels, for the parser: their table is imported when it asks for them."""

    def __iter__(self) -> Iterator[str]:
        from mrcascade.operators.kernels import KERNELS

        return iter(KERNELS)


def parse_factor(text: str) -> tuple[float, float]:
    """Parse (row, column) factors: ``4`` -> (4, 4); ``2,1`` -> (2, 1)."""
    parts = text.split(",")
    try:
        values = [float(p) for p in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(1 <= v < float("inf") for v in values):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a factor of 1 or more, or two such as 2,1"
        )
    return values[0], values[-1]


def parse_matrix(text: str) -> str | tuple[int, int]:
    """Parse ``auto``, or rows and columns such as ``256,210``."""
    if text == "auto":
        return text
    parts = text.split(",")
    try:
        rows, columns = map(side, parts)
    except (argparse.ArgumentTypeError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither auto nor two sizes such as 256,210"
        ) from None
    return rows, columns


def add_output(parser: argparse.ArgumentParser, what: str, file: bool = False) -> None:
    """Add ``--output``, the folder for ``what``, and ``--overwrite``.

    file: whether the output may also be the file name of one input's result.
    """
    name = "; for one input also the name of the result, such as t2_sr.nii.gz" * file
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR|FILE" if file else "DIR",
        help=f"folder for {what}{name}",
    )
    add_overwrite(parser)


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace existing outputs")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``, the folder of known images."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="ROOT",
        help="folder of images or DICOM series (ROOT/<anatomy>/<split>/files, or any)",
    )


def add_test_files(parser: argparse.ArgumentParser) -> None:
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


def add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=workers,
        metavar="N",
        help="processes that share the work, each on its part of the CPU or its own GPU;"
        " default: one per GPU, or one on a CPU",
    )


def add_series(parser: argparse.ArgumentParser, several: bool) -> None:
    """Add ``--series``. ``several`` allows ``all``."""
    parser.add_argument(
        "--series",
        metavar="NUMBER|UID" + "|all" * several,
        help="which DICOM series, where a folder or archive holds several (mrcascade info lists"
        " them)",
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    bound = [f"; {one.name} needs a {one.called} input" for one in FORMATS.values() if one.own_only]
    parser.add_argument(
        "--format",
        choices=requestable_formats(),
        help=f"of the results (default: the input's{''.join(bound)})",
    )


def add_factor(
    parser: argparse.ArgumentParser,
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


def add_kernel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kernel",
        choices=_KernelNames(),
        default="fourier",
        metavar="KERNEL",
        help="how the low-resolution image was made: %(choices)s (default: fourier, a smaller"
        " k-space)",
    )


def add_noise(parser: argparse.ArgumentParser, default: float | None, extra: str) -> None:
    """Add ``--noise``. ``extra`` ends its help text."""
    parser.add_argument(
        "--noise",
        type=_fraction,
        default=default,
        metavar="SIGMA",
        help="standard deviation of the noise, as a fraction of the low-resolution image's robust"
        f" maximum (99.9th percentile) {extra}",
    )


def add_prior(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prior",
        default=DEFAULT_PRIOR,
        metavar=PRIOR,
        help="bundled prior, prior folder or repository in the hub's cache; default: %(default)s",
    )


def add_baselines(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--baselines",
        default="mr-small-baselines",
        metavar=PRIOR,
        help="priors that the methods other than the cascade use; default: mr-small-baselines",
    )


def add_steps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--steps", type=bounded, metavar="T", help="sampling steps (default: the mode's)"
    )


def add_sampling(
    parser: argparse.ArgumentParser, samples_help: str, default: int | None = 1
) -> None:
    """Add ``--steps``, ``--samples`` and ``--seed``."""
    add_steps(parser)
    parser.add_argument("--samples", type=bounded, default=default, metavar="K", help=samples_help)
    add_seed(parser)


def add_batch_size(parser: argparse.ArgumentParser, on_gpu: str | int) -> None:
    """Add ``--batch-size``. ``on_gpu`` is its default on a GPU, a number or words."""
    parser.add_argument(
        "--batch-size",
        type=bounded,
        metavar="N",
        help="largest number of slices or samples at once"
        f" (default: {CPU_BATCH}, on a GPU {on_gpu})",
    )


def add_axes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--axes",
        type=axes,
        metavar="I,J",
        help="in-plane array axes (default: by the format, the JSON file beside the image, the"
        " header or the voxel sizes; mrcascade info says which)",
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=0,
        metavar="N",
        help="seed of random numbers; default: 0",
    )


def add_complex(parser: argparse.ArgumentParser, also: str = "") -> None:
    """Add ``--complex``. ``also`` names further inputs in its help text."""
    parser.add_argument(
        "--complex",
        action="store_true",
        help=f"read k-space (fastMRI){also} as complex images, not as magnitudes",
    )


def add_simulated_phase(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--simulate-phase",
        action="store_true",
        help="turn magnitude images into complex ones, with a simulated phase, drawn with the seed",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, ... (default: cuda where there is one)"
    )


def add_precision(
    parser: argparse.ArgumentParser, default: str = "auto", further: Sequence[str] = ()
) -> None:
    """Add ``--precision``; ``further`` are more choices."""
    parser.add_argument(
        "--precision",
        choices=(*PRECISIONS, *further),
        default=default,
        help="precision of the networks; bfloat16 is faster on GPUs and on CPUs with AVX-512 BF16"
        " or AMX, and auto uses it only there (default: %(default)s)",
    )


def add_compile(
    parser: argparse.ArgumentParser, what: str = "the U-Nets", unit: str = "image size"
) -> None:
    """Add ``--compile``, which compiles ``what`` once per ``unit``."""
    parser.add_argument(
        "--compile",
        choices=("on", "off"),
        default="off",
        help=f"run {what} through torch.compile: a minute or more once per {unit}, for"
        " quicker steps; where that fails they run as they are; default: %(default)s, as it has not"
        " been measured on GPUs",
    )


def choose_precision(asked: str, device: str, quiet: bool = False) -> str:
    """Return the precision of the networks.

    Writes a note where the choice makes the networks slow, unless ``quiet``.
    """
    from mrcascade.devices.precision import computes_in_bfloat16, resolve_precision

    if asked == "bfloat16" and not quiet and not computes_in_bfloat16(device):
        terminal.note(
            f"{device} has no instructions for bfloat16, so it is much slower there than float32;"
            " --precision auto uses it only where it is faster"
        )
    return resolve_precision(asked, device) if asked in PRECISIONS else asked


def resolve_batch_size(given: int | None, device: str) -> int:
    """Return the slices per unit of an evaluation; a GPU needs more to be busy."""
    return given or (GPU_UNIT if device.startswith("cuda") else CPU_BATCH)


def resolve_device(name: str) -> str:
    """Return the device's name; ``auto`` gives cuda where it works, else cpu.

    Raises MRCascadeError for devices that cannot be used here.
    """
    from mrcascade.devices.choice import usable_device

    return usable_device(name)


def resolve_workers(given: int | None, device: str) -> int:
    """Return the number of processes: as given, else `default_workers`."""
    from mrcascade.executors.local import default_workers

    return given or default_workers(device)


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    value = whole_number(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more")
    return value


def bounded(text: str) -> int:
    """Parse a whole number from 1 to `LARGEST_COUNT`."""
    return _up_to(positive(text), LARGEST_COUNT)


def side(text: str) -> int:
    """Parse a number of rows or columns."""
    return _up_to(positive(text), _LONGEST_SIDE)


def workers(text: str) -> int:
    """Parse a number of processes that one machine can run."""
    return _up_to(positive(text), _MOST_WORKERS)


def axes(text: str) -> str:
    """Parse two different axis numbers, such as ``0,2``; return them as given."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or parts[0] == parts[1] or not set(parts) <= set("012"):
        raise argparse.ArgumentTypeError(f"{text!r} is not two of the axes 0, 1 and 2, such as 0,2")
    return text


def whole_number(text: str) -> int:
    """Parse a whole number of at least 0 that fits 64 bits."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return _up_to(int(text.lstrip("0")[:_DIGITS] or "0"), _LARGEST_WHOLE)


def _up_to(value: int, most: int) -> int:
    if value > most:
        raise argparse.ArgumentTypeError(f"{str(value)!r} is more than {most}")
    return value


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up to 1")
    return value
