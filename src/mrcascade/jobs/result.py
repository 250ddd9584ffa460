"""What came of the slices of an input, and what the sidecar says about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrcascade import __version__
from mrcascade.arrays.factors import factor_label
from mrcascade.arrays.intensity import EMPTY, Intensity
from mrcascade.devices.facts import device_facts
from mrcascade.io import (
    NOTICE,
    Axes,
    Source,
    inherited_metadata,
    kept_metadata,
    source_uri,
)
from mrcascade.jobs.common import Item, timing_facts
from mrcascade.jobs.request import Request, SuperResolution
from mrcascade.measurement.acquired import Acquired
from mrcascade.networks.compiled import Compiler
from mrcascade.restore import Restoration


class Outcome:
    """What the chunks of a volume say together."""

    last: Restoration

    def __init__(self, intensity: Intensity, compiler: Compiler | None = None) -> None:
        """intensity: of the volume. compiler: of the networks, which counts from now on.

        ``compiled`` says whether networks ran as compiled code; None where they were not to.
        """
        self.compiled = None if compiler is None else False
        self._intensity, self._compiler = intensity, compiler
        self._compiled_before = compiler.evaluations if compiler else 0
        self.residual = self.seconds = 0.0

    def add(self, result: Restoration, measured: np.ndarray) -> None:
        """Take in a chunk and the slices (S, h, w) that it was made of."""
        self.last = result
        self.residual = largest(result.residual, measured, self._intensity, self.residual)
        self.seconds += result.seconds
        if self._compiler is not None:
            self.compiled = self._compiler.evaluations > self._compiled_before

    def describe(self, several: bool) -> str:
        """What the work took; ``several``: samples of each slice."""
        return (
            f"{self.seconds:.1f} s, {sum(self.last.evaluations.values())} evaluations per slice"
            f"{' and sample' if several else ''}, relative residual {self.residual:.1e}"
        )


def largest(
    residuals: np.ndarray, measured: np.ndarray, intensity: Intensity, before: float
) -> float:
    """The largest residual of slices (S, h, w) with content: one of air is all noise, which no
    result is meant to reproduce."""
    filled = np.abs(intensity.above_zero(measured)).mean((1, 2)) > EMPTY * intensity.scale
    return float(np.fmax.reduce(residuals[filled], initial=before))


def sidecar_of(
    source: Source,
    axes: Axes,
    request: Request,
    outcome: Outcome,
    targets: dict[str, Path],
) -> dict[str, Any]:
    """What the sidecar says of the input, the work and the machine."""
    job, prior = request.job, request.prior
    return {
        "Description": f"Super-resolved {factor_label(job.factor)} in plane. {NOTICE}",
        "Sources": source.file.file_names if job.deidentify is None else [],
        **source_identity(source.sha256, job),
        **({"SourceImage": source.origin} if source.origin else {}),
        "Resolution": f"in-plane matrix enlarged by {job.factor[0]:g} x {job.factor[1]:g}",
        **timing_facts(source, targets["result"]),
        "InPlaneAxes": list(axes),
        "Files": _file_names(targets),
        "Kernel": job.kernel,
        "Prior": prior.name,
        "PriorKernel": prior.kernel,
        "Settings": _stated(outcome.last.settings, job),
        "EvaluationsPerSlice": {str(k): v for k, v in outcome.last.evaluations.items()},
        "Residual": outcome.residual,
        "Request": request.document,
        **device_facts(prior.device),
        "Precision": prior.levels[0].precision,
        **({} if outcome.compiled is None else {"Compiled": outcome.compiled}),
        "Software": [
            {"Name": "mrcascade", "Version": __version__},
            {"Name": "torch", "Version": torch.__version__},
        ],
    }


def source_identity(sha256: str, job: SuperResolution) -> dict[str, str]:
    """What a sidecar says of an input with this hash, so that the same input is known again.

    The hash of a de-identified input would lead who holds the original to its patient.
    """
    if job.deidentify is None:
        return {"SourceSHA256": sha256}
    return {"SourceHMAC": job.deidentify.source(sha256)}


def _stated(settings: dict[str, Any], job: SuperResolution) -> dict[str, Any]:
    """The settings, without the seed that was derived from the hash of a de-identified input."""
    return settings if job.deidentify is None else {k: settings[k] for k in settings if k != "seed"}


def _file_names(targets: dict[str, Path]) -> dict[str, str]:
    """The files beside a sidecar, relative to its folder."""
    folder = targets["sidecar"].parent
    return {
        key: Path(os.path.relpath(path, folder)).as_posix()
        for key, path in targets.items()
        if not key.endswith("sidecar")
    }


def bids_metadata(item: Item, axes: Axes) -> dict[str, Any]:
    """What the JSON files of a BIDS derivative say besides our own facts; nothing elsewhere.

    A raw image that does not say is taken for one of the whole head: BIDS asks derivatives.
    Raises MRCascadeError where the source's metadata are damaged.
    """
    dataset, paths = item.dataset, item.image.paths
    if dataset is None:
        return {}
    raw = {"SkullStripped": False} if dataset.kind == "raw" else {}
    kept = kept_metadata(inherited_metadata(paths[0]), axes)
    return {**raw, **kept, "Sources": [source_uri(dataset, path) for path in paths]}


def acquired_facts(acquired: Acquired, job: SuperResolution) -> dict[str, Any]:
    if not acquired.interpolated:
        return {}
    return {
        "StoredMatrix": list(acquired.stored),
        "AcquiredMatrix": list(acquired.matrix),
        "AcquiredMatrixOrigin": acquired.evidence,
        "CroppedToAcquired": job.acquired is not None,
    }
