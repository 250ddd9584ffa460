"""The dictionary transform of MONAI: metadata, affine, and files that MONAI reads."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tests.adapters.adapted_volumes import AFFINE, SHAPE, enlargement

from mrcascade import CascadePrior, super_resolve_file

pytestmark = pytest.mark.slow  # as the import of MONAI is


@pytest.fixture(scope="module")
def monai() -> Any:
    return pytest.importorskip("monai", reason="pip install 'mrcascade[monai]'")


def test_a_file_becomes_what_the_command_writes(
    monai: Any, prior_folder: Path, tmp_path: Path
) -> None:
    from monai.transforms import Compose, LoadImaged

    from mrcascade.adapters.monai import SuperResolved

    pixels = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    nib.save(nib.Nifti1Image(pixels, AFFINE), tmp_path / "low.nii")
    steps = [
        LoadImaged("t2", ensure_channel_first=True),
        SuperResolved("t2", 2, kernel="area", prior=prior_folder, noise=0.01, mode="mean"),
    ]
    found = Compose(steps)({"t2": tmp_path / "low.nii", "age": 3})
    (written, *_) = super_resolve_file(
        tmp_path / "low.nii", tmp_path / "out", factor=2, kernel="area", prior=prior_folder,
        noise=0.01, mode="mean",
    )  # fmt: skip
    expected = nib.load(written)
    assert np.array_equal(found["t2"][0], expected.get_fdata(dtype=np.float32))
    assert found["t2"].affine.numpy() == pytest.approx(expected.affine, abs=1e-5)  # float32
    assert found["t2"].meta["filename_or_obj"] == str(tmp_path / "low.nii")
    assert found["age"] == 3


def test_images_of_a_dictionary(monai: Any, prior: CascadePrior) -> None:
    from monai.data import MetaTensor, set_track_meta

    from mrcascade.adapters.monai import SuperResolved

    volume = MetaTensor(torch.rand(2, *SHAPE), affine=torch.from_numpy(AFFINE), meta={"scan": 7})
    plane = MetaTensor(torch.rand(1, 16, 16), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0])))
    data = {"volume": volume, "plane": plane, "array": np.random.rand(1, 16, 16)}  # noqa: NPY002
    settings: dict[str, Any] = {"noise": 0.01, "mode": "sample", "steps": 3, "samples": 2}
    transform = SuperResolved(
        ("volume", "plane", "array", "no"), 2, kernel="area", seed=3, batch_size=2,
        allow_missing_keys=True, prior=prior, **settings,
    )  # fmt: skip
    result = transform(data)
    assert set(result) == {f"{k}{end}" for k in data for end in ("", "_std")}
    mean, std, affine = enlargement(prior, **settings)(volume.as_tensor(), AFFINE)
    assert torch.equal(result["volume"].as_tensor(), mean)
    assert torch.equal(result["volume_std"].as_tensor(), std)
    for key in ("volume", "volume_std"):
        assert np.array_equal(result[key].affine, affine)
        assert result[key].meta["scan"] == 7
    assert np.array_equal(volume.affine, AFFINE)  # of the input, which stays
    assert result["plane"].shape == (1, 32, 32)
    # 2 and 3 mm become 1 and 1.5; the corner at -1 and -1.5 mm stays
    expected = [[1.0, 0.0, -0.5], [0.0, 1.5, -0.75], [0.0, 0.0, 1.0]]
    assert result["plane"].affine.tolist() == expected
    assert isinstance(result["array"], MetaTensor)
    with pytest.raises(KeyError, match="missing"):
        SuperResolved("no", 2)(data)
    set_track_meta(False)
    try:
        assert type(transform({"plane": plane})["plane"]) is torch.Tensor
    finally:
        set_track_meta(True)


def test_the_example_is_true(monai: Any) -> None:
    from mrcascade.adapters.monai import SuperResolved

    (example,) = doctest.DocTestFinder(recurse=False).find(SuperResolved, globs={})
    assert doctest.DocTestRunner().run(example).failed == 0
