"""Options of an evaluation on thick slices, and what they say of its methods and rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcascade.devices.precision import resolve_precision
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.isotropic.methods import VolumeMethod, choose_volume_methods
from mrcascade.evaluation.isotropic.volumes import Slicing
from mrcascade.evaluation.job import SAMPLES, NoiseHandling
from mrcascade.evaluation.ledger import SPREAD, Layout
from mrcascade.evaluation.methods import check_counts
from mrcascade.networks.compiled import Compiler
from mrcascade.operators.profile import GAUSSIAN, SliceProfile
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.format import prior_folder
from mrcascade.restore.volume import ThickSlices
from mrcascade.sampling import Recipe

#: Thickness over distance beyond which a number is taken for millimetres.
THICKEST = 2.0
#: Scores of a volume.
VOLUME_SCORES = ("psnr", "ssim", "gain", "power")
#: A row per volume with thick slices along one axis.
VOLUMES = Layout(
    "axis",
    "axes",
    "volume",
    ("file", "axis", "anatomy", "method", "factor", "profile", "thickness", "noise"),
    VOLUME_SCORES,
    ("residual", "seconds", "cpu_seconds", "nfe", "gflop", SPREAD),
)


@dataclass(frozen=True)
class IsotropicEvaluation:
    """Options of ``evaluate --isotropic``; the fields have the names of the command's options."""

    data: Path
    factor: float  # slice distance in samples: --isotropic
    methods: tuple[str, ...] = ("cubic", "lsq", "mean")
    split: str = "test"
    axes: tuple[int, ...] | None = None  # axes along which slices are thick; None: the slice axis
    size: int = 128
    profile: SliceProfile = GAUSSIAN
    thickness: float = 1.0  # over the slice distance
    noise: float = 0.0  # fraction of the slices' robust maximum
    noise_handling: NoiseHandling = "known"
    prior: str | Path = "mr-small"
    steps: int | None = None
    samples: int | None = None  # K of methods that average samples
    seed: int = 0
    batch_size: int = 4
    device: str = "cpu"
    precision: str = "float32"
    compile: bool = False
    workers: int = 1
    scheduler: str | None = None  # address of a Dask scheduler, whose workers do the work
    overwrite: bool = False

    @property
    def here(self) -> bool:
        """Whether this process does all the work."""
        return self.workers == 1 and self.scheduler is None

    @property
    def slicing(self) -> Slicing:
        """The forward model."""
        known = self.noise_handling == "known"
        return Slicing(self.factor, self.size, self.profile, self.thickness, self.noise, known)

    @property
    def averaged(self) -> int:
        """K of methods that average samples."""
        return SAMPLES if self.samples is None else self.samples


def checked_volume_methods(job: IsotropicEvaluation) -> dict[str, VolumeMethod]:
    """Return the methods by name, each once.

    Raises MRCascadeError for unknown methods, and for options out of range or without effect.
    """
    methods = choose_volume_methods(job.methods)
    most = ThickSlices.MOST
    if not 1 < job.factor <= most:
        raise MRCascadeError(f"--isotropic {job.factor:g}: give a factor above 1 and up to {most}")
    if not 0 < job.thickness <= THICKEST:
        raise MRCascadeError(
            f"slice thickness {job.thickness:g}: give it over the slice distance, above 0 and up"
            f" to {THICKEST:g}, not in mm"
        )
    check_counts(methods, job.steps, job.samples)
    return methods


def load_prior(
    methods: Mapping[str, VolumeMethod], job: IsotropicEvaluation, here: bool = True
) -> CascadePrior | None:
    """Load the prior of the modes; None if no method has one.

    here: whether its networks will work in this process. Otherwise they stay on the CPU.

    Raises MRCascadeError if the prior models complex images.
    """
    if all(m.mode is None for m in methods.values()):
        return None
    precision = job.precision if here else resolve_precision(job.precision, job.device)
    device = job.device if here else "cpu"
    prior = CascadePrior.from_pretrained(prior_folder(job.prior), device, precision)
    if prior.channels != 1:
        raise MRCascadeError(
            f"prior {prior.name!r} models complex images, and --isotropic compares magnitudes; use"
            " a magnitude prior, such as mr-small"
        )
    return prior.compile(Compiler()) if job.compile and here else prior


def settings_of(method: VolumeMethod, job: IsotropicEvaluation, prior: CascadePrior) -> Recipe:
    """Return the sampler settings of a mode. Raises MRCascadeError if they do not fit the prior."""
    assert method.mode is not None  # other methods have none
    return method.mode.settings(prior, job.steps, job.averaged)


def volume_settings(
    method: VolumeMethod, job: IsotropicEvaluation, prior: CascadePrior | None
) -> dict[str, Any]:
    """Return the settings that the rows of one method depend on besides the common ones."""
    if method.mode is None:
        return {}
    assert prior is not None
    samples = job.averaged if method.averaged else 1
    settings: dict[str, Any] = {
        "prior": prior_folder(job.prior).resolve().name,
        "precision": prior.levels[0].precision,
        "prior_sha256": prior.identity,
        "sampler": settings_of(method, job, prior).record(samples),
    }
    if method.sampled:
        settings["steps"] = job.steps
    if method.averaged:
        settings["samples"] = samples
    return settings
