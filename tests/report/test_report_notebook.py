"""Restorations in notebooks and their reports."""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_pages import page_data, page_slice

import mrcascade
from mrcascade.jobs.report_memory import write_restoration_report
from mrcascade.operators import SeparableOperator
from mrcascade.pictures.preview import intensity_window
from mrcascade.pictures.report.eight_bit import eight_bit
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import Restoration


@pytest.fixture(scope="module")
def low() -> np.ndarray:
    return np.random.default_rng(0).uniform(10, 100, (16, 20)).astype(np.float32)


@pytest.fixture(scope="module")
def operator() -> SeparableOperator:
    return SeparableOperator.from_kernel("fourier", 2, (32, 40))


@pytest.fixture(scope="module")
def restoration(low: np.ndarray, operator: SeparableOperator, prior: CascadePrior) -> Restoration:
    return mrcascade.super_resolve(low, operator, prior, noise=0.0, samples=2, steps=2)


def test_a_restoration_shows_itself(restoration: Restoration) -> None:
    html = restoration._repr_html_()
    first, second = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(first))))
    expected = eight_bit(restoration.mean, intensity_window(restoration.mean))
    np.testing.assert_array_equal(picture, expected)
    assert second
    assert "<td style='text-align:left'>sample</td>" in html
    assert "<script" not in html


def test_a_view_needs_its_extra(restoration: Restoration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with pytest.raises(mrcascade.MRCascadeError, match=r"pip install 'mrcascade\[notebook\]'"):
        restoration.view()


def test_a_view_holds_the_volumes(restoration: Restoration) -> None:
    pytest.importorskip("ipyniivue", reason="the extra notebook is not installed")
    mean, std = restoration.view(np.diag([0.5, 0.5, 3, 1])).volumes
    assert [mean.name, std.name] == ["mean.nii", "std.nii"]
    assert std.colormap == "magma"


def test_a_report_of_a_restoration(
    tmp_path: Path, restoration: Restoration, low: np.ndarray, operator: SeparableOperator
) -> None:
    truth = np.full((32, 40), 50.0)
    path = tmp_path / "demo" / "index.html"
    write_restoration_report(
        path, restoration, low, operator, title="A demo", others={"truth <1>": truth}
    )
    data = page_data(path)
    assert [one["role"] for one in data["layers"]] == ["before", *["after"] * 3, "std"]
    window = tuple(data["window"])
    np.testing.assert_array_equal(
        page_slice(data, "result", 0), eight_bit(restoration.mean, window)
    )
    np.testing.assert_array_equal(page_slice(data, "other0", 0), eight_bit(truth, window))
    page = path.read_text()
    assert "super-resolved in plane by 2 x 2" in page
    assert "The data were taken as free of noise" in page
    with pytest.raises(mrcascade.MRCascadeError, match="already exists"):
        write_restoration_report(path, restoration, low, operator)
    with pytest.raises(mrcascade.MRCascadeError, match="have one shape"):
        write_restoration_report(
            path, restoration, low, operator, others={"x": low}, overwrite=True
        )
