"""Report of a restoration in memory, such as one of `super_resolve`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrcascade import __version__
from mrcascade.errors import MRCascadeError
from mrcascade.io import Display, atomic_output, make_folder
from mrcascade.jobs.preview import ARBITRARY_UNIT
from mrcascade.operators import LinearOperator
from mrcascade.operators.baselines import interpolated, interpolation_name, zero_filled
from mrcascade.operators.kernels import KERNELS
from mrcascade.pictures.preview import intensity_window, largest_deviation, shown_pixels
from mrcascade.pictures.report.facts import sections_of, warnings_of
from mrcascade.pictures.report.head import check_report
from mrcascade.pictures.report.methods import methods_of
from mrcascade.pictures.report.page import (
    ReportContent,
    ReportLayer,
    ReportView,
    write_report_page,
)
from mrcascade.restore import Restoration


def write_restoration_report(
    path: str | os.PathLike[str],
    restoration: Restoration,
    measurement: np.ndarray,
    operator: LinearOperator,
    *,
    title: str = "Restoration",
    subtitle: str = "",
    others: Mapping[str, np.ndarray] | None = None,
    display: Display | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the report of a restoration in memory: a page as that of ``sr --report``.

    Args:
        path: the HTML file.
        restoration: result of `super_resolve` or of a `Restorer`.
        measurement: (h, w) or (S, h, w), what was restored. It is shown interpolated.
        operator: H of the restoration.
        title, subtitle: lines at the top.
        others: more images to compare with, by title, such as the truth; shape of the result.
        display: orientation and aspect on screen; by default rows go down and pixels are square.
        overwrite: whether an earlier report is replaced. No other file ever is.

    Returns:
        The path.

    Raises:
        MRCascadeError: images have different shapes, or the name is taken.

    Example:
        >>> import numpy as np, mrcascade
        >>> from mrcascade.jobs.report_memory import write_restoration_report
        >>> truth = np.random.default_rng(0).random((32, 32))
        >>> low, H = mrcascade.simulate(truth, 2)
        >>> found = mrcascade.super_resolve(low, H, "mr-small", noise=0.0, mode="mean")
        >>> write_restoration_report("r.html", found, low, H, others={"truth": truth})
        PosixPath('r.html')
    """
    target = Path(path)
    check_report(target, overwrite)
    low = _as_slices(measurement)
    kernel = str(restoration.settings.get("operator", "")).partition(" ")[0]
    known = kernel in KERNELS
    name = interpolation_name(kernel) if known else "pseudo-inverse"
    before = interpolated(low, operator, kernel) if known else zero_filled(low, operator)
    samples = int(restoration.settings.get("samples", 1))
    mean = "result" if samples == 1 else f"mean of {samples} samples"
    shown: list[tuple[ReportLayer, np.ndarray]] = [
        (ReportLayer("data", f"data, {name}", "before"), before),
        (ReportLayer("result", mean, "after"), restoration.mean),
    ]
    if samples > 1:
        shown.append((ReportLayer("sample", "one of the samples", "after"), restoration.sample))
    for number, (words, image) in enumerate((others or {}).items()):
        shown.append((ReportLayer(f"other{number}", words, "after"), image))
    spread = 0.0
    if restoration.std is not None:
        words = f"standard deviation of {samples} samples"
        shown.append((ReportLayer("std", words, "std"), restoration.std))
        spread = largest_deviation(restoration.std)
    stacks = {layer.key: _as_slices(shown_pixels(image)) for layer, image in shown}
    sizes = {stack.shape for stack in stacks.values()}
    if len(sizes) > 1:
        raise MRCascadeError(f"{target}: images of a report have one shape; got {sorted(sizes)}")
    facts = _facts(restoration, operator, kernel if known else None)
    count = len(stacks["result"])
    zero = float(restoration.settings.get("zero", 0.0))
    dark, bright = intensity_window(stacks["data"] - zero)
    content = ReportContent(
        title=title,
        subtitle=subtitle,
        layers=[layer for layer, _ in shown],
        views=[
            ReportView(
                "slices",
                [f"slice {n + 1} of {count}" for n in range(count)],
                lambda key, number: stacks[key][number],
                Display() if display is None else display,
                count // 2,
            )
        ],
        window=(dark + zero, bright + zero),
        most_std=spread,
        unit=ARBITRARY_UNIT,
        warnings=warnings_of(facts),
        sections=sections_of(facts, restoration.seconds),
        methods=methods_of(facts),
    )
    make_folder(target.parent)
    with atomic_output(target, overwrite) as temporary:
        write_report_page(temporary, content)
    return target


def _facts(
    restoration: Restoration, operator: LinearOperator, kernel: str | None
) -> dict[str, Any]:
    factor = [n / m for n, m in zip(operator.in_shape, operator.out_shape, strict=True)]
    software = (("mrcascade", __version__), ("torch", torch.__version__))
    return {
        **restoration.facts(),
        "Software": [{"Name": name, "Version": version} for name, version in software],
        "Request": {"Factor": factor},
        **({} if kernel is None else {"Kernel": kernel}),
    }


def _as_slices(image: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    stack = np.asarray(image)
    return stack[None] if stack.ndim == 2 else stack
