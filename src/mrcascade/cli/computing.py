"""Options that say how a command computes: processes, batches, device, precision, compilation.

A function ``add_...`` adds an option, ``resolve_...`` or ``choose_...`` turns a given value into
the one that is used.
"""

from __future__ import annotations

from collections.abc import Sequence

from mrcascade.cli import terminal, values
from mrcascade.cli.help import Group

PRECISIONS = ("float32", "bfloat16", "auto")
CPU_BATCH = 4
# Slices that a GPU evaluates together: large enough to keep it busy, few to lose to a kill.
GPU_UNIT = 64


def add_workers(parser: Group, more: str = "") -> None:
    """Add ``--workers``. ``more`` follows the default on a CPU in words."""
    parser.add_argument(
        "--workers",
        type=values.workers,
        metavar="N",
        help="processes that share the work, each on its part of the CPU or its own GPU;"
        f" default: one per GPU, or one on a CPU{more}",
    )


def add_batch_size(parser: Group, on_gpu: str | int) -> None:
    """Add ``--batch-size``. ``on_gpu`` is its default on a GPU, a number or words."""
    parser.add_argument(
        "--batch-size",
        type=values.bounded,
        metavar="N",
        help="largest number of slices or samples at once"
        f" (default: {CPU_BATCH}, on a GPU {on_gpu})",
    )


def add_device(parser: Group) -> None:
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, ... (default: cuda where there is one)"
    )


def add_precision(parser: Group, default: str = "auto", further: Sequence[str] = ()) -> None:
    """Add ``--precision``; ``further`` are more choices."""
    parser.add_argument(
        "--precision",
        choices=(*PRECISIONS, *further),
        default=default,
        help="precision of the networks; bfloat16 is faster on GPUs and on CPUs with AVX-512 BF16"
        " or AMX, and auto uses it only there (default: %(default)s)",
    )


def add_compile(parser: Group, what: str = "the U-Nets", unit: str = "image size") -> None:
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


def resolve_workers(given: int | None, device: str, batch: bool = False) -> int:
    """Return the number of processes: as given, else `default_workers`."""
    from mrcascade.executors.local import default_workers

    return given or default_workers(device, batch)
