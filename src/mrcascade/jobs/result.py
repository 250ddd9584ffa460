"""Outcome of an input's slices, and its sidecar."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
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
from mrcascade.jobs.derivation import changed_grid
from mrcascade.jobs.request import Request, SuperResolution
from mrcascade.measurement.acquired import Acquired
from mrcascade.measurement.domain import DomainScore
from mrcascade.measurement.misfit import Misfit
from mrcascade.networks.compiled import Compiler
from mrcascade.restore import Restoration
from mrcascade.restore.volume import RestoredVolume


class Outcome:
    """Summary of the work on an input.

    Attributes:
        residual: largest relative residual, of slices or of volumes.
        seconds: time of the restoration.
        settings: every value that the result depends on.
        evaluations: level -> network evaluations per image and sample.
        compiled: whether networks ran as compiled code; None without a compiler.
        misfit: largest misfit of slices or volumes; None where the data have no noise.
    """

    def __init__(
        self, intensity: Intensity, compiler: Compiler | None = None, image: str = "slice"
    ) -> None:
        """Start counting.

        Args:
            intensity: intensity of the volume.
            image: what the networks evaluate, "slice" or "plane".
            compiler: compiler of the networks, if any. ``compiled`` then says whether networks ran
                as compiled code since now; without a compiler it is None.
        """
        self.compiled = None if compiler is None else False
        self._intensity, self._compiler, self._image = intensity, compiler, image
        self._compiled_before = compiler.evaluations if compiler else 0
        self.residual = self.seconds = 0.0
        self.misfit: Misfit | None = None
        self.settings: dict[str, Any] = {}
        self.evaluations: dict[int, int] = {}

    def add(self, result: Restoration, measured: np.ndarray) -> None:
        """Add a restored chunk and its measured slices (S, h, w)."""
        self.residual = largest(result.residual, measured, self._intensity, self.residual)
        self._add(result)
        for index in np.flatnonzero(_filled(measured, self._intensity)):
            self._compare(float(result.residual[index]), measured[index])

    def add_volume(self, result: RestoredVolume, measured: np.ndarray | None) -> None:
        """Add a restored volume and its measured slices, if they are all that it has to meet."""
        self.residual = max(self.residual, result.residual)
        self._add(result)
        if measured is not None:
            self._compare(result.residual, measured)

    def _compare(self, residual: float, measured: np.ndarray) -> None:
        noise = self.settings.get("noise", 0.0) * self._intensity.scale
        found = Misfit.of(residual, self._intensity.above_zero(measured), noise)
        if found is not None and (self.misfit is None or found.ratio > self.misfit.ratio):
            self.misfit = found

    def _add(self, result: Restoration | RestoredVolume) -> None:
        self.settings, self.evaluations = result.settings, result.evaluations
        self.seconds += result.seconds
        if self._compiler is not None:
            self.compiled = self._compiler.evaluations > self._compiled_before

    def describe(self, several: bool) -> str:
        """Return a line about time, evaluations and residual.

        several: whether there are several samples.
        """
        count = sum(self.evaluations.values())
        per = f"{self._image}{' and sample' if several else ''}"
        evaluations = f"{count} evaluations per {per}, " if self.evaluations else ""
        return f"{self.seconds:.1f} s, {evaluations}relative residual {self.residual:.1e}"

    def evaluation_counts(self) -> dict[str, Any]:
        """Return the sidecar's entry about evaluations; empty where there are no networks."""
        if not self.evaluations:
            return {}
        key = f"EvaluationsPer{_capital(self._image)}"
        return {key: {str(level): count for level, count in self.evaluations.items()}}


def misfit_warnings(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a warning for each outcome that misses its data by more than their noise."""
    found = (outcome.misfit for outcome in outcomes)
    return [one.warning for one in found if one is not None and one.excessive]


def largest(
    residuals: np.ndarray, measured: np.ndarray, intensity: Intensity, before: float
) -> float:
    """Return the largest residual so far, over slices that are not air.

    A slice of air is all noise, which no result is meant to reproduce.

    Args:
        residuals: (S,).
        measured: (S, h, w).
        intensity: intensity of the volume.
        before: largest residual of earlier slices.
    """
    return float(np.fmax.reduce(residuals[_filled(measured, intensity)], initial=before))


def _filled(measured: np.ndarray, intensity: Intensity) -> np.ndarray:
    """Return which of the slices (S, h, w) are not air, (S,)."""
    above = np.abs(intensity.above_zero(measured)).mean((1, 2))
    return np.asarray(above > EMPTY * intensity.scale)


def sidecar_of(
    source: Source,
    axes: Axes,
    resolution: str,
    request: Request,
    outcome: Outcome,
    targets: dict[str, Path],
) -> dict[str, Any]:
    """Return the sidecar's entries about the input, the work and the machine.

    Args:
        source: the input, read to its end.
        axes: in-plane axes.
        resolution: how the grid of the result differs from the input's, in words.
        request: job, prior and settings.
        outcome: summary of the work.
        targets: the files that are written.
    """
    job, prior = request.job, request.prior
    enlarged = f"super-resolved {factor_label(job.factor)} in plane"
    return {
        "Description": f"{_capital(changed_grid(job, enlarged))}. {NOTICE}",
        "Sources": source.file.file_names if job.deidentify is None else [],
        **source_identity(source.sha256, job),
        **({"SourceImage": source.origin} if source.origin else {}),
        "Resolution": resolution,
        **timing_facts(source, targets["result"]),
        "InPlaneAxes": list(axes),
        "Files": _file_names(targets),
        **({"Kernel": job.kernel} if job.in_plane else {}),
        **({} if job.least_squares else {"Prior": prior.name, "PriorKernel": prior.kernel}),
        "Settings": _stated(outcome.settings, job),
        **outcome.evaluation_counts(),
        "Residual": outcome.residual,
        "Request": request.document,
        **({} if job.least_squares else device_facts(prior.device)),
        **({} if job.least_squares else {"Precision": prior.levels[0].precision}),
        **({} if outcome.compiled is None else {"Compiled": outcome.compiled}),
        "Software": [
            {"Name": "mrcascade", "Version": __version__},
            {"Name": "torch", "Version": torch.__version__},
        ],
    }


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def source_identity(
    sha256: str, job: SuperResolution, others: Sequence[str] = ()
) -> dict[str, str | list[str]]:
    """Return the sidecar's entries that identify an input, and others combined with it, by hashes.

    A de-identified input has a keyed hash instead (HMAC): with a plain one, anyone who holds the
    original could find the patient.
    """
    hidden = job.deidentify
    hashes = [sha256, *others] if hidden is None else list(map(hidden.source, (sha256, *others)))
    kind = "SHA256" if hidden is None else "HMAC"
    alone: dict[str, str | list[str]] = {f"Source{kind}": hashes[0]}
    return alone | ({f"OtherSources{kind}": hashes[1:]} if others else {})


def _stated(settings: dict[str, Any], job: SuperResolution) -> dict[str, Any]:
    """Return the settings; for a de-identified input without the seed, which its hash gave."""
    return settings if job.deidentify is None else {k: settings[k] for k in settings if k != "seed"}


def _file_names(targets: dict[str, Path]) -> dict[str, str]:
    """Return the files beside a sidecar, relative to its folder."""
    folder = targets["sidecar"].parent
    return {
        key: Path(os.path.relpath(path, folder)).as_posix()
        for key, path in targets.items()
        if not key.endswith("sidecar")
    }


def bids_metadata(item: Item, axes: Sequence[int]) -> dict[str, Any]:
    """Return the BIDS metadata of a derivative's JSON files; empty outside BIDS datasets.

    ``axes`` are those that become finer. Derivatives must state ``SkullStripped``; it is false if
    the raw image does not state it. Raises MRCascadeError if the source's metadata are damaged.
    """
    dataset, paths = item.dataset, item.paths
    if dataset is None:
        return {}
    raw = {"SkullStripped": False} if dataset.kind == "raw" else {}
    kept = kept_metadata(inherited_metadata(paths[0]), axes)
    return {**raw, **kept, "Sources": [source_uri(dataset, path) for path in paths]}


def acquired_facts(acquired: Acquired, job: SuperResolution) -> dict[str, Any]:
    """Return the sidecar's entries about the acquired matrix of an interpolated input."""
    if not acquired.interpolated:
        return {}
    return {
        "StoredMatrix": list(acquired.stored),
        "AcquiredMatrix": list(acquired.matrix),
        "AcquiredMatrixOrigin": acquired.evidence,
        "CroppedToAcquired": job.acquired is not None,
    }


def domain_facts(domain: DomainScore | None) -> dict[str, Any]:
    """Return the sidecar's entries about the distance from the prior's own images, if known."""
    if domain is None:
        return {}
    return {"DomainScore": domain.score, "OutOfDomain": domain.outside}
