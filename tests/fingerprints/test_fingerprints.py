"""Results of every mode, kernel, factor, noise level and format equal the recorded ones."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from mrcascade import operators
from tests.fingerprints.cases import CASES, KERNELS
from tests.fingerprints.fingerprint import (
    array_record,
    fact_differences,
    pixel_differences,
)
from tests.fingerprints.record import RECORDED, compare, run_case
from tests.fingerprints.sources import head

pytestmark = pytest.mark.preview
RECORDS = json.loads(RECORDED.read_text())
AGAIN = "if the change is meant, run: python -m tests.fingerprints.record -o " + RECORDED.name
# Cases that run on every change: each command, each kind of data and two modes. The rest are slow.
ALWAYS = (
    "simulate ",
    "memory ",
    "mean noise-0.02 fourier 4x",
    "sample noise-0.02 area 2,1x",
    "png",
    "dicom to nifti",
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name.startswith(ALWAYS) else pytest.mark.slow)
        for name in CASES
    ],
)
def test_results_are_the_recorded_ones(name: str) -> None:
    assert name in RECORDS, AGAIN
    lines = compare({name: RECORDS[name]}, {name: run_case(CASES[name])})
    assert not lines, "\n".join([*lines, AGAIN])


def test_every_kernel_of_the_command_has_cases() -> None:
    assert set(operators.KERNELS) == set(KERNELS)


def image() -> np.ndarray:
    return head(64, 48, 3).astype(np.float32)


def blocks() -> list[tuple[slice, slice, slice]]:
    """All blocks of 8 x 8 x 1 voxels, side by side."""
    places = ((8 * r, 8 * c, s) for r, c, s in np.ndindex(8, 6, 3))
    return [np.s_[r : r + 8, c : c + 8, s : s + 1] for r, c, s in places]


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_a_block_that_changes_by_a_thousandth_of_the_norm_is_found(dtype: str) -> None:
    """The change is noise, or an offset, of 1e-3 of the norm of all; rounding is not found."""
    rng = np.random.default_rng(0)
    whole = image().astype(dtype)
    old = array_record(whole)
    for block in blocks():
        for change in (np.ones_like(whole[block].real), rng.normal(size=whole[block].shape)):
            new = whole.copy()
            new[block] += change * (1e-3 * np.linalg.norm(whole) / np.linalg.norm(change))
            assert pixel_differences(old, array_record(new)), block
    rounded = whole * (1 + 2e-6 * rng.choice([-1, 1], whole.shape)).astype(np.float32)
    assert not pixel_differences(old, array_record(rounded.astype(dtype)))


def test_stored_integers_may_change_by_a_step_and_no_more() -> None:
    whole = (20 * image()).astype(np.uint16)
    stepped, changed = whole.copy(), whole.copy()
    stepped[::7] += 1
    changed[:16, :16] += 100
    assert not pixel_differences(array_record(whole), array_record(stepped))
    assert pixel_differences(array_record(whole), array_record(changed))


def test_a_transposed_or_shifted_image_is_found() -> None:
    old = array_record(image())
    for other in (np.roll(image(), 1, 0), image()[::-1], image()[..., ::-1], image().astype("f8")):
        assert pixel_differences(old, array_record(other))


def test_facts_are_compared_exactly_but_for_rounding() -> None:
    old = next(r for r in RECORDS["mean noise-0.02 fourier 4x"].values() if "norm" not in r)
    assert not fact_differences(old, copy.deepcopy(old))
    rounded, other, less, more = (copy.deepcopy(old) for _ in range(4))
    rounded["facts"]["Settings"]["Scale"] *= 1 + 1e-6
    other["facts"]["Settings"]["Scale"] *= 1 + 5e-3
    del less["facts"]["Request"]["Noise"]
    more["facts"]["Request"]["Other"] = None
    assert not fact_differences(old, rounded)
    assert len(fact_differences(old, rounded, exact=True)) == 1
    for changed in (other, less, more):
        assert len(fact_differences(old, changed)) == 1


def test_outputs_that_come_or_go_are_found() -> None:
    name, outputs = next(iter(RECORDS.items()))
    fewer = dict(list(outputs.items())[1:])
    assert len(compare({name: outputs}, {name: fewer})) == 1
    assert len(compare({name: fewer}, {name: outputs})) == 1
    assert compare({name: outputs}, {name: outputs}) == []
