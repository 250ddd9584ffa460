"""Restoration of a volume of thick slices by a plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mrcascade.arrays.channels import from_channels, to_channels
from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.measurement.border import Margins
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore.moments import Moments
from mrcascade.restore.restorer import as_stack
from mrcascade.restore.settings import check_samples
from mrcascade.restore.volume.plan import VolumePlan
from mrcascade.restore.volume.thick import ENDS, along, check_volume, projected
from mrcascade.sampling import NoiseSource, image_seed
from mrcascade.sampling.volume import VolumeResult, volume_mean, volume_sample


@dataclass(frozen=True)
class RestoredVolume:
    """A volume with thin slices, in the intensities of the measurement.

    Attributes:
        mean: (n, h, w) mean of the samples; in mode "mean" the estimate of the posterior mean.
        sample: (n, h, w) first sample.
        std: (n, h, w) standard deviation over the samples (divisor K - 1), times the settings'
            ``spread``; None for one sample.
        residual: ``||y - A mean|| / ||y||`` of values above the zero level.
        evaluations: level -> network evaluations per sample; in one, all planes (slices, rows) or
            all planes (slices, columns) pass through the network.
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
        plan, thick = self.plan, self.plan.thick
        check_volume(measurement, thick)
        check_samples(samples, plan.settings)
        given = as_stack(measurement)
        y = intensity.above_zero(given)
        if batch_size < 1:
            raise MRCascadeError("the batch size must be 1 or more")
        if not intensity.scale > 0:
            raise MRCascadeError("the measurement is zero almost everywhere; nothing to restore")
        y = y / intensity.scale
        count = _Count(progress, plan.work(samples))
        extended = self._extended(y)
        moments = Moments(thick.samples, samples, wide=False)
        work: dict[str, Any] = {"batch_size": batch_size, "worked": count.add}
        regressed = self._mean(extended, work)
        for k in range(samples):
            source = NoiseSource([image_seed(seed, 0, k)])
            found = self._restored(extended, source, regressed, work)
            mean = self._inside(found.volume, y)
            evaluations = found.evaluations
            del found  # volumes are large
            if samples > 1:
                for plane, image in enumerate(mean):
                    moments.add(plane, image)
                mean = moments.mean
        missed = np.linalg.norm(y - along(thick.matrix(), mean)) / np.linalg.norm(y)
        count.finish()
        restored = intensity.restored(mean)
        spread = intensity.scale * plan.settings.spread
        return RestoredVolume(
            mean=restored,
            sample=restored if samples == 1 else intensity.restored(moments.first),
            std=None if samples == 1 else moments.std() * spread,
            residual=float(missed),
            evaluations=evaluations,
            seconds=time.perf_counter() - started,
            settings=self._record(intensity, samples, seed),
        )

    def _extended(self, y: np.ndarray) -> Tensor:
        """Return y (S, h, w) with more slices at each end, as (C, S', h, w)."""
        whole = Margins(rows=(ENDS, ENDS)).extend(y.reshape(1, len(y), -1))
        return to_channels(whole.reshape(1, -1, *y.shape[1:]), self.prior.device)[0]

    def _mean(self, y: Tensor, work: dict[str, Any]) -> VolumeResult | None:
        """Return the mean with margins, where it comes once for all samples.

        That of a mode without samples, or of the network for thick slices.
        """
        plan, slices = self.plan.cascade, self.prior.slices
        if slices is not None:
            return volume_mean(slices, plan, y, plans=self.plan.mean_plans, **work)
        return None if plan.settings.draws else volume_mean(self.prior, plan, y, **work)

    def _restored(
        self, y: Tensor, noise: NoiseSource, mean: VolumeResult | None, work: dict[str, Any]
    ) -> VolumeResult:
        """Return one sample, or the mean, with margins."""
        plan = self.plan.cascade
        if not plan.settings.draws:
            assert mean is not None
            return mean
        if mean is None:
            return volume_sample(self.prior, plan, y, noise, **work)
        found = volume_sample(self.prior, plan, y, noise, mean=mean.volume, **work)
        evaluations = {i: n + mean.evaluations.get(i, 0) for i, n in found.evaluations.items()}
        return found._replace(evaluations=evaluations)

    def _inside(self, volume: Tensor, y: np.ndarray) -> np.ndarray:
        """Return a volume (C, n', h, w) without margins, (n, h, w), that meets exact data y."""
        thick = self.plan.thick
        inside = from_channels(volume[None, :, thick.margin : thick.margin + thick.samples])[0]
        if self.plan.exact:
            inside = projected(inside, y, thick.matrix())
        return inside.astype(y.dtype, copy=False)

    def _record(self, intensity: Intensity, samples: int, seed: int) -> dict[str, Any]:
        plan, thick = self.plan, self.plan.thick
        return {
            **plan.settings.record(samples),
            "steps_nominal": plan.cascade.finest.steps_nominal,
            "noise": plan.noise,
            "samples": samples,
            "seed": seed,
            "scale": intensity.scale,
            **({"zero": intensity.zero} if intensity.zero else {}),
            "prior": self.prior.name,
            **({} if self.prior.slices is None else {"slices_prior": self.prior.slices.name}),
            "operator": plan.cascade.finest.operator.name,
            "slices": (thick.slices, thick.samples),
            "profile": thick.profile.name,
            "thickness": thick.thickness,
        }


class _Count:
    """Work that is done, in whole planes."""

    def __init__(self, progress: Callable[[int], None], total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0.0

    def add(self, work: float) -> None:
        self._done += work
        self._progress(min(int(self._done), self._total))

    def finish(self) -> None:
        self._progress(self._total)
