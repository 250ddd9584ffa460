"""Denoiser of one level of the prior: EDM preconditioning around the level's networks.

All values in this module are in *standardised* units, in which the level's training band has mean
zero and standard deviation one, so ``sigma_data = 1``. ``prior.LevelPrior`` converts from and to
image units.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mrcascade.networks import LevelConfig, LogVariance, MeanNetwork, UNet
from mrcascade.prior.local_phase import local_phase, with_phase, without_phase

#: Number of maps about the data's knowledge of a band: known shares of its three parts, and noise.
KNOWLEDGE = 4


@dataclass(frozen=True)
class ChainFeatures:
    """What all evaluations of a chain have in common, computed once (`LevelNetworks.features`).

    Attributes:
        mean: output of the regression branch, (N, channels, H, W); None without a condition.
        phase: local phase that the networks do not see, (N, 2, H, W); None if they see all.
        entered: part of the U-Net's first convolution that condition and mean make up
            (`UNet.forward` without labels); None without a condition.
    """

    mean: Tensor | None
    phase: Tensor | None = None
    entered: Tensor | None = None


class LevelNetworks(nn.Module):
    """U-Net, regression branch (conditional levels) and loss uncertainty of one level.

    The denoiser is ``D(x; s, c) = m + c_skip (x - m) + c_out F(c_in (x - m), c_noise, c, m)``
    with the coefficients of Karras et al. 2022 (table 1) and ``m = m(c)`` the output of the
    regression branch (zero without a condition). At large ``s`` it tends to ``m`` plus a
    correction by the U-Net, so the conditional mean is right from the first training steps.

    Channels of a condition are the coarser image on this grid (``channels``), then one map with the
    condition error ``t`` in [0, 1), the unknown share of the coarser band. With ``config.data``,
    the ``channels + KNOWLEDGE`` maps of ``known_channels`` follow. The branch's prediction then
    takes a data step: its known component is replaced by the estimate in these maps.

    With ``config.demodulated``, for two channels, both networks see all images without the local
    phase of the condition, and their outputs get it back (`local_phase`). ``offset`` is then taken
    off the real part of the coarser image that they see, whose mean is not zero.
    """

    offset: Tensor

    def __init__(self, config: LevelConfig, channels: int) -> None:
        super().__init__()
        if config.demodulated and channels != 2:
            raise ValueError("only levels of complex images have a phase to be demodulated")
        self.channels = channels
        self.data = config.data
        self.demodulated = config.demodulated
        if config.demodulated:
            self.register_buffer("offset", torch.zeros(()))
        #: Number of channels of a condition; 0 for an unconditional level.
        self.condition_channels = 0
        if config.mean is not None:
            known = channels + KNOWLEDGE if config.data else 0
            self.condition_channels = channels + 1 + known
        width = self.condition_channels
        unet_inputs = channels + (width + channels if width else 0)
        self.unet = UNet(config.unet, unet_inputs, channels) if config.unet else None
        self.mean = MeanNetwork(config.mean, width, channels) if config.mean else None
        self.log_variance = LogVariance() if config.unet else None

    def conditional_mean(
        self, condition: Tensor | None, unknown: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor | None:
        """Return the output of the regression branch, (N, channels, H, W).

        Args:
            condition: (N, condition_channels, H, W); None for an unconditional level, which has
                no mean.
            unknown: as in ``KnownBand``; None if nothing is known.
        """
        if self.mean is None or condition is None:
            return None
        phase = self._phase(condition)
        if phase is None:
            mean: Tensor = self.mean(condition)
        else:
            mean = with_phase(self.mean(self._without_phase(condition, phase)), phase)
        if unknown is None:
            return mean
        known = condition[:, self.channels + 1 : 2 * self.channels + 1]
        return unknown(mean.to(known.dtype)) + known

    def forward(
        self, x: Tensor, sigma: Tensor, condition: Tensor | None, mean: Tensor | None
    ) -> Tensor:
        """Denoise ``x`` (N, channels, H, W) at noise levels ``sigma`` (N,).

        A level without a U-Net returns ``x`` unchanged.
        """
        if self.unet is None:
            return x
        phase = self._phase(condition)
        fixed = self._fixed_inputs(condition, mean, phase)

        def network(noisy: Tensor, label: Tensor) -> Tensor:
            result: Tensor = self.unet(torch.cat([noisy, *fixed], 1), label)  # type: ignore[misc]
            return result

        return _preconditioned(network, x, sigma, mean, phase)

    @torch.no_grad()
    def features(self, condition: Tensor | None, mean: Tensor | None) -> ChainFeatures:
        """Return the features of a chain, for `denoise`."""
        phase = self._phase(condition)
        fixed = self._fixed_inputs(condition, mean, phase)
        if self.unet is None or not fixed:
            return ChainFeatures(mean, phase)
        return ChainFeatures(mean, phase, self.unet(torch.cat(fixed, 1)))

    def denoise(self, x: Tensor, sigma: Tensor, features: ChainFeatures) -> Tensor:
        """Return the result of `forward` up to rounding, given the features of the condition."""
        unet, entered = self.unet, features.entered
        if unet is None:
            return x
        inputs = () if entered is None else (entered,)
        # Without the records that a later gradient would need.
        plain = nullcontext() if torch.is_grad_enabled() else torch.inference_mode()

        def network(noisy: Tensor, label: Tensor) -> Tensor:
            with plain:
                result: Tensor = unet(noisy, label, *inputs)
            return result

        return _preconditioned(network, x, sigma, features.mean, features.phase)

    def _fixed_inputs(
        self, condition: Tensor | None, mean: Tensor | None, phase: Tensor | None
    ) -> list[Tensor]:
        """Return the inputs of the U-Net beside the noisy image."""
        if condition is None or mean is None:
            return []
        if phase is None:
            return [condition, mean]
        return [self._without_phase(condition, phase), without_phase(mean, phase)]

    def _phase(self, condition: Tensor | None) -> Tensor | None:
        """Return the phase that the networks do not see; None if they see all."""
        if condition is None or not self.demodulated:
            return None
        return local_phase(condition[:, :2])

    def _without_phase(self, condition: Tensor, phase: Tensor) -> Tensor:
        """Return a condition as the networks see it: its images without the phase."""
        coarse = without_phase(condition[:, :2], phase)
        coarse = torch.cat([coarse[:, :1] - self.offset, coarse[:, 1:], condition[:, 2:3]], 1)
        if not self.data:
            return coarse
        return torch.cat([coarse, without_phase(condition[:, 3:5], phase), condition[:, 5:]], 1)


def _preconditioned(
    network: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    sigma: Tensor,
    mean: Tensor | None,
    phase: Tensor | None,
) -> Tensor:
    """Return the denoised image, given the raw network as a function of noisy image and label."""
    s = sigma[:, None, None, None]
    c_skip, c_in = 1 / (s**2 + 1), (s**2 + 1).rsqrt()
    residual = x if mean is None else x - mean
    noisy = c_in * residual
    if phase is None:
        f = network(noisy, noise_label(sigma))
    else:
        f = with_phase(network(without_phase(noisy, phase), noise_label(sigma)), phase)
    denoised = c_skip * residual + (s * c_in) * f
    return denoised if mean is None else mean + denoised


def noise_label(sigma: Tensor) -> Tensor:
    """Return ``c_noise = ln(sigma) / 4`` (Karras et al. 2022, table 1)."""
    return sigma.log() / 4


def condition_channels(
    coarse: Tensor, error: Tensor | float, known: Tensor | None = None
) -> Tensor:
    """Return the channels of a condition.

    Args:
        coarse: (N, C, H, W), standardised coarse image on the level's grid.
        error: condition error, a scalar or (N,), which becomes a map.
        known: maps of ``known_channels`` for levels that take them.
    """
    level = torch.as_tensor(error, dtype=coarse.dtype, device=coarse.device)
    channels = [coarse, level.reshape(-1, 1, 1, 1).expand_as(coarse[:, :1])]
    return torch.cat(channels if known is None else [*channels, known], 1)


def known_channels(band: Tensor, numbers: Tensor) -> Tensor:
    """Return the maps of the data's knowledge about a band, (N, C + KNOWLEDGE, H, W).

    All maps are zero if nothing is known.

    Args:
        band: (N, C, H, W), best linear estimate of the band from the data, standardised.
        numbers: (N, KNOWLEDGE) or (KNOWLEDGE,), which become constant maps: the known shares of
            the band's parts that are fine along the row index, the column index and both
            (``operators.band``), then the share of noise in the measured components.
    """
    maps = numbers.to(band).reshape(-1, KNOWLEDGE, 1, 1)
    return torch.cat([band, maps.expand(len(band), -1, *band.shape[-2:])], 1)


def nothing_known(like: Tensor) -> Tensor:
    """Return the maps of ``known_channels`` for an unknown band with the shape of ``like``."""
    return known_channels(torch.zeros_like(like), like.new_zeros(KNOWLEDGE))


def diffusion_loss(
    networks: LevelNetworks, denoised: Tensor, clean: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the EDM2 loss with learned uncertainty (Karras et al. 2024, eq. 14 and 21).

    Returns:
        The loss to minimise, averaged per element, and the plain weighted error per image (N,),
        detached.
    """
    weight = (sigma**2 + 1) / sigma**2
    error = weight * (denoised - clean).square().mean((1, 2, 3))
    assert networks.log_variance is not None  # every level with a U-Net has it
    u = networks.log_variance(noise_label(sigma))
    return (error / u.exp() + u).mean(), error.detach()
