"""EDM preconditioning and EDM2's loss, in float64 against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mrcascade.networks import network_preset
from mrcascade.prior.denoiser import (
    LevelNetworks,
    condition_channels,
    diffusion_loss,
    noise_label,
)

CONDITIONAL, UNCONDITIONAL = network_preset("tiny").levels[0], network_preset("tiny").levels[2]
SIGMAS = torch.tensor([0.002, 0.05, 0.7, 3.0, 80.0], dtype=torch.float64)


def level(config=CONDITIONAL, gain: float = 0.5) -> LevelNetworks:
    torch.manual_seed(0)
    networks = LevelNetworks(config, 1).double().eval()
    with torch.no_grad():
        networks.unet.out.gain.fill_(gain)
    return networks


def inputs(conditional: bool = True) -> tuple[Tensor, Tensor | None, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    x, condition, mean = (
        torch.randn(5, c, 8, 8, dtype=torch.float64, generator=generator) for c in (1, 2, 1)
    )
    return (x, condition, mean) if conditional else (x, None, None)


class Stub(nn.Module):
    """A network that is a given function of its inputs."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Tensor) -> Tensor:
        return self.function(*arguments)


@pytest.mark.parametrize("conditional", [True, False])
def test_coefficients_are_those_of_edm(conditional: bool) -> None:
    networks = level(CONDITIONAL if conditional else UNCONDITIONAL)
    x, condition, mean = inputs(conditional)
    seen = []

    def record(network_input: Tensor, c_noise: Tensor) -> Tensor:
        seen.append((network_input, c_noise))
        return torch.full_like(x, 2.0)

    networks.unet = Stub(record)
    result = networks(x, SIGMAS, condition, mean)
    network_input, c_noise = seen[0]
    s = SIGMAS[:, None, None, None]
    m = mean if conditional else torch.zeros_like(x)
    torch.testing.assert_close(network_input[:, :1], (x - m) / (s**2 + 1).sqrt())
    torch.testing.assert_close(c_noise, SIGMAS.log() / 4)
    if conditional:
        assert torch.equal(network_input[:, 1:3], condition)
        assert torch.equal(network_input[:, 3:], mean)
    else:
        assert network_input.shape[1] == 1
    torch.testing.assert_close(result, m + (x - m) / (s**2 + 1) + s / (s**2 + 1).sqrt() * 2.0)


def test_network_input_and_target_have_unit_variance() -> None:
    # The choices behind the coefficients (Karras et al. 2022, appendix B.6), for data of
    # variance 1: Var(c_in (y + s n)) = 1 and Var((y - c_skip (y + s n)) / c_out) = 1.
    s = SIGMAS
    c_skip, c_out, c_in = 1 / (s**2 + 1), s / (s**2 + 1).sqrt(), (s**2 + 1).rsqrt()
    ones = torch.ones_like(s)
    torch.testing.assert_close(c_in**2 * (1 + s**2), ones)
    torch.testing.assert_close(((1 - c_skip) ** 2 + (c_skip * s) ** 2) / c_out**2, ones)


@pytest.mark.parametrize("conditional", [True, False])
def test_without_noise_the_input_comes_back(conditional: bool) -> None:
    networks = level(CONDITIONAL if conditional else UNCONDITIONAL)
    x, condition, mean = inputs(conditional)
    s = 1e-6
    sigma = torch.full((5,), s, dtype=torch.float64)
    with torch.no_grad():
        error = networks(x, sigma, condition, mean) - x
    # |c_out F| + |(1 - c_skip) (x - m)| <= s |F| + s^2 |x - m|, with |F| and |x - m| below 30.
    assert 0 < error.abs().max() < 30 * s


@pytest.mark.parametrize("conditional", [True, False])
def test_at_the_start_it_is_the_wiener_filter(conditional: bool) -> None:
    networks = level(CONDITIONAL if conditional else UNCONDITIONAL, gain=0.0)
    x, condition, _ = inputs(conditional)
    mean = networks.conditional_mean(condition)
    assert mean is None or not mean.any()
    with torch.no_grad():
        result = networks(x, SIGMAS, condition, mean)
    torch.testing.assert_close(result, x / (1 + SIGMAS[:, None, None, None] ** 2))


@pytest.mark.parametrize("variance", [1.0, 0.3, 4.0])
def test_optimal_denoiser_of_a_gaussian_is_representable(variance: float) -> None:
    """For a band N(m, v) the optimum m + v / (v + s^2) (x - m) needs a raw network that is a
    factor k(s) = s (v - 1) / (v + s^2) of its own input: |k| <= |v - 1| / (2 sqrt(v))."""
    networks = level()
    x, condition, mean = inputs()

    def raw(network_input: Tensor, c_noise: Tensor) -> Tensor:
        s = (4 * c_noise).exp()[:, None, None, None]
        return s * (variance - 1) / (variance + s**2) * network_input[:, :1]

    networks.unet = Stub(raw)
    s = SIGMAS[:, None, None, None]
    expected = mean + variance / (variance + s**2) * (x - mean)
    torch.testing.assert_close(networks(x, SIGMAS, condition, mean), expected)


def test_loss_is_the_formula() -> None:
    networks = level()
    clean, _, denoised = inputs()
    loss, per_image = diffusion_loss(networks, denoised, clean, SIGMAS)
    total, weighted = 0.0, []
    for i, s in enumerate(SIGMAS.tolist()):
        label = torch.tensor([math.log(s) / 4], dtype=torch.float64)
        u = networks.log_variance(label).item()
        weight = (s**2 + 1) / s**2
        weighted.append(weight * float((denoised[i] - clean[i]).square().mean()))
        total += weighted[-1] / math.exp(u) + u
    assert loss.item() == pytest.approx(total / 5, rel=1e-10)
    torch.testing.assert_close(per_image, torch.tensor(weighted, dtype=torch.float64))
    assert loss.requires_grad
    assert not per_image.requires_grad


def test_at_the_start_the_weighted_error_is_one() -> None:
    # D = x / (1 + s^2) leaves s^2 / (1 + s^2) of a unit-variance image: w times that is 1.
    networks = level(UNCONDITIONAL, gain=0.0)
    n = 20_000
    generator = torch.Generator().manual_seed(3)
    clean, noise = torch.randn(2, 1, 1, n, 1, dtype=torch.float64, generator=generator)
    sigma = torch.tensor([0.7], dtype=torch.float64)
    denoised = (clean + 0.7 * noise) / (1 + 0.7**2)
    _, per_image = diffusion_loss(networks, denoised, clean, sigma)
    assert float(per_image) == pytest.approx(1, abs=5 * math.sqrt(2 / n))  # mean of n chi^2


def test_uncertainty_is_smallest_at_the_log_of_the_error() -> None:
    networks = level()
    clean, _, denoised = inputs()
    u = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    networks.log_variance = Stub(lambda c_noise: u)
    _, error = diffusion_loss(networks, denoised, clean, SIGMAS)
    with torch.no_grad():
        u.copy_(error.log())
    loss, _ = diffusion_loss(networks, denoised, clean, SIGMAS)
    loss.backward()
    torch.testing.assert_close(u.grad, torch.zeros_like(u), rtol=0, atol=1e-12)
    assert loss.item() == pytest.approx(1 + float(error.log().mean()))


def test_noise_label() -> None:
    assert noise_label(torch.tensor([1.0, math.e**4])).tolist() == pytest.approx([0, 1])


def test_condition_channels_append_a_map_of_the_error() -> None:
    coarse = torch.randn(3, 2, 4, 5)
    each = condition_channels(coarse, torch.tensor([0.0, 0.5, 0.9]))
    assert each.shape == (3, 3, 4, 5)
    assert torch.equal(each[:, :2], coarse)
    assert each[1, 2].unique().tolist() == [0.5]
    assert torch.equal(condition_channels(coarse, 0.5)[:, 2], torch.full((3, 4, 5), 0.5))


@pytest.mark.parametrize("channels", [1, 2])
def test_channel_counts(channels: int) -> None:
    networks = LevelNetworks(CONDITIONAL, channels)
    x = torch.randn(2, channels, 6, 6)
    condition = condition_channels(x, 0.2)
    mean = networks.conditional_mean(condition)
    assert mean.shape == x.shape
    assert networks(x, torch.ones(2), condition, mean).shape == x.shape
    unconditional = LevelNetworks(UNCONDITIONAL, channels)
    assert unconditional.conditional_mean(None) is None
    assert unconditional(x, torch.ones(2), None, None).shape == x.shape
