"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mrcascade.arrays.factors import MOST_RATIO
from mrcascade.networks import CascadeConfig, LevelConfig, network_preset
from mrcascade.pictures.preview import Panel
from mrcascade.pictures.reformatted import Reformatted
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.prior.level import LevelSpec, LevelStatistics
from mrcascade.prior.writing import write_prior

ROOT = Path(__file__).resolve().parents[1]
# Statistics of the size that real images have, in units of the robust maximum.
STATISTICS = (
    LevelStatistics(0.0, 0.03, 0.3, 0.25),
    LevelStatistics(0.0, 0.05, 0.3, 0.25),
    LevelStatistics(0.3, 0.25),
)


THREE_LEVELS = network_preset("tiny")
TINY = THREE_LEVELS.levels
# As a single-scale prior, and as a regression network for 4x.
SINGLE = CascadeConfig(TINY[2:])
REGRESSION = CascadeConfig((LevelConfig(None, TINY[0].mean), LevelConfig(None)), step=4)


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache stays as it is."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True, scope="session")
def exact_networks() -> Iterator[None]:
    """Networks run in float32, also on processors for which ``auto`` means bfloat16."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            patch.setattr(torch.cpu, name, lambda: False)
        yield


@pytest.fixture(autouse=True)
def quick_previews(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews of results show no picture: to draw one takes half the time of a small `sr`.

    Tests marked `preview`, and commands in processes of their own, draw them.
    """

    def blank(path: Path, panels: Sequence[Panel], *_: object) -> None:
        assert all(panel.pixels.ndim == 2 for panel in panels)
        assert all(np.isfinite(panel.pixels).all() for panel in panels)
        Image.new("L", (1, 1)).save(path, format="PNG")

    def blank_planes(path: Path, planes: Sequence[Reformatted], *_: object) -> None:
        for plane in planes:
            blank(path, plane.panels)

    if request.node.get_closest_marker("preview") is None:
        monkeypatch.setattr("mrcascade.jobs.preview.write_preview", blank)
        monkeypatch.setattr("mrcascade.jobs.preview.write_reformatted", blank_planes)


@pytest.fixture(autouse=True)
def asked_reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are written where a test asks for them, which saves time in tests of batches.

    Tests marked `report`, and commands in processes of their own, have the default of users.
    """

    def only_asked(asked: bool | None, output: Path, several: bool) -> bool:
        return bool(asked)

    if request.node.get_closest_marker("report") is None:
        monkeypatch.setattr("mrcascade.cli.sr.wants_reports", only_asked)


def take_name(sidecar: Path) -> None:
    """Leave a sidecar as a kill just before its renaming does: whole, under its hidden name."""
    sidecar.rename(sidecar.with_name(f".{sidecar.stem}.123.0.tmp.json"))


def write_random_prior(
    folder: Path, channels: int = 1, cascade: CascadeConfig = THREE_LEVELS
) -> Path:
    """A prior of random `tiny` networks whose outputs are not zero, as they are at the start."""
    torch.manual_seed(0)
    levels = []
    for config, statistics in zip(cascade.levels, STATISTICS[-len(cascade.levels) :], strict=True):
        networks = LevelNetworks(config, channels)
        with torch.no_grad():
            if networks.unet is not None:
                networks.unet.out.gain.fill_(0.3)
            if networks.mean is not None:
                networks.mean.tail.weight.normal_(std=0.02)
        spec = LevelSpec(config, statistics, condition_error=0.9)
        levels.append((spec, networks.state_dict()))
    write_prior(
        folder,
        name="random",
        kernel="fourier",
        channels=channels,
        step=cascade.step,
        maximum_factor=MOST_RATIO if cascade.slices else 4,
        levels=levels,
        spectrum=[100.0 / (1 + i) ** 3 for i in range(48)],
        provenance={"data": "none", "files": [], "slices": 0},
        sampling={},
    )
    return folder


@pytest.fixture(scope="session")
def prior_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="session")
def prior(prior_folder: Path) -> CascadePrior:
    return CascadePrior.from_pretrained(prior_folder)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real MR images, from MRCASCADE_DATA or beside the repository."""
    named = os.environ.get("MRCASCADE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no real images at {folder}; set MRCASCADE_DATA to their folder")
    return folder
