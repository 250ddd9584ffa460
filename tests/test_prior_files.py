"""The prior's file format: writing, reading and refusing."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from mrcascade import CascadePrior, MRCascadeError
from mrcascade.networks import fold, network_preset
from mrcascade.prior.cascade import read_prior
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.prior.format import Limits, read_document
from mrcascade.prior.level import LevelSpec
from mrcascade.prior.writing import write_prior
from mrcascade.storage.digest import file_sha256
from tests.conftest import STATISTICS, write_random_prior

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


def replaced_weights(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Weights of level 2 changed, with the right checksum."""
    path = folder / "level2.safetensors"
    save_file({name: change(value) for name, value in load_file(path).items()}, path)
    digest = file_sha256(path)
    edit(folder, lambda d: d["levels"][1].update(sha256=digest))


def weights_with(value: float) -> Damage:
    def one_changed(weights: torch.Tensor) -> torch.Tensor:
        weights.view(-1)[-1:] = value
        return weights

    return lambda folder: replaced_weights(folder, one_changed)


def weights_as(kind: torch.dtype) -> Damage:
    return lambda folder: replaced_weights(folder, lambda weights: weights.to(kind))


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
        (weights_with(math.nan), "NaN or infinite"),
        (weights_with(-math.inf), "NaN or infinite"),
        (weights_as(torch.int8), "not real numbers"),
        (weights_as(torch.bool), "not real numbers"),
        (weights_as(torch.complex64), "not real numbers"),
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


def domain_entry(width: int = 8, std: float = 1.0, limit: float = 1.0) -> dict:
    """The entry of a domain with two noise levels; the random prior has 8 activations."""

    def kind(count: int) -> dict:
        row, direction = [0.0] * count, [1.0] + [0.0] * (count - 1)
        spread = {"std": [std] * count, "variances": [1.0], "limit": limit}
        return {"mean": row, "directions": [direction], **spread}

    levels = [0.1, 1.0]
    return {"noise_levels": levels, "losses": kind(4), "activations": kind(width), "people": 9}


def test_a_domain_is_read(folder: Path) -> None:
    edit(folder, lambda d: d.update(domain=domain_entry()))
    found = CascadePrior.from_pretrained(folder).domain
    assert found is not None
    assert json.loads(json.dumps(found.entry())) == domain_entry()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(format=3),
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
        lambda d: d.update(maximum_factor=2.5),
        lambda d: d.update(maximum_factor=math.inf),
        lambda d: d.update(maximum_factor=10**4000),
        lambda d: d.update(step=2.7),
        lambda d: d.update(step=math.inf),
        lambda d: d.update(step=10**4000),
        lambda d: d.update(step="2"),
        lambda d: d.update(channels=True),
        lambda d: d.update(name=None),
        lambda d: d.update(name=""),
        lambda d: d.update(name="n" * 10**6),
        lambda d: d.update(spectrum="12"),
        lambda d: d.update(spectrum=[1.0, -1.0]),
        lambda d: d.update(spectrum=[True, 1.0]),
        lambda d: d["levels"][0].update(sigma_max=True),
        lambda d: d["levels"][0].update(sigma_min="0.01"),
        lambda d: d["levels"][0].update(condition_error=False),
        lambda d: d["levels"][0]["statistics"].update(std=True),
        lambda d: d["levels"][0].update(sigma_max=None),
        lambda d: d["levels"][0].update(sigma_max=1e300),
        lambda d: d["levels"][0].update(sigma_min=1e-320),
        lambda d: d["levels"][0]["statistics"].update(std=1e-300),
        lambda d: d["levels"][0]["statistics"].update(std=1e300),
        lambda d: d["levels"][0]["statistics"].update(mean=-1e300),
        lambda d: d["levels"][0]["statistics"].update(condition_std=1e-40),
        lambda d: d.update(domain=3),
        lambda d: d.update(domain={}),
        lambda d: d.update(domain=domain_entry(width=7)),
        lambda d: d.update(domain=domain_entry() | {"noise_levels": [0.1, -1.0]}),
        lambda d: d.update(domain=domain_entry() | {"people": "many"}),
        lambda d: d.update(domain=domain_entry(std=0.0)),
        lambda d: d.update(domain=domain_entry(limit=math.nan)),
    ],
)
def test_json_out_of_range_does_not_load(folder: Path, change: Callable[[dict], object]) -> None:
    edit(folder, change)
    assert_json_error(folder)
    with contextlib.suppress(MRCascadeError):  # the first look at it
        Limits.of_document(read_document(folder))


def assert_json_error(folder: Path) -> None:
    with pytest.raises(MRCascadeError) as error:
        CascadePrior.from_pretrained(folder)
    assert str(error.value).startswith(f"{folder / 'prior.json'}: ")
    assert "\n" not in str(error.value)


def write_levels(folder: Path, levels: list) -> None:
    facts = {"name": "n", "kernel": "fourier", "channels": 1, "spectrum": [1.0]}
    write_prior(folder, levels=levels, provenance={}, sampling={}, **facts)


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
        write_levels(folder, changed)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e5])
def test_weights_that_float16_does_not_hold_are_not_written(folder: Path, value: float) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    prior, weights = read_prior(folder)
    levels = [(level.spec, state) for level, state in zip(prior.levels, weights, strict=True)]
    next(v for k, v in weights[1].items() if "fourier" not in k).view(-1)[0] = value
    with pytest.raises(MRCascadeError, match=r"level2\.safetensors: .*diverged"):
        write_levels(folder, levels)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_json_is_written_last(folder: Path) -> None:
    (folder / "prior.json").unlink()
    with pytest.raises(MRCascadeError, match=r"unknown prior .*prior\.json"):
        CascadePrior.from_pretrained(folder)


def test_unknown_name() -> None:
    with pytest.raises(MRCascadeError, match=r"unknown prior 'mr-huge'.*bundled priors are"):
        CascadePrior.from_pretrained("mr-huge")
