"""The request of ``sr``: its options, the prior and the sampler settings, shared by all files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from mrcascade.arrays.factors import check_factor
from mrcascade.io import Pseudonyms
from mrcascade.measurement.thick import LEAST_SQUARES, Isotropic, result_label
from mrcascade.measurement.thick_options import ThickOptions
from mrcascade.prior.cascade import CascadePrior
from mrcascade.recipes.modes import default_mode
from mrcascade.restore import resolve_settings
from mrcascade.sampling import Recipe

Factors = tuple[float, float]


@dataclass(frozen=True)
class SuperResolution:
    """Options of ``sr``; the fields have the names of the command's options.

    Attributes:
        factor: (rows, columns); 1 only for thick slices whose planes stay as they are.
        kernel: name of the measurement's kernel.
        noise: sigma_y as a fraction of the robust maximum; None estimates it.
        mode: name of a recipe, perhaps with changes, or settings; None for `default_mode`.
        steps: number of steps T; None keeps the recipe's.
        samples: number of samples per slice.
        seed: seed of the random numbers.
        axes: in-plane axes; None lets the geometry decide.
        batch_size: upper limit, as batches shrink to fit into memory. None takes 4 on a CPU, and
            all that fit on a GPU.
        overwrite: whether existing results are replaced.
        format: "nifti" or "dicom"; None keeps the input's format.
        acquired: acquired matrix (rows, columns) or "auto"; None only warns.
        isotropic: makes thick slices thin; None leaves the slices as they are. ``mode`` may then be
            "lsq", least squares without a prior.
        combine: makes one volume of several stacks: "headers" takes their places from the headers,
            "rigid" moves them by the rigid motion that is found; None restores each by itself.
        deidentify: replaces the patient's identity in headers, sidecar and names of outputs (DICOM
            only); None keeps it.
        report: whether the result gets a report (`jobs.report`), an HTML file beside its preview.
    """

    factor: Factors = (1.0, 1.0)
    kernel: str = "fourier"
    noise: float | None = None
    mode: str | Recipe | None = None
    steps: int | None = None
    samples: int = 1
    seed: int = 0
    axes: str | None = None
    batch_size: int | None = 1
    overwrite: bool = False
    format: str | None = None
    acquired: str | tuple[int, int] | None = None
    isotropic: Isotropic | None = None
    combine: str | None = None
    deidentify: Pseudonyms | None = None
    report: bool = False

    @property
    def label(self) -> str:
        """Label of the result in file names, such as ``sr4x`` or ``sriso``."""
        return result_label(self.factor, self.isotropic, self.combine is not None)

    @property
    def in_plane(self) -> bool:
        """Whether planes are enlarged."""
        return max(self.factor) > 1

    @property
    def least_squares(self) -> bool:
        """Whether the result comes without a prior."""
        return self.isotropic is not None and self.mode == LEAST_SQUARES


@dataclass(frozen=True)
class Request:
    """A job with its prior and the sampler settings that follow from both."""

    prior: CascadePrior
    job: SuperResolution
    settings: Recipe

    @classmethod
    def of(cls, prior: CascadePrior, job: SuperResolution) -> Request:
        """Resolve the settings of a job. Raises MRCascadeError if it fits no input at all."""
        if job.isotropic is None or job.in_plane or min(job.factor) < 1:
            check_factor(job.factor)
        ThickOptions(
            isotropic=job.isotropic is not None,
            in_plane=job.in_plane,
            mode=job.mode or default_mode(job.samples),
            samples=job.samples,
            combine=job.combine,
            steps=job.steps,
            noise=job.noise,
        ).check()
        mode = None if job.least_squares else job.mode
        return cls(prior, job, resolve_settings(prior, mode, job.steps, job.samples))

    def changed(
        self,
        *,
        overwrite: bool | None = None,
        deidentify: Pseudonyms | None = None,
        report: bool | None = None,
    ) -> Request:
        """Return the request with options changed that do not affect the sampler."""
        job = self.job
        return replace(
            self,
            job=replace(
                job,
                overwrite=job.overwrite if overwrite is None else overwrite,
                deidentify=job.deidentify if deidentify is None else deidentify,
                report=job.report if report is None else report,
            ),
        )

    @cached_property
    def document(self) -> dict[str, Any]:
        """JSON document of everything besides the input that results depend on.

        Batch size and device are left out, because they change rounding only, and so is the report,
        which is made of the results.
        """
        job = self.job
        mode = job.mode if isinstance(job.mode, str) else self.settings.name
        request = asdict(replace(job, mode=mode, deidentify=None))  # its salt is secret
        unused = [key for key in ("isotropic", "combine") if request[key] is None]
        for key in ("batch_size", "overwrite", "report", *unused):
            del request[key]
        request["deidentify"] = job.deidentify is not None
        if job.least_squares:
            return request
        return {
            **request,
            "prior": self.prior.digest if job.isotropic is None else self.prior.identity,
            "precision": self.prior.levels[0].precision,
            "sampler": self.settings.record(job.samples),
        }
