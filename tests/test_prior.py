"""The prior's file format, its units, and its statistics."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file

from mrcascade import CascadePrior, MRCascadeError
from mrcascade.denoiser import LevelNetworks
from mrcascade.networks import fold, network_preset
from mrcascade.prior import LevelPrior, LevelSpec, LevelStatistics, read_prior, write_prior
from mrcascade.prior_format import file_sha256
from mrcascade.training.config import TrainConfig
from mrcascade.training.run import SPECTRUM_BINS, CascadeData
from mrcascade.training.slices import Volume
from tests.conftest import SINGLE, STATISTICS, write_random_prior

Damage = Callable[[Path], None]


@pytest.fixture
def folder(prior_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(prior_folder, tmp_path / "prior"))


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    document = json.loads((folder / "prior.json").read_text())
    change(document)
    (folder / "prior.json").write_text(json.dumps(document))


# ---- round trip ----


def test_round_trip_is_exact_in_float16(tmp_path: Path) -> None:
    levels = []
    torch.manual_seed(3)
    for config, statistics in zip(network_preset("tiny").levels, STATISTICS, strict=True):
        networks = LevelNetworks(config, 1)
        torch.nn.init.constant_(networks.unet.out.gain, 0.3)
        levels.append((LevelSpec(config, statistics, 0.03, 60.0, 0.7, {"images": 5}), networks))
    write_prior(
        tmp_path,
        name="n",
        kernel="area",
        channels=1,
        levels=[(spec, networks.state_dict()) for spec, networks in levels],
        spectrum=[1.0, 0.25, 1e-9],
        provenance={"data": "d"},
        sampling={"paper": {"zeta": 0.5}},
    )
    prior = CascadePrior.from_pretrained(tmp_path)
    for (spec, networks), level in zip(levels, prior.levels, strict=True):
        assert level.spec == spec
        with torch.no_grad():
            for name, parameter in networks.named_parameters():
                if "fourier" not in name:
                    parameter.copy_(parameter.half().float())
        folded = fold(networks).state_dict()
        for name, value in level.networks.state_dict().items():
            assert value.dtype == torch.float32
            assert torch.equal(value, folded[name]), name
    assert (prior.name, prior.kernel, prior.channels) == ("n", "area", 1)
    assert prior.spectrum == [1.0, 0.25, 1e-9]
    assert prior.provenance == {"data": "d"}
    assert prior.sampling == {"paper": {"zeta": 0.5}}
    assert prior.device == torch.device("cpu")
    assert (prior.maximum_factor, prior.minimum_size) == (4, 32)


def test_noise_features_are_stored_in_full(prior_folder: Path) -> None:
    state = load_file(prior_folder / "level1.safetensors")
    kinds = {k: v.dtype for k, v in state.items()}
    assert all((v == torch.float32) == ("fourier" in k) for k, v in kinds.items())
    assert any("fourier" in k for k in kinds)


def test_every_file_has_the_permissions_that_the_umask_asks_for(prior_folder: Path) -> None:
    # safetensors' own writer makes files that only their owner can read.
    assert len({path.stat().st_mode for path in prior_folder.iterdir()}) == 1


def test_loading_leaves_the_global_generator_alone(prior_folder: Path) -> None:
    before = torch.random.get_rng_state()
    CascadePrior.from_pretrained(prior_folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_complex_prior(tmp_path: Path) -> None:
    prior = CascadePrior.from_pretrained(write_random_prior(tmp_path, channels=2))
    assert prior.levels[0].condition(torch.zeros(1, 2, 8, 8)).mean().shape == (1, 2, 8, 8)


# ---- damage: one line that names the file ----


def truncated(folder: Path) -> None:
    path = folder / "level2.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def bit_flipped(folder: Path) -> None:
    path = folder / "level2.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swapped(folder: Path) -> None:
    shutil.copy(folder / "level1.safetensors", folder / "level2.safetensors")


def missing(folder: Path) -> None:
    (folder / "level2.safetensors").unlink()


def foreign_weights(folder: Path) -> None:
    path = folder / "level2.safetensors"
    path.write_bytes(b"no tensors in here")
    edit(folder, lambda d: d["levels"][1].update(sha256=file_sha256(path)))


def other_shapes(folder: Path) -> None:
    path = folder / "level2.safetensors"
    state = load_file(path)
    state["unet.out.weight"] = state["unet.out.weight"][:1]
    save_file(state, path)
    edit(folder, lambda d: d["levels"][1].update(sha256=file_sha256(path)))


def other_network(folder: Path) -> None:
    edit(folder, lambda d: d["levels"][1]["networks"]["unet"].update(channels=16))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncated, "checksum"),
        (bit_flipped, "checksum"),
        (swapped, "checksum"),
        (missing, "missing"),
        (foreign_weights, "not a safetensors file"),
        (other_shapes, "do not fit"),
        (other_network, "do not fit"),
    ],
)
def test_damaged_weights_do_not_load(folder: Path, damage: Damage, reason: str) -> None:
    damage(folder)
    with pytest.raises(MRCascadeError, match=reason) as error:
        CascadePrior.from_pretrained(folder)
    assert str(error.value).startswith(f"{folder / 'level2.safetensors'}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", '"prior"', '{"format": 1}', '{"name": "x"}', "\xff\xfe"]
)
def test_foreign_json_does_not_load(folder: Path, text: str) -> None:
    (folder / "prior.json").write_bytes(text.encode("latin-1"))
    assert_json_error(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(format=2),
        lambda d: d.update(kernel="lanczos"),
        lambda d: d.update(levels=[]),
        lambda d: d.update(levels={"a": 1}),
        lambda d: d.update(spectrum=[]),
        lambda d: d.update(spectrum=[1.0, math.nan]),
        lambda d: d.update(channels="one"),
        lambda d: d.update(sampling=3),
        lambda d: d["levels"].reverse(),
        lambda d: d["levels"].pop(),
        lambda d: d["levels"][0].pop("file"),
        lambda d: d["levels"][0].pop("sha256"),
        lambda d: d["levels"][0].pop("statistics"),
        lambda d: d["levels"][0].update(statistics=[0, 1]),
        lambda d: d["levels"][0]["statistics"].update(std=0.0),
        lambda d: d["levels"][0]["statistics"].update(std=math.nan),
        lambda d: d["levels"][0]["statistics"].update(unknown=1.0),
        lambda d: d["levels"][0]["networks"]["unet"].update(channels=-8),
        lambda d: d["levels"][0]["networks"]["unet"].update(channels="8"),
        lambda d: d["levels"][0]["networks"]["unet"].pop("channels"),
        lambda d: d["levels"][0]["networks"].update(unet=3),
        lambda d: d.update(step=3),
        lambda d: d.update(maximum_factor=1),
        lambda d: d["levels"][0].update(sigma_max=None),
    ],
)
def test_json_out_of_range_does_not_load(folder: Path, change: Callable[[dict], object]) -> None:
    edit(folder, change)
    assert_json_error(folder)


def assert_json_error(folder: Path) -> None:
    with pytest.raises(MRCascadeError) as error:
        CascadePrior.from_pretrained(folder)
    assert str(error.value).startswith(f"{folder / 'prior.json'}: ")
    assert "\n" not in str(error.value)


def test_a_prior_that_cannot_be_written_leaves_the_one_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    prior, weights = read_prior(folder)
    levels = [(level.spec, state) for level, state in zip(prior.levels, weights, strict=True)]
    changed = [(spec, {k: 2 * v for k, v in state.items()}) for spec, state in levels]
    calls = []

    def failing(state: dict) -> bytes:
        calls.append(state)
        if len(calls) == 2:
            raise OSError("no more")
        return save(state)

    monkeypatch.setattr("safetensors.torch.save", failing)
    with pytest.raises(OSError, match="no more"):
        write_prior(
            folder,
            name="n",
            kernel="fourier",
            channels=1,
            levels=changed,
            spectrum=[1.0],
            provenance={},
            sampling={},
        )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_json_is_written_last(folder: Path) -> None:
    (folder / "prior.json").unlink()
    with pytest.raises(MRCascadeError, match=r"unknown prior .*prior\.json"):
        CascadePrior.from_pretrained(folder)


def test_unknown_name() -> None:
    with pytest.raises(MRCascadeError, match=r"unknown prior 'mr-huge'.*bundled priors are"):
        CascadePrior.from_pretrained("mr-huge")


# ---- units ----


def test_denoiser_works_in_image_units(prior: CascadePrior) -> None:
    level = prior.levels[0]
    stats = level.spec.statistics
    coarse = 0.3 + 0.2 * torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    x = 0.05 * torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    conditioned = level.condition(coarse, error=0.4)
    standard = (coarse - stats.condition_mean) / stats.condition_std
    condition = torch.cat([standard, torch.full_like(coarse, 0.4)], 1)
    with torch.no_grad():
        mean = level.networks.mean(condition)
        expected = level.networks(x / stats.std, torch.full((2,), 2.0), condition, mean)
    assert torch.equal(conditioned.mean(), mean * stats.std)
    result = conditioned.denoise(x, 2.0 * stats.std)
    torch.testing.assert_close(result, expected * stats.std)
    assert level.std == stats.std
    assert level.sigma_max == pytest.approx(level.spec.sigma_max * stats.std)
    assert level.sigma_min == pytest.approx(level.spec.sigma_min * stats.std)


def test_unconditional_level_returns_its_mean_at_high_noise(prior: CascadePrior) -> None:
    level = prior.levels[-1]
    stats = level.spec.statistics
    conditioned = level.condition(None)
    assert float(conditioned.mean()) == pytest.approx(stats.mean)
    # c_skip and c_out F with |F| of order one: within a few stds of the mean.
    x = stats.mean + 80 * stats.std * torch.randn(1, 1, 16, 16)
    assert (conditioned.denoise(x, 80 * stats.std) - stats.mean).abs().max() < 10 * stats.std


def test_error_is_limited_to_what_training_showed(prior: CascadePrior) -> None:
    level, coarse = prior.levels[0], torch.rand(1, 1, 16, 16)
    limit = level.spec.condition_error
    assert limit < 1
    assert torch.equal(level.condition(coarse, 1.0).mean(), level.condition(coarse, limit).mean())
    assert not torch.equal(level.condition(coarse, 0.1).mean(), level.condition(coarse, 0).mean())


def test_condition_is_given_exactly_where_needed(prior: CascadePrior) -> None:
    for level, condition in ((prior.levels[0], None), (prior.levels[-1], torch.zeros(1, 1, 8, 8))):
        with pytest.raises(ValueError, match="condition"):
            level.condition(condition)


# ---- spectrum ----

SCALE = 0.1  # of the density exp(-r / SCALE), cycles per pixel


def radius(n: int) -> np.ndarray:
    f = np.fft.fftfreq(n)
    return np.hypot(f[:, None], f[None])


def image_of_density(n: int, seed: int) -> np.ndarray:
    """An image whose periodogram is exp(-r / SCALE) exactly: random phases, given magnitudes."""
    phases = np.fft.fft2(np.random.default_rng(seed).normal(size=(n, n)))
    spectrum = np.sqrt(np.exp(-radius(n) / SCALE)) * n * phases / np.abs(phases)
    return np.fft.ifft2(spectrum).real.astype(np.float32)


def prior_of_images(n: int, count: int) -> tuple[CascadePrior, np.ndarray]:
    stack = np.stack([image_of_density(n, seed) for seed in range(count)])
    volumes = [Volume("v", "v", "train", 2 * stack, {2: 2.0, 4: 2.1})]
    spectrum = CascadeData(volumes, TrainConfig(network="tiny")).spectrum()
    return CascadePrior("p", "fourier", 1, [], spectrum), stack


@pytest.mark.parametrize("n", [256, 48])
def test_power_density_is_that_of_the_training_images(n: int) -> None:
    """Measured density, binned and interpolated, against the one that made the images.

    A bin of width h averages the density over at most h, and interpolation reaches one bin
    further: so the logarithm, of slope 1 / SCALE, is off by at most 2 h / SCALE anywhere. (At 48
    pixels bins are empty, and h is one frequency step more.) In the integral the two signs cancel
    to first order and the square remains.
    """
    prior, stack = prior_of_images(n, 2)
    frequency = np.fft.fftfreq(n)
    density = prior.power_density(frequency[:, None], frequency[None])
    h = np.sqrt(0.5) / SPECTRUM_BINS + (1 / n if n == 48 else 0)
    assert np.abs(np.log(density) + radius(n) / SCALE).max() < 2 * h / SCALE
    # Parseval: the mean of the periodogram over the grid is the mean square of a pixel.
    mean_square = float(np.square(stack, dtype=np.float64).mean())
    assert density.mean() == pytest.approx(mean_square, rel=2 * (h / SCALE) ** 2)


def test_small_images_leave_no_hole_in_the_spectrum() -> None:
    prior, _ = prior_of_images(16, 1)
    assert min(prior.spectrum) > 0.5 * math.exp(-math.sqrt(0.5) / SCALE)


def test_level_prior_needs_no_files() -> None:
    networks = fold(LevelNetworks(network_preset("tiny").levels[2], 1))
    level = LevelPrior(
        LevelSpec(network_preset("tiny").levels[2], LevelStatistics(0.3, 0.2)), networks
    )
    assert not level.conditional
    # At the start the network is zero: the Wiener filter around the mean.
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(level.condition(None).denoise(x, 0.2), 0.3 + (x - 0.3) / 2)


def test_half_precision_is_of_the_networks_alone(prior: CascadePrior, prior_folder: Path) -> None:
    """bfloat16 has 8 bits: each layer rounds by up to 2^-8, and a dozen layers in a row add up to
    some per cent of the band; image, condition and noise stay in float32."""
    half = CascadePrior.from_pretrained(prior_folder, precision="bfloat16")
    generator = torch.Generator().manual_seed(0)
    coarse = 0.3 + 0.25 * torch.randn(1, 1, 32, 32, generator=generator)
    for exact, rounded in zip(prior.levels[:2], half.levels[:2], strict=True):
        x = exact.std * torch.randn(1, 1, 32, 32, generator=generator)
        pairs = [
            (level.mean(), level.denoise(x, 0.5 * exact.std))
            for level in (exact.condition(coarse), rounded.condition(coarse))
        ]
        for a, b in zip(*pairs, strict=True):
            assert b.dtype == torch.float32
            error = float((a - b).square().mean().sqrt() / exact.std)
            assert 1e-5 < error < 12 * 2.0**-8


def test_two_levels_are_the_finest_of_a_cascade_and_a_prior_of_one_level(
    prior: CascadePrior, tmp_path: Path
) -> None:
    single = CascadePrior.from_pretrained(write_random_prior(tmp_path, cascade=SINGLE))
    cascade = replace(
        prior,
        sampling={
            "paper": {
                "zeta": 0.1,
                "sigma_start": [9.0, 8.0, 7.0],
                "rho": [2, 2, 7],
                "step_shares": [0.5, 1.5, 1],
            },
            "mean": {"orientations": 2},
        },
        provenance={"files": ["b", "a"]},
    )
    single.sampling = {"paper": {"zeta": 0.4}}
    single.provenance = {"files": ["a", "c"]}
    both = cascade.with_coarsest(single)
    assert both.levels == [prior.levels[0], single.levels[0]]
    # The coarse level starts where it always does; the fine one as in the cascade. Schedules of
    # three levels are no guide.
    start = [9.0, single.levels[0].spec.sigma_max]
    assert both.sampling == {
        "paper": {"zeta": 0.4, "sigma_start": start},
        "mean": {"orientations": 2},
    }
    assert both.provenance["files"] == ["a", "b", "c"]
    assert len(cascade.levels) == 3  # as it was
    with pytest.raises(MRCascadeError, match="needs one level, of the same kernel"):
        cascade.with_coarsest(prior)
    with pytest.raises(MRCascadeError, match="needs one level, of the same kernel"):
        cascade.with_coarsest(replace(single, kernel="area"))
