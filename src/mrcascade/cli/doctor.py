"""``mrcascade doctor``: whether this machine is ready, checked by a small restoration."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from mrcascade import __version__
from mrcascade.cli import computing, options, terminal
from mrcascade.cli.help import add_command
from mrcascade.errors import MRCascadeError
from mrcascade.messages.faults import one_line

# Libraries whose versions matter most when a result differs or a file cannot be read.
_LIBRARIES = ("torch", "numpy", "scipy", "nibabel", "pydicom", "h5py", "safetensors")
# Extras for those who change mrcascade itself.
_INTERNAL = ("test", "docs")
_LEAST_MEMORY = 2**30  # bytes: Python with torch, the networks and a slice
_LEAST_DISK = 2**28  # bytes: the temporary files of a small volume
_SIDE, _CYCLES = 64, 5  # pixels and periods of the image of the self-test
# Largest error of the self-test, relative to the image: float32 over some thousand operations.
_EXACT = 1e-5


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        found: what was found, or what is wrong and what to do.
        ok: whether mrcascade can work with it.
    """

    name: str
    found: str
    ok: bool = True


def add_parser(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "doctor",
        help="check whether this machine is ready",
        usage="[--device NAME] [--json]",
        description="Print versions, device, precision, memory and disk space, verify the weights"
        " of the priors, restore a small image whose answer is known, and say which extras are"
        " installed. The exit code is 0 where mrcascade is usable, else 1.",
        examples=(
            ("mrcascade doctor", "the device that commands choose"),
            ("mrcascade doctor --device cpu --json", "the CPU, for a program"),
        ),
    )
    computing.add_device(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    checks = list(look_over(arguments.device))
    extras = installed_extras()
    usable = all(check.ok for check in checks)
    if arguments.json:
        document = {"usable": usable, "checks": [asdict(c) for c in checks], "extras": extras}
        for row in json.dumps(document, indent=1).splitlines():
            terminal.line(row)
        return 0 if usable else 1
    _print(checks, extras)
    failed = [check.name for check in checks if not check.ok]
    terminal.line(f"not usable: {', '.join(failed)}" if failed else "ready")
    return 0 if usable else 1


def _print(checks: Sequence[Check], extras: Mapping[str, bool]) -> None:
    rows = [(c.name, "ok" if c.ok else "FAILED", c.found) for c in checks]
    for name, there in extras.items():
        rows += [(f"extra {name}", "ok" if there else "-", "" if there else install(name))]
    if terminal.is_terminal(sys.stdout):
        terminal.table(("check", "state", "found"), rows)
        return
    for name, state, found in rows:
        terminal.line(f"{name}: {state}{f', {found}' if found else ''}")


def look_over(device: str) -> Iterator[Check]:
    """Yield one check after another. ``device`` is as ``--device`` gives it."""
    yield Check("mrcascade", f"{__version__}, {Path(__file__).parents[1]}")
    yield Check("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    yield _checked("libraries", _libraries)
    yield _checked("device", lambda: _device(device))
    yield _checked("precision", lambda: _precision(device))
    yield _checked("memory", _memory)
    yield _checked("disk space", _disk)
    yield _checked("weights", _weights)
    yield _checked("self-test", lambda: _restored(device))


def installed_extras() -> dict[str, bool]:
    """Return for each extra of the package whether all that it needs is installed."""
    needs: dict[str, list[str]] = {}
    for text in importlib.metadata.requires("mrcascade") or []:
        found = re.match(r"([\w.-]+).*\bextra == ['\"]([\w-]+)['\"]", text)
        if found and found[2] not in _INTERNAL:
            needs.setdefault(found[2], []).append(found[1])
    return {extra: all(map(_installed, names)) for extra, names in sorted(needs.items())}


def install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'mrcascade[{extra}]'"


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _checked(name: str, work: Callable[[], str]) -> Check:
    try:
        return Check(name, work())
    except Exception as error:  # whatever is broken here, the other checks go on
        return Check(name, one_line(error), ok=False)


def _libraries() -> str:
    import torch  # the one that fails where an installation is damaged

    found = [f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES[1:]]
    return ", ".join([f"torch {torch.__version__}", *found])


def _device(name: str) -> str:
    import torch

    from mrcascade.devices.facts import hardware, whole_memory

    chosen = computing.resolve_device(name)
    found = f"{chosen}: {hardware(chosen)}"
    if chosen.startswith("cuda"):
        memory = whole_memory(torch.device(chosen)) / 2**30
        others = torch.cuda.device_count()
        return f"{found}, {memory:.0f} GiB, {others} GPU{'s' * (others != 1)} in all"
    cores = os.cpu_count() or 1
    return f"{found}, {cores} core{'s' * (cores != 1)} in all, no GPU in use"


def _precision(device: str) -> str:
    from mrcascade.devices.precision import resolve_precision

    return f"{resolve_precision('auto', computing.resolve_device(device))} (--precision auto)"


def _memory() -> str:
    from mrcascade.devices.facts import available_memory

    free, whole = available_memory()
    if free < _LEAST_MEMORY:
        raise MRCascadeError(f"{_gigabytes(free)} are free; end other programs")
    return f"{_gigabytes(free)} of {_gigabytes(whole)} are free"


def _disk() -> str:
    folders = {"working folder": Path.cwd(), "temporary files": Path(tempfile.gettempdir())}
    found = []
    for name, folder in folders.items():
        free = shutil.disk_usage(folder).free
        if free < _LEAST_DISK:
            raise MRCascadeError(f"{folder} ({name}): {_gigabytes(free)} are free; free some")
        found.append(f"{_gigabytes(free)} for {name} ({folder})")
    with tempfile.TemporaryFile():  # can be written
        pass
    return ", ".join(found)


def _weights() -> str:
    from mrcascade.prior.format import list_priors, prior_folder, verify_weights

    names, size = list_priors(), 0
    for name in names:
        size += verify_weights(prior_folder(name))
    if options.DEFAULT_PRIOR not in names:
        raise MRCascadeError(f"{options.DEFAULT_PRIOR} is missing; install mrcascade again")
    return f"{len(names)} priors verified by SHA-256, {size / 1e6:.1f} MB"


def _restored(device: str) -> str:
    """Restore a grating that a smaller k-space holds whole, so that its measurement is known.

    A smaller k-space samples a cosine of few periods at every second pixel. Data consistency must
    meet these values, whatever the networks do.
    """
    import numpy as np
    import torch

    from mrcascade import CascadePrior, SeparableOperator, super_resolve

    chosen = computing.resolve_device(device)
    coarse, fine = (_grating(side) for side in (_SIDE // 2, _SIDE))
    operator = SeparableOperator.from_kernel("fourier", 2, fine.shape)
    begun = perf_counter()
    measured = operator(torch.from_numpy(fine)).numpy()
    wrong = float(np.abs(measured - coarse).max())
    prior = CascadePrior.from_pretrained(options.DEFAULT_PRIOR, chosen, "auto")
    result = super_resolve(coarse, operator, prior, noise=0.0)
    seconds = perf_counter() - begun
    missed = float(np.abs(operator(torch.from_numpy(result.mean)).numpy() - coarse).max())
    if not (wrong <= _EXACT and missed <= _EXACT):
        raise MRCascadeError(
            f"a known image is missed by {wrong:.1e} in its measurement and by {missed:.1e} in its"
            f" restoration, and {_EXACT:.0e} is allowed; install torch again, or try --device cpu"
        )
    return f"a known image is met to {max(wrong, missed):.0e} in {seconds:.1f} s"


def _grating(side: int) -> Any:
    """Return a cosine between 0.5 and 1.5 along the columns, which begins at its crest."""
    import numpy as np

    row = 1 + 0.5 * np.cos(2 * np.pi * _CYCLES * np.arange(side) / side)
    return np.tile(row.astype(np.float32), (side, 1))


def _gigabytes(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
