"""Writing of all outputs of one input: they appear together, the sidecar last."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrcascade.io import (
    NOTICE,
    RADIANS,
    Block,
    SliceStore,
    atomic_outputs,
    display_of,
    identity_of,
    plane_name,
    remove_leftovers,
    write_blocks_into,
    write_document,
)
from mrcascade.jobs.border import describe_margins
from mrcascade.jobs.common import PHASE, SIDECAR
from mrcascade.jobs.derivation import derivation_of
from mrcascade.jobs.measured import Measured
from mrcascade.jobs.opened import Opened
from mrcascade.jobs.preview import ARBITRARY_UNIT
from mrcascade.jobs.report import renew_report
from mrcascade.jobs.request import Request
from mrcascade.jobs.result import acquired_facts, domain_facts, sidecar_of
from mrcascade.jobs.results import ResultStores
from mrcascade.jobs.workspace import Workspace
from mrcascade.storage.outputs import file_counts


class Publication:
    """The output files of one input."""

    def __init__(
        self,
        request: Request,
        workspace: Workspace,
        opened: Opened,
        measured: Measured,
        results: ResultStores,
    ) -> None:
        """Find the grid of the result.

        Args:
            request: job, prior and settings.
            workspace: names of the outputs.
            opened: the input.
            measured: its slices.
            results: what was made of them.
        """
        self._request, self._workspace, self._opened = request, workspace, opened
        self._measured, self._results = measured, results
        self._affine = measured.geometry.result_affine()

    def write(self) -> tuple[list[Path], str]:
        """Write all files, and remove leftovers of killed processes.

        A thread draws the preview meanwhile; its errors are raised here. If anything fails, no
        file appears.

        Returns:
            The names of the files, and a line about the work.
        """
        workspace, overwrite = self._workspace, self._request.job.overwrite
        targets = workspace.targets
        with atomic_outputs(list(targets.values()), overwrite) as temporaries:
            places = dict(zip(targets, temporaries, strict=True))
            with _thread() as pool:
                preview = pool.submit(self._draw, places["preview"])
                sidecar = self._sidecar(self._results.stored_residual())
                self._write_images(places, sidecar)
                preview.result()
            sidecar |= file_counts(zip(targets.values(), temporaries, strict=True))
            write_document(places["sidecar"], sidecar)
            workspace.claim.check()
        workspace.claim.remove_replaced()
        remove_leftovers(targets.values())
        image, seconds = self._opened.source.file, self._results.outcome.seconds
        wanted = self._request.job.report
        report = renew_report(workspace.sidecar, wanted, [image], seconds)
        *written, sidecar_path = targets.values()
        several = self._request.job.samples > 1
        line = self._results.outcome.describe(several)
        if self._measured.domain is not None:
            line += f", {self._measured.domain}"
        return [*written, *report, sidecar_path], line

    def _sidecar(self, stored_residual: float) -> dict[str, Any]:
        opened, measured, request = self._opened, self._measured, self._request
        source, axes, margins = opened.source, opened.axes, measured.margins
        geometry, results = measured.geometry, self._results
        resolution = geometry.resolution(request.job.factor)
        targets = self._workspace.targets
        sidecar = sidecar_of(source, axes, resolution, request, results.outcome, targets)
        sidecar |= {"ResidualStored": stored_residual, "NoiseOrigin": measured.noise_origin}
        sidecar |= {"BatchSize": results.batch_size}
        sidecar |= {"InPlaneMatrix": list(geometry.operator.in_shape)}
        sidecar |= {"FieldOfView": describe_margins(margins, axes)} if margins else {}
        sidecar |= {"PixelNote": source.note} if source.note else {}
        sidecar |= {"Warnings": warnings} if (warnings := results.warnings()) else {}
        sidecar |= domain_facts(measured.domain) | results.facts() | self._thin_slices()
        return sidecar | acquired_facts(measured.acquired, request.job) | opened.metadata

    def _write_images(self, places: dict[str, Path], sidecar: dict[str, Any]) -> None:
        request, opened, measured = self._request, self._opened, self._measured
        shape = measured.geometry.result_shape(opened.source.shape)
        identity = identity_of(sidecar)
        for key, store in self._results.stores.items():
            ends = store.extremes
            window = (0.0, ends[1]) if key == "std" else measured.intensity.window
            made = derivation_of(request.job, key, window, request.prior.name)
            made = replace(made, identity=identity)
            facts = {"Description": f"{made.text}. {NOTICE}", "Resolution": sidecar["Resolution"]}
            facts |= self._thin_slices()
            for place, kind, fetch in _parts(key, store, places):
                write_blocks_into(
                    opened.source, shape, kind, fetch, place, self._affine, ends, made
                )
            for whose, unit in ((key, {}), (key + PHASE, {"Units": RADIANS})):
                if beside := places.get(whose + SIDECAR):
                    write_document(beside, facts | opened.metadata | unit)

    def _thin_slices(self) -> dict[str, float]:
        """Return the metadata of slices that differ from the input's; empty where they do not."""
        slices = self._measured.geometry.slices
        return {} if slices is None else slices.metadata()

    def _draw(self, place: Path) -> None:
        opened = self._opened
        self._results.draw(
            place,
            display_of(opened.source, opened.axes, self._affine),
            plane_name(opened.source, opened.axes),
            str(opened.metadata.get("Units", ARBITRARY_UNIT)),
        )


def _thread() -> ThreadPoolExecutor:
    """Return a thread with this thread's number of torch threads, so that it rounds alike."""
    return ThreadPoolExecutor(
        1,
        thread_name_prefix="mrcascade-publish",
        initializer=torch.set_num_threads,
        initargs=(torch.get_num_threads(),),
    )


def _parts(
    key: str, store: SliceStore, places: dict[str, Path]
) -> list[tuple[Path, np.dtype, Callable[[Block], np.ndarray]]]:
    """Return place, data type and a function that reads pixels, for each file of a store."""
    if f"{key}{PHASE}" not in places:
        return [(places[key], store.dtype, store.get)]
    real = np.dtype(np.float32)
    return [
        (places[key], real, lambda block: np.abs(store.get(block))),
        (places[f"{key}{PHASE}"], real, lambda block: np.angle(store.get(block))),
    ]
