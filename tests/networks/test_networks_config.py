"""Shapes that no network has are refused before anything is built."""

from __future__ import annotations

from typing import Any

import pytest

from mrcascade.networks import MeanConfig, UNetConfig

UNET = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "stem": 2}


@pytest.mark.parametrize(
    "changed",
    [
        {"channels": 0},
        {"channels": 10**9},
        {"channels": True},
        {"channels": 8.0},
        {"multipliers": ()},
        {"multipliers": (1,) * 9},
        {"multipliers": (1, 10**6)},
        {"blocks": 10**9},
        {"blocks": "1"},
        {"attention": (99,)},
        {"attention": (-1,)},
        {"stem": -2},
        {"stem": 10**9},
    ],
)
def test_shapes_out_of_range(changed: dict[str, Any]) -> None:
    UNetConfig(**UNET)
    with pytest.raises(ValueError, match="is not a whole number from"):
        UNetConfig(**(UNET | changed))


@pytest.mark.parametrize("changed", [{"channels": 0}, {"blocks": 10**9}, {"stem": 0}])
def test_shapes_of_the_regression_network(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not a whole number from"):
        MeanConfig(**({"channels": 8, "blocks": 1} | changed))
