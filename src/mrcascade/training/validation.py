"""Validation errors of a level."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.sampling.noise import NoiseSource, image_seed
from mrcascade.training.config import TrainConfig
from mrcascade.training.level_data import LevelData
from mrcascade.training.measurements import DrawnMeasurements
from mrcascade.training.noise import largest_condition_error
from mrcascade.training.patches import Batch

VALIDATION_SIGMAS = (0.05, 0.2, 0.8, 3.0, 12.0, 80.0)
VALIDATION_PATCHES = 48


@torch.no_grad()
def validate(
    networks: LevelNetworks,
    data: LevelData,
    level: int,
    config: TrainConfig,
    patches: int | None = None,
) -> dict[str, float]:
    """Return errors relative to the band's energy, on fixed patches and noise.

    patches: number of patches; None for ``VALIDATION_PATCHES``.

    The denoiser has one error per noise level ("s0.05", ...). Conditional levels add errors of the
    regression branch: "mean" with exact conditions, and "mean_degraded" at the middle of the range
    of condition errors. For these the data know nothing of the band. If conditions hold data,
    "mean_one_axis" belongs to 4x along one axis. Networks for thick slices have one error alone,
    "mean_slices", of slices 4 samples apart.
    """
    assert data.validation is not None
    device = next(networks.parameters()).device
    networks.eval()
    raw = data.validation.raw(patches or VALIDATION_PATCHES, np.random.default_rng(0))

    kinds = data.measurements

    def drawn(number: int) -> NoiseSource:
        return NoiseSource([image_seed(0, i, number) for i in range(len(raw))])

    def pairs(t: float, measured: DrawnMeasurements | None) -> Batch:
        error = torch.full((len(raw),), t, device="cpu")
        return data.batch(raw, error, config, drawn(0), measured).to(device)

    def mean(batch: Batch) -> Tensor | None:
        return networks.conditional_mean(batch.condition, batch.unknown)

    if kinds is not None and config.slices:
        batch = pairs(0.0, kinds.thick_slices(len(raw)))
        return _relative({"mean_slices": mean(batch)}, batch.band)
    nothing = None if kinds is None else kinds.own_kernel(len(raw))
    exact = pairs(0.0, nothing)
    band, regressed = exact.band, mean(exact)
    noise = drawn(1).randn(band.shape).to(device)
    estimates: dict[str, Tensor | None] = {} if regressed is None else {"mean": regressed}
    for s in VALIDATION_SIGMAS if networks.unet is not None else ():
        sigma = band.new_full((len(band),), s)
        estimates[f"s{s:g}"] = networks(band + s * noise, sigma, exact.condition, regressed)
    if networks.mean is not None:
        degraded = pairs(largest_condition_error(level, config) / 2, nothing)
        estimates["mean_degraded"] = mean(degraded)
        if kinds is not None:
            estimates["mean_one_axis"] = mean(pairs(0.0, kinds.one_axis(len(raw))))
    return _relative(estimates, band)


def _relative(estimates: dict[str, Tensor | None], band: Tensor) -> dict[str, float]:
    """Return the squared errors of estimates over the band's energy."""
    energy = band.square().mean()
    return {
        k: float((v - band).square().mean() / energy) for k, v in estimates.items() if v is not None
    }
