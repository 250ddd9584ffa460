"""Complex trainings that begin with a prior of magnitudes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.conftest import write_random_prior
from torch import Tensor
from training_data import TINY

from mrcascade.errors import MRCascadeError
from mrcascade.networks import CascadeConfig
from mrcascade.prior.cascade import CascadePrior, read_prior
from mrcascade.prior.denoiser import LevelNetworks, condition_channels, known_channels
from mrcascade.prior.level import LevelPrior
from mrcascade.training.start import start_of

COMPLEX = replace(TINY, channels=2)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "informed"])
def magnitudes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior of magnitudes, with and without data in its conditions."""
    networks = replace(TINY, data_condition=request.param).networks
    return write_random_prior(tmp_path_factory.mktemp("prior"), cascade=CascadeConfig(networks))


def started(folder: Path) -> list[LevelPrior]:
    """Levels of two channels with the weights that a training begins with."""
    found, weights = start_of(replace(COMPLEX, start=str(folder)))
    assert found.channels == 2
    levels = []
    for level, networks, state in zip(found.levels, COMPLEX.networks, weights, strict=True):
        own = LevelNetworks(networks, 2)
        own.load_state_dict(state)
        levels.append(LevelPrior(replace(level.spec, networks=networks), own.eval()))
    return levels


def as_complex(image: Tensor, angle: float = 0.0) -> Tensor:
    return torch.cat([math.cos(angle) * image, math.sin(angle) * image], 1)


@pytest.mark.parametrize("angle", [0.0, 2.0])
def test_the_real_part_begins_as_the_magnitude(magnitudes: Path, angle: float) -> None:
    """Mean and denoised image of an image of one phase, up to its borders. The U-Net's normalised
    weights add 1e-4 to their norms, of which more inputs change a part."""
    old = CascadePrior.from_pretrained(magnitudes)
    generator = torch.Generator().manual_seed(0)
    for before, after in zip(old.levels[:2], started(magnitudes)[:2], strict=True):
        coarse = torch.rand((2, 1, 24, 20), generator=generator)
        x = coarse.mean() + torch.randn(coarse.shape, generator=generator)
        with torch.no_grad():
            one, two = (
                before.condition(coarse, 0.2),
                after.condition(as_complex(coarse, angle), 0.2),
            )
            mean = one.mean()
            assert mean.std() > 0.1 * before.std
            tolerance = {"rtol": 0, "atol": 1e-5 * float(mean.abs().max())}
            torch.testing.assert_close(two.mean(), as_complex(mean, angle), **tolerance)
            for sigma in (0.2 * before.std, 3 * before.std):
                expected = one.denoise(x, sigma)
                found = two.denoise(as_complex(x, angle), sigma)
                real = math.cos(angle) * found[:, :1] + math.sin(angle) * found[:, 1:]
                torch.testing.assert_close(real, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("magnitudes", [True], ids=["informed"], indirect=True)
def test_known_bands_count_as_those_of_magnitudes(magnitudes: Path) -> None:
    document, state = read_prior(magnitudes)
    level = document.levels[0].spec.networks
    assert level.data
    narrow = LevelNetworks(level, 1).eval()
    narrow.load_state_dict(state[0])
    wide = started(magnitudes)[0].networks
    statistics = document.levels[0].spec.statistics
    shift = statistics.condition_mean / statistics.condition_std
    coarse, band = torch.rand((2, 2, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    numbers = torch.tensor([0.3, 0.2, 0.1, 0.4])
    known = [known_channels(image, numbers) for image in (band, as_complex(band))]
    with torch.no_grad():
        one = narrow.conditional_mean(condition_channels(coarse - shift, 0.2, known[0]))
        two = wide.conditional_mean(condition_channels(as_complex(coarse), 0.2, known[1]))
    torch.testing.assert_close(two, as_complex(one), rtol=0, atol=1e-5)


def test_statistics_are_those_of_complex_images(magnitudes: Path) -> None:
    old = CascadePrior.from_pretrained(magnitudes)
    for before, after in zip(old.levels, started(magnitudes), strict=True):
        a, b = before.spec.statistics, after.spec.statistics
        assert b.mean == b.condition_mean == 0
        if before.conditional:
            assert (b.std, b.condition_std) == (a.std, a.condition_std)
        else:
            # Each part of an image of any phase has half of its mean square.
            assert 2 * b.std**2 == pytest.approx(a.std**2 + a.mean**2)


def test_imaginary_parts_can_be_learned(magnitudes: Path) -> None:
    """Of images whose imaginary part has either sign alike, all new weights have a gradient."""
    level = started(magnitudes)[0].networks
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((8, 2, 16, 16), generator=generator)
    coarse[:, 1] -= 0.5
    coarse = torch.cat([coarse, coarse * torch.tensor([1.0, -1.0])[:, None, None]])
    known = known_channels(torch.zeros_like(coarse), torch.zeros(4))
    condition = condition_channels(coarse, 0.0, known)
    mean = level.conditional_mean(condition)
    (mean[:, 1] * coarse[:, 1]).mean().backward()
    area = level.mean.config.stem**2
    assert level.mean.tail.weight.grad[area:].abs().max() > 1e-6


def test_starts_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    magnitude = write_random_prior(tmp_path / "magnitude")
    measured = write_random_prior(tmp_path / "complex", channels=2)
    with pytest.raises(MRCascadeError, match="made for magnitudes, and demodulate is false"):
        start_of(replace(COMPLEX, start=str(magnitude), demodulate=False))
    with pytest.raises(MRCascadeError, match="not made for 1 channel"):
        start_of(replace(TINY, start=str(measured)))
    with pytest.raises(MRCascadeError, match="another demodulate; add --set demodulate=false"):
        start_of(replace(COMPLEX, start=str(measured)))
    start_of(replace(COMPLEX, start=str(measured), demodulate=False))
