"""Survey of an evaluation's volumes, before any work: which are suitable, and facts about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import TestFile, file_seed
from mrcascade.evaluation.isotropic.job import IsotropicEvaluation
from mrcascade.evaluation.isotropic.scores import VolumeScorer
from mrcascade.evaluation.isotropic.volumes import (
    ThickCase,
    ThinVolume,
    UnsuitableVolumeError,
    read_thin_volume,
    simulate_thick,
)
from mrcascade.messages.faults import naming
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore.volume import VolumePlan
from mrcascade.sampling import Recipe


@dataclass(frozen=True)
class SurveyedVolume:
    """Facts about a suitable volume.

    Attributes:
        file: the file.
        sha256: SHA-256 of the file.
        axes: array axes along which slices are simulated.
        zero: value of no signal in the file.
    """

    file: TestFile
    sha256: str
    axes: tuple[int, ...]
    zero: float = 0.0


@dataclass(frozen=True)
class VolumeSurvey:
    """Volumes of an evaluation, and the reason for each file that is none."""

    volumes: list[SurveyedVolume]
    left_out: dict[str, str]

    @property
    def axes(self) -> dict[str, list[int]]:
        """File -> axes along which its slices are thick."""
        return {v.file.name: list(v.axes) for v in self.volumes}


def case_of(volume: ThinVolume, file: TestFile, axis: int, job: IsotropicEvaluation) -> ThickCase:
    """Return the thick slices of a volume, with the noise of the job's seed."""
    return simulate_thick(volume, axis, job.slicing, case_seed(job.seed, file.name, axis))


def case_seed(seed: int, name: str, axis: int) -> int:
    """Return the seed of a volume with thick slices along an axis."""
    return file_seed(seed, f"{name} along {axis}")


def survey_volumes(
    files: Sequence[TestFile],
    job: IsotropicEvaluation,
    modes: Sequence[tuple[CascadePrior, Recipe]],
) -> VolumeSurvey:
    """Read every file, so that errors appear before the work starts.

    Args:
        files: the test files.
        job: the evaluation.
        modes: prior and settings of each method that has a prior.

    Raises:
        MRCascadeError: a file cannot be read, the prior cannot restore a volume, or no file is
            suitable.
    """
    volumes, left_out = [], dict[str, str]()
    for file in files:
        with naming(file.name):
            try:
                volumes.append(_surveyed(file, job, modes))
            except UnsuitableVolumeError as error:
                left_out[file.name] = str(error)
    if not volumes:
        name, reason = next(iter(left_out.items()))
        raise MRCascadeError(
            f"{job.data}: no near-isotropic volume among {len(files)} files in split"
            f" {job.split!r} ({name}: {reason})"
        )
    return VolumeSurvey(volumes, left_out)


def _surveyed(
    file: TestFile, job: IsotropicEvaluation, modes: Sequence[tuple[CascadePrior, Recipe]]
) -> SurveyedVolume:
    volume = read_thin_volume(file)
    axes = (volume.axis,) if job.axes is None else job.axes
    for axis in axes:
        case = case_of(volume, file, axis, job)
        VolumeScorer(case)
        for prior, settings in modes:
            shape = case.truth.shape[1], case.truth.shape[2]
            VolumePlan.of(prior, case.thick, shape, case.noise, settings)
    return SurveyedVolume(file, volume.image.sha256, axes, volume.zero)


def isotropic_settings(job: IsotropicEvaluation, survey: VolumeSurvey) -> dict[str, Any]:
    """Return the settings that every row depends on.

    The path of the folder, the device and the batch size are left out.
    """
    profile: dict[str, Any] = {"name": job.profile.name}
    if job.profile.positions is not None:
        profile["positions"] = list(job.profile.positions)
        profile["weights"] = list(job.profile.weights)
    zeros = {v.file.name: v.zero for v in survey.volumes if v.zero}
    return {
        "isotropic": job.factor,
        "split": job.split,
        "size": job.size,
        "profile": profile,
        "thickness": job.thickness,
        "noise": job.noise,
        "noise_handling": job.noise_handling,
        "seed": job.seed,
        "axes": survey.axes,
        "files": {v.file.name: v.sha256 for v in survey.volumes},
        **({"zero": zeros} if zeros else {}),
    }
