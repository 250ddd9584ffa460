"""Restoration of a volume of thick slices by a plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcascade.arrays.intensity import Intensity
from mrcascade.measurement.border import Margins
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore.restorer import Restorer
from mrcascade.restore.settings import check_samples
from mrcascade.restore.volume.plan import VolumePlan
from mrcascade.restore.volume.thick import ENDS, along, check_volume, projected

#: Number of planes that are restored at a time.
PLANES = 32


@dataclass(frozen=True)
class RestoredVolume:
    """A volume with thin slices, in the intensities of the measurement.

    Attributes:
        mean: (n, h, w) mean of the samples; in mode "mean" the estimate of the posterior mean.
        sample: (n, h, w) first sample.
        std: (n, h, w) standard deviation over the samples (divisor K - 1), times the settings'
            ``spread``; None for one sample.
        residual: ``||y - A mean|| / ||y||`` of values above the zero level.
        evaluations: level -> network evaluations per plane and sample.
        seconds: wall time.
        settings: every value that the result depends on, apart from prior and measurement;
            sampler settings without effect are left out.
    """

    mean: np.ndarray
    sample: np.ndarray
    std: np.ndarray | None
    residual: float
    evaluations: dict[int, int]
    seconds: float
    settings: dict[str, Any]


class VolumeRestorer:
    """Restores volumes of thick slices with a prior, by a plan that `VolumePlan.of` made for it.

    Example:
        >>> import numpy as np, mrcascade
        >>> from mrcascade.restore import resolve_settings
        >>> from mrcascade.restore.volume import ThickSlices, VolumePlan, VolumeRestorer
        >>> y = np.random.default_rng(0).random((8, 20, 16), np.float32)
        >>> prior = mrcascade.CascadePrior.from_pretrained("mr-small")
        >>> settings = resolve_settings(prior, "mean")
        >>> plan = VolumePlan.of(prior, ThickSlices(8, 24), (20, 16), 0.0, settings)
        >>> VolumeRestorer(prior, plan)(y, mrcascade.Intensity.of(y)).mean.shape
        (24, 20, 16)
    """

    def __init__(self, prior: CascadePrior, plan: VolumePlan) -> None:
        self.prior, self.plan = prior, plan

    def __call__(
        self,
        measurement: np.ndarray,
        intensity: Intensity,
        *,
        samples: int = 1,
        seed: int = 0,
        batch_size: int = 1,
        progress: Callable[[int], None] = lambda done: None,
    ) -> RestoredVolume:
        """Restore a volume.

        Args:
            measurement: (S, h, w), real; complex for a prior with two channels.
            intensity: intensity of the volume.
            samples: K posterior samples of the volume; 1 for settings that give one result.
            seed: seed of the random numbers. Each sample has its own generator, so results do not
                depend on the batch size or on the number of samples, apart from rounding.
            batch_size: number of planes that pass through the networks together.
            progress: called with the number of planes that are done, of ``plan.work(samples)``.

        Raises:
            MRCascadeError: the measurement does not fit the plan, or is not finite; or the
                settings cannot give the samples.
        """
        started = time.perf_counter()
        thick, margin = self.plan.thick, self.plan.thick.margin
        check_volume(measurement, thick)
        check_samples(samples, self.plan.settings)
        unit = Intensity(1.0)
        y = intensity.above_zero(measurement) / intensity.scale
        whole = Margins(rows=(ENDS, ENDS)).extend(y.reshape(1, len(y), -1))
        whole = whole.reshape(-1, *y.shape[1:])
        total = np.zeros((thick.samples, *y.shape[1:]), y.dtype)
        evaluations: dict[int, int] = {}
        done = 0
        for plan, axis in zip(self.plan.planes, (2, 1), strict=True):
            restorer = Restorer(self.prior, plan)
            for start in range(0, y.shape[axis], PLANES):
                some = [slice(None)] * 3
                some[axis] = slice(start, start + PLANES)
                planes = np.moveaxis(whole[tuple(some)], axis, 0)
                result = restorer(np.ascontiguousarray(planes), unit, batch_size=batch_size)
                inside = result.mean[:, margin : margin + thick.samples]
                total[tuple(some)] += np.moveaxis(inside, 0, axis) / len(self.plan.planes)
                evaluations = result.evaluations
                done += len(planes)
                progress(done)
        matrix = thick.matrix()
        if self.plan.exact:
            total = projected(total, y, matrix)
        missed = np.linalg.norm(y - along(matrix, total)) / np.linalg.norm(y)
        mean = intensity.restored(total)
        return RestoredVolume(
            mean=mean,
            sample=mean,
            std=None,
            residual=float(missed),
            evaluations=evaluations,
            seconds=time.perf_counter() - started,
            settings=self._record(intensity, samples, seed),
        )

    def _record(self, intensity: Intensity, samples: int, seed: int) -> dict[str, Any]:
        plan, thick = self.plan, self.plan.thick
        return {
            **plan.settings.record(samples),
            "steps_nominal": plan.planes[0].cascade.steps_nominal,
            "noise": plan.noise,
            "samples": samples,
            "seed": seed,
            "scale": intensity.scale,
            **({"zero": intensity.zero} if intensity.zero else {}),
            "prior": self.prior.name,
            "operator": plan.planes[0].operator.name,
            "slices": (thick.slices, thick.samples),
            "profile": thick.profile.name,
            "thickness": thick.thickness,
        }
