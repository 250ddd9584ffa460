"""A prior's regression network for thick slices: files beside the prior, and means of volumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mrcascade import CascadePrior, Intensity, MRCascadeError, SeparableOperator
from mrcascade.measurement.border import Margins
from mrcascade.networks import network_preset
from mrcascade.prior.format import SLICES, verify_weights
from mrcascade.restore import Plan, Restorer, resolve_settings
from mrcascade.restore.volume import ENDS, ThickSlices, VolumePlan, VolumeRestorer
from tests.conftest import write_random_prior

THICK = ThickSlices(6, 22)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_random_prior(tmp_path_factory.mktemp("prior"))
    write_random_prior(folder / SLICES, cascade=network_preset("tiny-slices"))
    return folder


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    smooth = np.random.default_rng(0).random((6, 6, 5), np.float32)
    return np.kron(smooth, np.ones((1, 4, 4), np.float32))


def restored(prior: CascadePrior, y: np.ndarray, mode: str, noise: float = 0.0):  # type: ignore[no-untyped-def]
    settings = resolve_settings(prior, mode, None if mode.startswith("mean") else 6)
    plan = VolumePlan.of(prior, THICK, (y.shape[1], y.shape[2]), noise, settings)
    return VolumeRestorer(prior, plan)(y, Intensity.of(y), batch_size=8)


def test_means_are_those_of_its_planes(folder: Path, volume: np.ndarray) -> None:
    """With noise nothing is projected, so that the mean of both kinds of planes is the result."""
    prior = CascadePrior.from_pretrained(folder)
    assert prior.slices is not None
    scale, margin = Intensity.of(volume).scale, THICK.margin
    half = resolve_settings(prior, "mean:orientations=2")
    expected = np.zeros((22, 24, 20))
    for axis in (1, 2):
        planes = Margins(rows=(ENDS, ENDS)).extend(np.moveaxis(volume, axis, 0) / scale)
        operator = SeparableOperator(THICK.extended(), np.eye(planes.shape[2]), "thick")
        plan = Plan.of(prior.slices, operator, 0.02, half)
        mean = Restorer(prior.slices, plan)(planes, Intensity(1.0)).mean[:, margin : margin + 22]
        expected += np.moveaxis(mean, 0, axis) * scale / 2
    result = restored(prior, volume, "mean:orientations=4", noise=0.02)
    np.testing.assert_allclose(result.mean, expected, atol=1e-5 * scale)
    assert result.evaluations[1] == 4
    assert result.settings["slices_prior"] == prior.slices.name


def test_balanced_moves_towards_them(folder: Path, volume: np.ndarray) -> None:
    """With no detail of its own a sample is the result of mode "mean"."""
    prior = CascadePrior.from_pretrained(folder)
    mean = restored(prior, volume, "mean").mean
    none = restored(prior, volume, "balanced:detail=0").mean
    np.testing.assert_allclose(none, mean, atol=1e-5 * volume.max())
    other = restored(CascadePrior.from_pretrained(folder.parent / folder.name), volume, "balanced")
    assert np.abs(other.mean - mean).max() > 1e-3


def test_a_prior_without_one_uses_its_cascade(
    folder: Path, prior_folder: Path, volume: np.ndarray
) -> None:
    alone = CascadePrior.from_pretrained(prior_folder)
    assert alone.slices is None
    assert alone.identity == alone.digest
    both = CascadePrior.from_pretrained(folder)
    assert both.digest == alone.digest
    assert both.identity == f"{both.digest} + {both.slices.digest}"  # type: ignore[union-attr]
    result = restored(alone, volume, "mean")
    assert result.evaluations == {1: 2, 2: 2, 3: 0}
    assert "slices_prior" not in result.settings
    assert np.abs(result.mean - restored(both, volume, "mean").mean).max() > 1e-3


def test_it_is_saved_and_verified_with_the_prior(folder: Path, tmp_path: Path) -> None:
    prior = CascadePrior.from_pretrained(folder)
    saved = prior.save_pretrained(tmp_path / "saved")
    alone = write_random_prior(tmp_path / "alone")
    with pytest.raises(MRCascadeError, match=r"prior\.json"):
        prior.save_pretrained(alone)
    assert not (alone / SLICES).exists()  # the prior there is as it was
    again = CascadePrior.from_pretrained(saved)
    assert again.identity == prior.identity
    assert verify_weights(saved) == sum(p.stat().st_size for p in saved.rglob("*.safetensors"))
    damaged = next((saved / SLICES).glob("level1.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(MRCascadeError, match=r"slices/level1.safetensors: missing, or not"):
        verify_weights(saved)
    with pytest.raises(MRCascadeError, match=r"slices/level1.safetensors: checksum differs"):
        CascadePrior.from_pretrained(saved)


@pytest.mark.parametrize("what", ["empty", "loop", "itself", "a file", "an in-plane regression"])
def test_what_is_no_such_network_is_refused(folder: Path, tmp_path: Path, what: str) -> None:
    """A network that is silently left out would change results."""
    mine = shutil.copytree(folder, tmp_path / "mine")
    shutil.rmtree(mine / SLICES)
    beside = mine / SLICES
    if what == "empty":
        beside.mkdir()
    elif what in ("loop", "itself"):
        beside.symlink_to(beside if what == "loop" else mine)
    elif what == "a file":
        beside.write_text("")
    else:
        write_random_prior(beside, cascade=network_preset("small-regression"))
    with pytest.raises(
        MRCascadeError, match="slices: no regression network of this prior"
    ) as error:
        CascadePrior.from_pretrained(mine)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("channels", [1, 2])
def test_another_kind_of_prior_is_refused(folder: Path, tmp_path: Path, channels: int) -> None:
    """One that draws samples, and one of complex images."""
    mine = shutil.copytree(folder, tmp_path / "mine")
    shutil.rmtree(mine / SLICES)
    cascade = network_preset("tiny" if channels == 1 else "tiny-slices")
    write_random_prior(mine / SLICES, channels, cascade)
    with pytest.raises(MRCascadeError, match="slices: no regression network of this prior"):
        CascadePrior.from_pretrained(mine)
    assert json.loads((mine / SLICES / "prior.json").read_text())["channels"] == channels
