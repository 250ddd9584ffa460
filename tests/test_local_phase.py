"""Levels that see complex images without their local phase."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mrcascade.networks import network_preset
from mrcascade.prior.denoiser import KNOWLEDGE, LevelNetworks, condition_channels, known_channels
from mrcascade.prior.local_phase import local_phase, with_phase, without_phase

LEVEL = replace(network_preset("tiny").levels[0], data=True, demodulated=True)


def images(count: int = 2, side: int = 24) -> Tensor:
    return torch.randn((count, 2, side, side), generator=torch.Generator().manual_seed(0))


def turned(image: Tensor, angle: float) -> Tensor:
    values = torch.complex(image[:, 0], image[:, 1]) * torch.polar(
        torch.ones(()), torch.tensor(angle)
    )
    return torch.stack([values.real, values.imag], 1)


def networks() -> LevelNetworks:
    """Random networks whose outputs are not zero, as they are at the start."""
    torch.manual_seed(0)
    level = LevelNetworks(LEVEL, 2).eval()
    with torch.no_grad():
        level.unet.out.gain.fill_(0.3)
        level.mean.tail.weight.normal_(std=0.1)
        level.offset.fill_(0.7)
    return level


def test_a_positive_image_has_the_phase_that_it_is_turned_by() -> None:
    """To float32 rounding of the blur's 38 terms."""
    positive = torch.stack([images()[:, 0].abs(), torch.zeros_like(images()[:, 0])], 1)
    for angle in (0.0, 1.1, -2.5):
        phase = local_phase(turned(positive, angle))
        expected = turned(torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1), angle).expand_as(phase)
        torch.testing.assert_close(phase, expected, rtol=0, atol=1e-5)


def test_an_image_without_signal_has_phase_0() -> None:
    phase = local_phase(torch.zeros(1, 2, 8, 8))
    assert torch.equal(phase[:, 0], torch.ones(1, 8, 8))
    assert torch.equal(phase[:, 1], torch.zeros(1, 8, 8))


def test_phases_are_taken_off_and_given_back() -> None:
    image, other = images(4).split(2)
    phase = local_phase(other)
    torch.testing.assert_close(phase.square().sum(1), torch.ones_like(phase[:, 0]))
    expected = torch.complex(*image.unbind(1)) * torch.complex(*phase.unbind(1)).conj()
    seen = without_phase(image, phase)
    torch.testing.assert_close(torch.complex(*seen.unbind(1)), expected)
    torch.testing.assert_close(with_phase(seen, phase), image)


def test_networks_turn_with_the_image() -> None:
    """Whatever their weights: an image times exp(i a) has the mean and the denoised image times
    exp(i a). Float32 through some ten layers."""
    level = networks()
    coarse, band, noisy = images(6).split(2)
    numbers = torch.tensor([0.3, 0.2, 0.1, 0.4])
    sigma = torch.tensor([0.3, 2.0])
    results = []
    for angle in (0.0, 0.9):
        known = known_channels(turned(band, angle), numbers)
        condition = condition_channels(turned(coarse, angle), 0.2, known)
        assert condition.shape[1] == 2 + 1 + 2 + KNOWLEDGE
        with torch.no_grad():
            mean = level.conditional_mean(condition, lambda m: 0.5 * m)
            results.append((mean, level(turned(noisy, angle), sigma, condition, mean)))
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(second, turned(first, 0.9), rtol=1e-4, atol=1e-5)
        assert first.std() > 0.01


def test_magnitudes_have_no_phase_to_be_taken_off() -> None:
    with pytest.raises(ValueError, match="complex"):
        LevelNetworks(LEVEL, 1)
    with pytest.raises(ValueError, match="demodulated"):
        replace(network_preset("tiny").levels[2], demodulated=True)
