"""What ``sr`` was asked for, and what follows from it for a prior: decided once for all files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from mrcascade.arrays.factors import check_factor
from mrcascade.io import Pseudonyms
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import resolve_settings
from mrcascade.sampling import SamplerSettings

Factors = tuple[float, float]


@dataclass(frozen=True)
class SuperResolution:
    """What ``sr`` was asked for; the fields are the command's options.

    ``batch_size`` is an upper bound: batches shrink to what fits in memory; None asks for 4 on a
    CPU and for all that fit on a GPU. ``format``: of the
    results, "nifti" or "dicom"; None keeps the input's. ``acquired``: the acquired matrix (rows,
    columns) or "auto"; None only warns. ``deidentify``: what replaces the patient's identity in
    headers, sidecar and names of outputs (DICOM alone); None keeps it.
    """

    factor: Factors
    kernel: str = "fourier"
    noise: float | None = None  # fraction of the robust maximum; None estimates it
    mode: str | SamplerSettings | None = None  # None: `default_mode`
    steps: int | None = None
    samples: int = 1
    seed: int = 0
    axes: str | None = None
    batch_size: int | None = 1
    overwrite: bool = False
    format: str | None = None
    acquired: str | tuple[int, int] | None = None
    deidentify: Pseudonyms | None = None


@dataclass(frozen=True)
class Request:
    """A job, the prior that does it, and the sampler's settings that follow from both."""

    prior: CascadePrior
    job: SuperResolution
    settings: SamplerSettings

    @classmethod
    def of(cls, prior: CascadePrior, job: SuperResolution) -> Request:
        """Resolve a job; MRCascadeError for what no input could make right."""
        check_factor(job.factor)
        return cls(prior, job, resolve_settings(prior, job.mode, job.steps, job.samples))

    def changed(
        self, *, overwrite: bool | None = None, deidentify: Pseudonyms | None = None
    ) -> Request:
        """The same request, but for what does not bear on the sampler."""
        job = self.job
        return replace(
            self,
            job=replace(
                job,
                overwrite=job.overwrite if overwrite is None else overwrite,
                deidentify=job.deidentify if deidentify is None else deidentify,
            ),
        )

    @cached_property
    def document(self) -> dict[str, Any]:
        """All that the results depend on besides the input, as JSON holds it; batches and devices
        change rounding alone."""
        job = self.job
        mode = job.mode if isinstance(job.mode, str) else self.settings.name
        request = asdict(replace(job, mode=mode, deidentify=None))  # whose salt is a secret
        for key in ("batch_size", "overwrite"):
            del request[key]
        request["deidentify"] = job.deidentify is not None
        return {
            **request,
            "prior": self.prior.digest,
            "precision": self.prior.levels[0].precision,
            "sampler": self.settings.record(job.samples),
        }
