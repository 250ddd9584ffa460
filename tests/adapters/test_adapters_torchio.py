"""The transform of torchio: shapes, affine, history, and the images that it leaves alone."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
import torch
from tests.adapters.adapted_volumes import AFFINE, SHAPE

from mrcascade import CascadePrior, SeparableOperator, super_resolve

pytestmark = pytest.mark.slow  # as the import of torchio is


@pytest.fixture(scope="module")
def torchio() -> Any:
    return pytest.importorskip("torchio", reason="pip install 'mrcascade[torchio]'")


def test_a_subject_is_super_resolved(torchio: Any, prior: CascadePrior) -> None:
    from mrcascade.adapters.torchio import SuperResolve

    data = torch.rand(1, *SHAPE)
    data[:, :4] = 0  # air, whose noise and ratios are 0: torchio makes NumPy's warnings errors
    labels = (data > 0.5).to(torch.uint8)
    subject = torchio.Subject(
        mri=torchio.ScalarImage(tensor=data, affine=AFFINE),
        other=torchio.ScalarImage(tensor=data, affine=AFFINE),
        tissue=torchio.LabelMap(tensor=labels, affine=AFFINE),
    )
    transform = SuperResolve(
        2,
        kernel="area",
        prior=prior,
        noise=0.01,
        mode="sample",
        steps=3,
        samples=2,
        exclude=["other"],
    )
    result = transform(subject)
    operator = SeparableOperator.from_kernel("area", 2, (32, 40))
    expected = super_resolve(
        data[0].permute(1, 0, 2).numpy(),
        operator,
        prior,
        noise=0.01,
        mode="sample",
        steps=3,
        samples=2,
    )
    assert np.array_equal(result.mri.data[0].permute(1, 0, 2), expected.mean)
    assert np.array_equal(result.mri_std.data[0].permute(1, 0, 2), expected.std)
    assert result.mri.spatial_shape == result.mri_std.spatial_shape == (32, 3, 40)
    assert result.mri.spacing == pytest.approx((1.0, 6.0, 0.75))
    fine = np.diag([0.5, 1.0, 0.5, 1.0])
    fine[[0, 2], 3] = -0.25  # the corner at -1/2 stays
    assert result.mri.affine == pytest.approx(AFFINE @ fine, abs=1e-12)
    assert np.array_equal(result.mri_std.affine, result.mri.affine)
    assert torch.equal(result.other.data, data)
    assert torch.equal(result.tissue.data, labels)
    assert torch.equal(subject.mri.data, data)  # torchio's copy was changed
    assert "factor=2" in repr(result.history[0])
    again = result.get_composed_history()(subject)
    assert torch.equal(again.mri.data, result.mri.data)
    onto = torchio.Resample("mri")(result)
    assert onto.tissue.spatial_shape == (32, 3, 40)


def test_the_example_is_true(torchio: Any) -> None:
    from mrcascade.adapters.torchio import SuperResolve

    (example,) = doctest.DocTestFinder(recurse=False).find(SuperResolve, globs={})
    assert doctest.DocTestRunner().run(example).failed == 0
