"""Patches that threads draw while a step is taken."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from training_data import TINY, volumes

from mrcascade import MRCascadeError
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.draws import StepDraws
from mrcascade.training.prefetch import PatchStream, drawing_threads


def test_an_error_of_a_patch_ahead_is_that_of_its_step() -> None:
    data = CascadeData(volumes(), TINY)
    source = data.source(data.train, 1)
    draw = source.draw

    def failing(rng: np.random.Generator, number: int) -> np.ndarray:
        if number == 9:
            raise MRCascadeError("c.hdf5: damaged")
        return draw(rng, number)

    source.draw = failing  # type: ignore[method-assign]
    stream = PatchStream(source, threads=2)
    first = stream.take(StepDraws(1, TINY, 0, slice(0, 8)), range(8, 16))
    assert first.shape == (8, 3, 1, 32, 32)
    with pytest.raises(MRCascadeError, match="damaged"):
        stream.take(StepDraws(1, TINY, 8, slice(0, 8)))
    source.draw = draw  # type: ignore[method-assign]
    assert stream.take(StepDraws(1, TINY, 8, slice(0, 8))).shape == first.shape


def test_patches_ahead_are_drawn_once() -> None:
    """Those of another step, seed or level than the one that comes are not taken."""
    data = CascadeData(volumes(), TINY)
    source = data.source(data.train, 1)
    draw, numbers = source.draw, []

    def counted(rng: np.random.Generator, number: int) -> np.ndarray:
        numbers.append(number)
        return draw(rng, number)

    source.draw = counted  # type: ignore[method-assign]
    stream = PatchStream(source, threads=1)
    for first in (0, 8, 16):
        stream.take(StepDraws(1, TINY, first, slice(2, 6)), range(first + 10, first + 14))
    stream.take(StepDraws(1, TINY, 24, slice(2, 6)))
    assert numbers == [n for first in (0, 8, 16, 24) for n in range(first + 2, first + 6)]
    stream.take(StepDraws(1, TINY, 32, slice(0, 1)), [40])
    other = stream.take(StepDraws(2, TINY, 40, slice(0, 1)))
    np.testing.assert_array_equal(other[0], StepDraws(2, TINY, 40, slice(0, 1)).patch(source, 40))


def test_a_thread_computes_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        data = CascadeData(volumes(), TINY)
        source = data.source(data.train, 1)
        found = []
        draw = source.draw

        def noted(rng: np.random.Generator, number: int) -> np.ndarray:
            found.append(torch.get_num_threads())
            return draw(rng, number)

        source.draw = noted  # type: ignore[method-assign]
        PatchStream(source, threads=2).take(StepDraws(1, TINY, 0, slice(0, 4)))
        assert found == [1] * 4
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "processes", "threads"),
    [(2, None, 1), (1, None, 1), (16, None, 8), (16, "4", 3), (16, "16", 1), (4, "x", 3)],
)
def test_threads_are_the_cores_that_a_process_has_besides_its_own(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: str | None, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert drawing_threads() == threads
