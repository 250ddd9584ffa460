"""Magnitude-preserving layers: what each preserves, exactly or in expectation."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mrcascade.networks.layers import EPS, SILU_GAIN, MPConv, MPFourier, fold, mp_cat, sum_gains
from mrcascade.networks.layers import normalize as normalise

# Normalising divides by (EPS + norm): weights and features fall short of unit size by this share.
SHORT = 2 * EPS


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dims", [(1,), (1, 2), (2,), (1, 2, 3)])
def test_normalise_is_equation_66(dims: tuple[int, ...]) -> None:
    x = 3 * torch.randn(4, 5, 6, 7, generator=generator(), dtype=torch.float64)
    rms = x.square().mean(dims, keepdim=True).sqrt()
    torch.testing.assert_close(normalise(x, dims), x / (1e-4 + rms))


def test_normalise_takes_the_norm_of_half_precision_in_float32() -> None:
    # The norm, 300 * 256, is above the largest float16, 65504.
    x = torch.full((1, 2**16), 300.0, dtype=torch.float16)
    assert normalise(x, (1,)).dtype == torch.float16
    assert abs(float(normalise(x, (1,))[0, 0]) - 1) <= 2**-10
    assert normalise(torch.zeros(2, 3), (1,)).isfinite().all()


def test_silu_keeps_unit_variance() -> None:
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    energy = torch.trapezoid((SILU_GAIN * F.silu(x)).square() * density, x)
    # The paper's constant 0.596 has three digits: its square is off by up to 2 * 0.0005 / 0.596.
    assert abs(energy - 1) < 2 * 0.0005 / 0.596


@pytest.mark.parametrize("t", [0.3, 0.5, 0.9])
def test_sum_keeps_variance_and_blends_by_t(t: float) -> None:
    a, b = sum_gains(t)
    assert a**2 + b**2 == pytest.approx(1, rel=1e-12)  # unit variance of independent terms
    assert b / a == pytest.approx(t / (1 - t), rel=1e-12)


@pytest.mark.parametrize(("na", "nb"), [(4, 4), (3, 12), (16, 2)])
@pytest.mark.parametrize("t", [0.5, 0.2])
def test_cat_keeps_variance_and_shares_by_t(na: int, nb: int, t: float) -> None:
    y = mp_cat(torch.ones(1, na, 1, 1).double(), torch.ones(1, nb, 1, 1).double(), t).square()
    assert y.shape == (1, na + nb, 1, 1)
    assert float(y.mean()) == pytest.approx(1, rel=1e-12)
    share = float(y[:, na:].sum() / y.sum())
    assert share == pytest.approx(t**2 / (t**2 + (1 - t) ** 2), rel=1e-12)


@pytest.mark.parametrize("value", [-1.1, 0.0, 0.7])
def test_fourier_features_have_unit_energy(value: float) -> None:
    torch.manual_seed(1)
    channels = 100_000
    features = MPFourier(channels)(torch.tensor([value, 0.3]))
    assert features.shape == (2, channels)
    # 2 cos^2 of a uniform phase has mean 1 and variance 1/2.
    assert abs(float(features[0].square().mean()) - 1) < 5 * math.sqrt(0.5 / channels)


def test_fourier_features_are_equation_75() -> None:
    torch.manual_seed(2)
    layer = MPFourier(50_000)
    x = torch.tensor([0.4])
    expected = math.sqrt(2) * torch.cos(layer.freqs * 0.4 + layer.phases)
    torch.testing.assert_close(layer(x)[0], expected)
    # Frequencies 2 pi N(0, 1): relative error of a sample std is 1 / sqrt(2 n).
    assert float(layer.freqs.std()) == pytest.approx(2 * math.pi, rel=5 / math.sqrt(100_000))
    assert layer.phases.min() >= 0
    assert layer.phases.max() <= 2 * math.pi
    assert not list(layer.parameters())


@pytest.mark.parametrize("kernel", [0, 1, 3])
def test_convolution_keeps_variance(kernel: int) -> None:
    torch.manual_seed(3)
    layer = MPConv(12, 9, kernel).eval()
    with torch.no_grad():
        layer.weight.mul_(torch.rand(9).mul(50).add(1).reshape(-1, *[1] * (layer.weight.ndim - 1)))
    energy = layer.effective_weight().square().flatten(1).sum(1)
    # A sample norm of at least 12 elements is above 1/4, and EPS counts twice in an energy.
    assert (energy - 1).abs().max() < 2 * EPS * 4
    # The same on data: n independent outputs per channel, relative error of a variance
    # sqrt(2 / n); 9 channels, so 5 standard errors leave a chance of 5e-6. 3x3 outputs that are
    # independent are the centres of independent 3x3 images.
    n = 40_000
    x = torch.randn(n, 12, *[3] * (2 * bool(kernel)), generator=generator(4))
    with torch.no_grad():
        y = layer(x)
    y = y[:, :, 1, 1] if kernel else y
    assert (y.square().mean(0) / energy - 1).abs().max() < 5 * math.sqrt(2 / n)


def test_gain_scales_and_starts_where_told() -> None:
    torch.manual_seed(0)
    plain, gained = MPConv(4, 3, 3).eval(), MPConv(4, 3, 3, gain=0.25).eval()
    gained.weight = plain.weight
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(gained(x), 0.25 * plain(x))
    assert torch.equal(MPConv(4, 3, 3, gain=0.0).eval()(x), torch.zeros(2, 3, 5, 5))


@pytest.mark.parametrize("kernel", [0, 3])
def test_scale_multiplies_the_output_and_is_folded_with_the_weight(kernel: int) -> None:
    torch.manual_seed(0)
    plain, scaled = MPConv(4, 3, kernel).eval(), MPConv(4, 3, kernel, scale=1.7).eval()
    scaled.weight = plain.weight
    x = torch.randn(2, 4, *[5] * (2 * bool(kernel)))
    expected = 1.7 * plain(x)
    torch.testing.assert_close(scaled(x), expected)
    torch.testing.assert_close(fold(scaled)(x), expected)


@pytest.mark.parametrize("kernel", [0, 3])
def test_weights_are_normalised_in_place_only_while_training(kernel: int) -> None:
    torch.manual_seed(5)
    layer = MPConv(6, 4, kernel)
    with torch.no_grad():
        layer.weight.mul_(7)
    before = layer.weight.detach().clone()
    x = torch.randn(2, 6, *[3] * (2 * bool(kernel)))
    layer.eval()(x)
    assert torch.equal(layer.weight, before)
    with torch.no_grad():
        layer.train()(x)  # an evaluation in training mode, such as a validation, changes nothing
    assert torch.equal(layer.weight, before)
    expected = layer.eval()(x)
    y = layer.train()(x)
    rms = layer.weight.detach().square().flatten(1).mean(1).sqrt()
    assert (rms - 1).abs().max() < SHORT
    torch.testing.assert_close(y, expected, rtol=SHORT, atol=SHORT)


def test_gradient_leaves_the_length_of_a_weight_alone() -> None:
    torch.manual_seed(6)
    layer = MPConv(8, 5, 3).train()
    layer(torch.randn(4, 8, 6, 6)).pow(3).sum().backward()
    weight, gradient = layer.weight.detach().flatten(1), layer.weight.grad.flatten(1)
    cosine = (weight * gradient).sum(1) / (weight.norm(dim=1) * gradient.norm(dim=1))
    # The output depends on the length of a weight through EPS alone.
    assert cosine.abs().max() < 10 * EPS


def test_folding_a_layer_keeps_its_weight_and_is_idempotent() -> None:
    torch.manual_seed(7)
    network = nn.Sequential(MPConv(3, 8, 3), MPConv(8, 2, 1, gain=0.5))
    expected = [layer.eval().effective_weight().detach().clone() for layer in network]
    fold(network)
    for layer, weight in zip(network, expected, strict=True):
        assert torch.equal(layer.weight, weight)
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)
        assert layer.gain is None
        assert not layer.weight.requires_grad
    fold(network)
    assert all(torch.equal(a.weight, b) for a, b in zip(network, expected, strict=True))
