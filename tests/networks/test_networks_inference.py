"""What inference computes once, or with fewer products, equals the plain network."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrcascade.networks import LevelConfig, UNet, UNetConfig, count_flop, fold, network_preset
from mrcascade.networks.layers import MPConv, UpsampledConv
from mrcascade.prior.denoiser import KNOWLEDGE, LevelNetworks
from mrcascade.prior.level import LevelPrior, LevelSpec, LevelStatistics

TINY = network_preset("tiny").levels
LEVELS = [
    (1, TINY[0]),
    (1, LevelConfig(TINY[0].unet, TINY[0].mean, data=True)),
    (2, TINY[0]),
    (2, LevelConfig(TINY[0].unet, TINY[0].mean, data=True, demodulated=True)),
    (1, TINY[2]),
]
# Sums of the same products in another order: up to 64 * 9 terms in each of some 20 layers.
ROUNDING = {"rtol": 1e-9, "atol": 1e-9}  # float64


def alive(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights, and no gain or bias at its start of zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim < 2 or name.endswith("tail.weight"):
                value.copy_(0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return network


def drawn(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 4)])
def test_a_folded_convolution_upsamples_by_itself(size: tuple[int, int]) -> None:
    layer = UpsampledConv(6, 5, 3, scale=1.7).double().eval()
    x = drawn(2, 6, *size)
    expected = layer(F.interpolate(x, scale_factor=2, mode="nearest"))
    assert torch.allclose(fold(copy.deepcopy(layer))(x), expected, **ROUNDING)
    again = fold(fold(layer))
    assert torch.allclose(again(x), expected, **ROUNDING)


def test_it_takes_four_products_instead_of_nine() -> None:
    plain, small = fold(MPConv(6, 5, 3)), fold(UpsampledConv(6, 5, 3))
    costs = count_flop(plain, torch.empty(1, 6, 16, 16)), count_flop(small, torch.empty(1, 6, 8, 8))
    assert costs[0] * 4 == costs[1] * 9


@pytest.mark.parametrize("attention", [(), (0,)])
def test_a_folded_network_is_the_plain_one(attention: tuple[int, ...]) -> None:
    network = alive(UNet(UNetConfig(8, (1, 2, 3), 1, attention, 2), 3, 2)).double().eval()
    x, labels = drawn(2, 3, 13, 18), drawn(2, seed=2)
    expected = network(x, labels)
    assert expected.std() > 0.01
    assert torch.allclose(fold(network)(x, labels), expected, **ROUNDING)


def test_gradients_pass_through_a_folded_network() -> None:
    network = alive(UNet(UNetConfig(8, (1, 2), 1, (), 2), 1, 1)).double().eval()
    gradients = []
    for _ in range(2):
        x = drawn(1, 1, 12, 8).requires_grad_()
        network(x, torch.zeros(1, dtype=torch.float64)).square().sum().backward()
        gradients.append(x.grad)
        network = fold(network)
    assert gradients[0].std() > 0.01
    assert torch.allclose(*gradients, **ROUNDING)


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("stem", [1, 2])
def test_channels_that_stay_enter_the_network_once(stem: int, folded: bool) -> None:
    network = alive(UNet(UNetConfig(8, (1, 2), 1, (), stem), 5, 2)).double().eval()
    network = fold(network) if folded else network
    x, labels = drawn(2, 5, 13, 9), drawn(2, seed=2)
    found = network(x[:, :2], labels, network(x[:, 2:]))
    assert torch.allclose(found, network(x, labels), **ROUNDING)


def conditioned(
    channels: int, config: LevelConfig, folded: bool
) -> tuple[LevelNetworks, Tensor | None]:
    networks = alive(LevelNetworks(config, channels)).double().eval()
    networks = fold(networks) if folded else networks
    if config.mean is None:
        return networks, None
    width = channels + 1 + (channels + KNOWLEDGE if config.data else 0)
    return networks, drawn(2, width, 12, 18, seed=3)


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize(("channels", "config"), LEVELS)
def test_a_chain_with_features_is_the_plain_denoiser(
    channels: int, config: LevelConfig, folded: bool
) -> None:
    networks, condition = conditioned(channels, config, folded)
    with torch.no_grad():
        mean = networks.conditional_mean(condition)
        features = networks.features(condition, mean)
        for seed, sigma in ((4, (0.1, 0.1)), (5, (3.0, 0.5))):
            x, levels = drawn(2, channels, 12, 18, seed=seed), torch.tensor(sigma).double()
            expected = networks(x, levels, condition, mean)
            found = networks.denoise(x, levels, features)
            assert torch.allclose(found, expected, **ROUNDING)
            assert not found.is_inference()


@pytest.mark.parametrize(("channels", "config"), [LEVELS[0], LEVELS[3]])
def test_a_chain_with_features_has_the_gradient_of_the_plain_denoiser(
    channels: int, config: LevelConfig
) -> None:
    networks, condition = conditioned(channels, config, True)
    mean = networks.conditional_mean(condition).detach()
    features = networks.features(condition, mean)
    sigma = torch.full((2,), 0.7, dtype=torch.float64)
    x = drawn(2, channels, 12, 18, seed=4).requires_grad_()
    weights = drawn(2, channels, 12, 18, seed=5)
    found, expected = (
        torch.autograd.grad((weights * y).sum(), x)[0]
        for y in (networks.denoise(x, sigma, features), networks(x, sigma, condition, mean))
    )
    assert torch.allclose(found, expected, **ROUNDING)


def test_features_are_of_the_device_and_type_at_the_first_evaluation() -> None:
    """A level that is moved or cast after its condition was fixed is not computed with old ones."""
    networks = fold(alive(LevelNetworks(TINY[0], 1)).eval())
    level = LevelPrior(LevelSpec(TINY[0], LevelStatistics(0.0, 1.0)), networks)
    coarse, x = drawn(1, 1, 16, 16).float(), drawn(1, 1, 16, 16, seed=4).float()
    early = level.condition(coarse)
    expected = level.condition(coarse).denoise(x, 1.0)
    fold(networks, torch.bfloat16)
    level.precision = "bfloat16"
    found = early.denoise(x, 1.0)
    # 8 bits in each of some 20 layers.
    assert 0 < (found - expected).norm() < 20 * 2**-8 * expected.norm()
