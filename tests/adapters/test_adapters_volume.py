"""Volumes as tensors: the bits of `super_resolve`, and an affine that nibabel agrees with."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine, voxel_sizes
from tests.adapters.adapted_volumes import AFFINE, SHAPE, enlargement

from mrcascade import (
    CascadePrior,
    MRCascadeError,
    SeparableOperator,
    read_image,
    super_resolve,
    write_image,
)
from mrcascade.io.planes import axes_of_array, choose_axes


def test_channels_are_restored_to_the_bit(prior: CascadePrior) -> None:
    channels = torch.rand(2, *SHAPE) * torch.tensor([1.0, 50.0])[:, None, None, None]
    enlarge = enlargement(prior, mode="sample", steps=3, samples=2, factor=(2, 2))
    mean, std, _ = enlarge(channels, AFFINE)
    assert std is not None
    assert mean.shape == std.shape == (2, 32, 3, 40)
    operator = SeparableOperator.from_kernel("area", 2, (32, 40))
    for channel, image, spread in zip(channels, mean, std, strict=True):
        expected = super_resolve(
            channel.permute(1, 0, 2).numpy(),
            operator,
            prior,
            noise=0.01,
            mode="sample",
            steps=3,
            samples=2,
            seed=3,
            batch_size=2,
        )
        assert np.array_equal(image.permute(1, 0, 2), expected.mean)
        assert np.array_equal(spread.permute(1, 0, 2), expected.std)


def test_a_single_image_and_turned_axes(prior: CascadePrior) -> None:
    image = torch.rand(1, 16, 20)
    mean, std, _ = enlargement(prior)(image, AFFINE)
    assert mean.shape == (1, 32, 40)
    assert std is None
    turned, _, _ = enlargement(prior, axes=(1, 0))(image, AFFINE)
    operator = SeparableOperator.from_kernel("area", 2, (40, 32))
    expected = super_resolve(image[0].T.numpy(), operator, prior, noise=0.01, seed=3)
    assert np.array_equal(turned[0].T, expected.mean)


@pytest.mark.parametrize(("kernel", "corner"), [("area", -0.5), ("fourier", 0.0)])
def test_nibabel_finds_the_voxels_where_they_were(
    prior: CascadePrior, kernel: str, corner: float
) -> None:
    """The corner that both grids share stays, and so does every point of the image."""
    mean, _, affine = enlargement(prior, kernel=kernel)(torch.rand(1, *SHAPE), AFFINE)
    assert voxel_sizes(affine) == pytest.approx([1.0, 6.0, 0.75], abs=1e-12)
    points = np.random.default_rng(0).random((9, 3)) * SHAPE
    fine = np.copy(points)
    fine[:, [0, 2]] = (points[:, [0, 2]] - corner) * 2 + corner
    assert apply_affine(affine, fine) == pytest.approx(apply_affine(AFFINE, points), abs=1e-12)
    saved = nib.Nifti1Image(mean[0].numpy(), affine)
    assert nib.aff2axcodes(saved.affine) == nib.aff2axcodes(AFFINE)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        (SHAPE, (2.0, 6.0, 1.5)),
        ((64, 64, 20), (1.0, 1.0, 5.0)),
        ((40, 64, 64), (1.0, 1.0, 1.0)),
        ((64, 60, 62), (1.0, 1.0, 1.0)),
        ((64, 64, 30), (1.0, 3.0, 3.0)),
        ((1, 64, 30), (1.0, 1.0, 1.0)),
    ],
)
def test_planes_are_those_of_a_file(
    shape: tuple[int, ...], spacing: tuple[float, ...], tmp_path: Path
) -> None:
    affine = np.diag([*spacing, 1.0])
    write_image(np.random.default_rng(0).random(shape), tmp_path / "a.nii", affine=affine)
    assert axes_of_array(shape, affine) == choose_axes(read_image(tmp_path / "a.nii"))


def test_what_cannot_be_enlarged_is_refused(prior: CascadePrior) -> None:
    volume = torch.rand(1, *SHAPE)
    with pytest.raises(MRCascadeError, match="in-plane axes '0,3' for an array are not both"):
        enlargement(prior, axes=(0, 3))(volume, AFFINE)
    with pytest.raises(MRCascadeError, match="single line of voxels"):
        enlargement(prior)(torch.rand(1, 1, 1, 20), AFFINE)
    with pytest.raises(MRCascadeError, match=r"16 pixels times factor 1\.3 is not a whole number"):
        enlargement(prior, factor=1.3)(volume, AFFINE)
