"""Presets, and the table of docs/guide/networks.md that states their sizes and costs."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from tests.quick import slow

from mrcascade import MRCascadeError
from mrcascade.networks import (
    NETWORKS,
    CascadeConfig,
    config,
    count_flop,
    network_preset,
    parameter_count,
    register_network,
)
from mrcascade.networks.layers import MPConv
from mrcascade.networks.unet import Attention
from mrcascade.training.config import TrainConfig

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("names", [("tiny",), slow(tuple(NETWORKS))])
def test_documented_table_is_what_the_code_says(names: tuple[str, ...]) -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "network_table.py"))["table"](names)
    head, _, *rows = made.splitlines()
    documented = (ROOT / "docs" / "guide" / "networks.md").read_text().splitlines()
    assert rows == [
        line for line in documented if line.startswith(tuple(f"| {n} |" for n in names))
    ]
    assert head in documented


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(
        MRCascadeError,
        match=r"unknown network 'huge'.*tiny, mini, small, small-single, small-regression,"
        r" tiny-slices, small-slices, xs, s",
    ):
        network_preset("huge")


def test_a_registered_network_is_a_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "NETWORKS", dict(NETWORKS))
    mine = CascadeConfig(NETWORKS["tiny"].levels[1:])
    assert register_network("mine", mine) is mine
    assert TrainConfig(network="mine").levels == 2
    with pytest.raises(MRCascadeError, match="'mine' exists already"):
        register_network("mine", mine)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_all_levels_but_the_coarsest_are_conditional(name: str) -> None:
    levels = network_preset(name).levels
    assert [level.mean is not None for level in levels] == [True] * (len(levels) - 1) + [False]


def test_flop_counts_two_operations_per_multiply_add() -> None:
    x = torch.zeros(1, 6, 10, 12)
    assert count_flop(MPConv(6, 5, 3), x) == 2 * 5 * 6 * 9 * 120
    # qkv and projection: 4 C^2 per pixel; scores and their use: 2 C per pair of pixels.
    assert count_flop(Attention(6), x) == 2 * (4 * 36 * 120 + 2 * 6 * 120**2)


def test_parameter_count() -> None:
    assert parameter_count(MPConv(6, 5, 3, gain=1.0)) == 6 * 5 * 9 + 1
