"""Picture of an evaluation: orientation of slices, and the letters at their edges."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from skimage.io import imread
from tests.evaluation.test_evaluation_run import arguments

from mrcascade.cli import main
from mrcascade.evaluation.figure import (
    Picture,
    keep_pixels,
    load_panels,
    write_figure,
)


def test_pictures_lie_as_radiologists_look_at_them(
    tmp_path: Path, prior_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a NIfTI file whose rows run to the left and whose columns run to the front, with the
    matrix of its rows halved by a manifest."""
    root, output = tmp_path / "data", tmp_path / "out"
    (root / "brain" / "test").mkdir(parents=True)
    data = np.random.default_rng(0).uniform(1, 2, (64, 40, 2)).astype(np.float32)
    affine = np.diag([-1.0, 1.5, 5.0, 1.0])
    nib.save(nib.Nifti1Image(data, affine), root / "brain" / "test" / "a.nii.gz")
    entry = {"file": "brain/test/a.nii.gz", "effective_matrix": [32, 40]}
    (root / "manifest.json").write_text(json.dumps([entry]))
    command = arguments(root, output, prior_folder, "--methods", "zero-fill", "--noise", "0")
    assert main(command) == 0
    steps = np.load(output / "slices" / "0_steps.npy")
    np.testing.assert_array_equal(steps, [[-2, 0], [0, 1.5], [0, 0]])
    panels = load_panels(output, Picture(0, "brain/test/a.nii.gz", 0), ["zero-fill"])
    assert (panels.display.left, panels.display.top) == ("R", "A")
    truth = np.load(output / "slices" / "0_truth.npy")
    np.testing.assert_array_equal(panels.pixels["truth"], np.abs(truth).T[::-1])
    assert {n: p.shape for n, p in panels.pixels.items()} == {
        "truth": (40, 32),
        "measured": (20, 16),
        "zero-fill": (40, 32),
    }
    assert panels.relative_height == pytest.approx(60 / 64)
    wide = imread(output / "slices.png").shape

    # An evaluation that kept nothing of places goes on, with pictures as stored.
    for path in (output / "slices").glob("*_steps.npy"):
        path.unlink()
    assert main(command) == 0
    assert load_panels(output, Picture(0, "", 0), []).relative_height == 32 / 40
    assert imread(output / "slices.png").shape[0] < wide[0]


def test_letters_stand_on_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled = []
    monkeypatch.setattr(
        "mrcascade.evaluation.figure.label_edges", lambda axes, display: labelled.append(display)
    )
    (tmp_path / "slices").mkdir()
    picture = Picture(0, "a.nii.gz", 0)
    for name in ("truth", "measured", "mean"):
        keep_pixels(tmp_path, picture, name, np.eye(8) + 1)
    keep_pixels(tmp_path, picture, "steps", np.array([[0.0, 0], [1, 0], [0, -2]]))
    write_figure(tmp_path, [picture], ["mean"])
    (display,) = labelled
    assert (display.left, display.right, display.top, display.bottom) == ("A", "P", "S", "I")
    assert display.aspect == 2
