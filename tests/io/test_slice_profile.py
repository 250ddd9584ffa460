"""Slice profiles from text files: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io.slice_profile import read_slice_profile
from mrcascade.operators.profile import SliceProfile


def test_names_need_no_file() -> None:
    assert read_slice_profile("gaussian") == SliceProfile("gaussian")
    assert read_slice_profile("rect") == SliceProfile("rect")


@pytest.mark.parametrize("separator", [" ", ",", "; ", "\t"])
def test_two_columns_are_a_profile(tmp_path: Path, separator: str) -> None:
    """A rectangle that ends within 1e-6 of its edges is "rect", to that accuracy."""
    rows = [(-0.500001, 0), (-0.5, 2), (0.5, 2), (0.500001, 0)]
    text = "# position, weight\n\n" + "".join(f"{x}{separator}{w}\n" for x, w in rows)
    path = tmp_path / "profile.txt"
    path.write_text(text, encoding="utf-8-sig")
    profile = read_slice_profile(path)
    assert profile.positions == tuple(x for x, _ in rows)
    # Each weight is an area, of which the edges change at most 4 x 1e-6 of a slice.
    np.testing.assert_allclose(profile.matrix(24, 6), SliceProfile("rect").matrix(24, 6), atol=4e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least two"),
        ("0 1\n", "at least two"),
        ("-1 0\n0 one\n", "line 2: expected two numbers"),
        ("-1 0 3\n", "line 1: expected two numbers"),
        ("0 1\n-1 1\n", "positions that rise"),
        ("-1 0\n0 -1\n1 0\n", "at least 0"),
        ("-1 0\n0 nan\n1 0\n", "must be finite"),
        ("0 0\n0.5 1\n1 0\n", "centre of mass lies at 0.5 thicknesses"),
        ("-1.8 1\n1.8 1\n", "it is 3.6 thicknesses wide .* not in mm"),
        ("-0.2 0\n0 1\n0.2 0\n", "it is 0.2 thicknesses wide"),
        ("0 1e300\n" * 10_001, "has 10001 positions; give at most 10000"),
        ("-20 0\n0 1\n20 0\n", "line 1: position -20 is beyond 16 slice thicknesses"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "profile.txt"
    path.write_text(text)
    with pytest.raises(MRCascadeError, match=message) as caught:
        read_slice_profile(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(MRCascadeError, match=r"slice profile gauss: neither one of gaussian, rect"):
        read_slice_profile("gauss")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    for name in ("binary", "."):
        with pytest.raises(MRCascadeError, match="cannot be read"):
            read_slice_profile(tmp_path / name)
