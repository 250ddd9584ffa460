"""What ``sr`` makes of the restored slices: the files, and what they say about themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
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
    RADIANS,
    Axes,
    Block,
    Derivation,
    SliceStore,
    Source,
    as_stored,
    atomic_outputs,
    display_of,
    identity_of,
    inherited_metadata,
    kept_metadata,
    plane_name,
    remove_leftovers,
    resampled_affine,
    source_uri,
    write_blocks_into,
    write_document,
)
from mrcascade.jobs.border import ExtendedStore
from mrcascade.jobs.common import (
    PHASE,
    SIDECAR,
    Item,
    SuperResolution,
    sr_request,
    timing_facts,
)
from mrcascade.jobs.preview import ARBITRARY_UNIT, draw_preview
from mrcascade.measurement.acquired import Acquired
from mrcascade.networks.compiled import Compiler
from mrcascade.operators import SeparableOperator
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import Restoration
from mrcascade.storage.outputs import Claim, file_counts


@dataclass(frozen=True)
class Geometry:
    """The planes of an image and the operator that measured them. affine: of the measured grid,
    which is the stored one but for interpolated images that are cropped."""

    axes: Axes
    operator: SeparableOperator
    affine: np.ndarray | None

    def result_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the image once its planes are enlarged."""
        sides = dict(zip(self.axes, self.operator.in_shape, strict=True))
        return tuple(sides.get(axis, n) for axis, n in enumerate(shape))


class Outcome:
    """What the chunks of a volume say together."""

    last: Restoration

    def __init__(self, intensity: Intensity, compiler: Compiler | None = None) -> None:
        """intensity: of the volume. compiler: of the networks, which counts from now on."""
        self._intensity, self._compiler = intensity, compiler
        self._compiled_before = compiler.evaluations if compiler else 0
        self.residual = self.seconds = 0.0

    def add(self, result: Restoration, measured: np.ndarray) -> None:
        """Take in a chunk and the slices (S, h, w) that it was made of."""
        self.last = result
        self.residual = largest(result.residual, measured, self._intensity, self.residual)
        self.seconds += result.seconds

    @property
    def compiled(self) -> bool | None:
        """Whether networks ran as compiled code; None where they were not to."""
        if self._compiler is None:
            return None
        return self._compiler.evaluations > self._compiled_before


def largest(
    residuals: np.ndarray, measured: np.ndarray, intensity: Intensity, before: float
) -> float:
    """The largest residual of slices (S, h, w) with content: one of air is all noise, which no
    result is meant to reproduce."""
    filled = np.abs(intensity.above_zero(measured)).mean((1, 2)) > EMPTY * intensity.scale
    return float(np.fmax.reduce(residuals[filled], initial=before))


def stored_residual(
    source: Source,
    result: ExtendedStore,
    targets: dict[str, Path],
    measured: SliceStore,
    intensity: Intensity,
) -> float:
    """The largest relative residual of the slices as a reader of the output will see them."""
    worst = 0.0
    for number in range(len(measured)):
        seen = result.store.read(number, number + 1)
        seen = as_stored(source, targets["result"], seen, number, result.store.extremes)
        if f"result{PHASE}" in targets:
            seen = np.abs(seen) * np.exp(1j * np.angle(seen))  # which rounds
        piece = measured.read(number, number + 1)
        residual = result.residual(number, seen, piece, intensity)
        worst = largest(residual, piece, intensity, worst)
    return worst


def derivation_of(
    job: SuperResolution, key: str, window: tuple[float, float], prior: str
) -> Derivation:
    what = {
        "result": "super-resolved" if job.samples == 1 else "mean of super-resolved samples",
        "sample": "one super-resolved sample",
        "std": "standard deviation of super-resolved samples",
    }[key]
    label = factor_label(job.factor)
    return Derivation(
        label=f"sr{label}{'' if key == 'result' else key}",
        text=f"{what}, in-plane matrix enlarged {label} by mrcascade",
        window=window,
        number=1 + ("result", "sample", "std").index(key),
        prior=prior,
        quantity=key == "std",
        pseudonyms=job.deidentify,
    )


def publish(
    source: Source,
    geometry: Geometry,
    job: SuperResolution,
    prior: CascadePrior,
    targets: dict[str, Path],
    claim: Claim,
    measured: SliceStore,
    stores: dict[str, SliceStore],
    sidecar: dict[str, Any],
    metadata: dict[str, Any],
    intensity: Intensity,
) -> None:
    """Write all files of one input at once, and remove what killed processes left of them.

    claim: of ``targets``. metadata: what BIDS says of each image."""
    shape, operator = geometry.result_shape(source.shape), geometry.operator
    affine = geometry.affine
    if affine is not None:
        affine = resampled_affine(
            affine, geometry.axes, job.kernel, operator.out_shape, operator.in_shape
        )
    identity = identity_of(sidecar)
    with atomic_outputs(list(targets.values()), job.overwrite) as temporaries:
        places = dict(zip(targets, temporaries, strict=True))
        for key, store in stores.items():
            window = (0.0, store.extremes[1]) if key == "std" else intensity.window
            made = replace(derivation_of(job, key, window, prior.name), identity=identity)
            facts = {"Description": f"{made.text}. {NOTICE}", "Resolution": sidecar["Resolution"]}
            ends = store.extremes
            for place, kind, fetch in _parts(key, store, places):
                write_blocks_into(source, shape, kind, fetch, place, affine, ends, made)
            for whose, unit in ((key, {}), (key + PHASE, {"Units": RADIANS})):
                if beside := places.get(whose + SIDECAR):
                    write_document(beside, facts | metadata | unit)
        draw_preview(
            places["preview"],
            job,
            operator,
            measured,
            stores,
            intensity,
            display_of(source, geometry.axes, affine),
            plane_name(source, geometry.axes),
            str(metadata.get("Units", ARBITRARY_UNIT)),
        )
        sidecar |= file_counts(zip(targets.values(), temporaries, strict=True))
        write_document(places["sidecar"], sidecar)
        claim.check()
    claim.remove_replaced()
    remove_leftovers(targets.values())


def _parts(
    key: str, store: SliceStore, places: dict[str, Path]
) -> list[tuple[Path, np.dtype, Callable[[Block], np.ndarray]]]:
    """The files that hold a store: where, of which type, and what fetches their pixels."""
    if f"{key}{PHASE}" not in places:
        return [(places[key], store.dtype, store.get)]
    real = np.dtype(np.float32)
    return [
        (places[key], real, lambda block: np.abs(store.get(block))),
        (places[f"{key}{PHASE}"], real, lambda block: np.angle(store.get(block))),
    ]


def sidecar_of(
    source: Source,
    axes: Axes,
    job: SuperResolution,
    prior: CascadePrior,
    outcome: Outcome,
    targets: dict[str, Path],
) -> dict[str, Any]:
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
        "Request": sr_request(prior, job),
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
