"""The request of ``sr``: its options, the prior and the sampler settings, shared by all files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from mrcascade.arrays.factors import check_factor
from mrcascade.io import Pseudonyms
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import resolve_settings
from mrcascade.sampling import Recipe

Factors = tuple[float, float]


@dataclass(frozen=True)
class SuperResolution:
    """Options of ``sr``; the fields have the names of the command's options.

    Attributes:
        factor: (rows, columns).
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
        deidentify: replaces the patient's identity in headers, sidecar and names of outputs (DICOM
            only); None keeps it.
    """

    factor: Factors
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
    deidentify: Pseudonyms | None = None


@dataclass(frozen=True)
class Request:
    """A job with its prior and the sampler settings that follow from both."""

    prior: CascadePrior
    job: SuperResolution
    settings: Recipe

    @classmethod
    def of(cls, prior: CascadePrior, job: SuperResolution) -> Request:
        """Resolve the settings of a job. Raises MRCascadeError if it fits no input at all."""
        check_factor(job.factor)
        return cls(prior, job, resolve_settings(prior, job.mode, job.steps, job.samples))

    def changed(
        self, *, overwrite: bool | None = None, deidentify: Pseudonyms | None = None
    ) -> Request:
        """Return the request with options changed that do not affect the sampler."""
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
        """JSON document of everything besides the input that results depend on.

        Batch size and device are left out, because they change rounding only.
        """
        job = self.job
        mode = job.mode if isinstance(job.mode, str) else self.settings.name
        request = asdict(replace(job, mode=mode, deidentify=None))  # its salt is secret
        for key in ("batch_size", "overwrite"):
            del request[key]
        request["deidentify"] = job.deidentify is not None
        return {
            **request,
            "prior": self.prior.digest,
            "precision": self.prior.levels[0].precision,
            "sampler": self.settings.record(job.samples),
        }
