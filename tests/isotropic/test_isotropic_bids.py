"""`sr --isotropic` of a BIDS dataset: a derivative whose metadata fit the thin slices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from thick_images import phantom, thick_file


def test_a_derivative(tmp_path: Path, sr: Callable, capsys) -> None:
    root = tmp_path / "raw"
    (root / "sub-01" / "anat").mkdir(parents=True)
    thick_file(root / "sub-01" / "anat" / "sub-01_T2w.nii.gz", phantom((36, 32, 12)))
    described = {"Name": "N", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(described))
    inherited = {"SliceThickness": 4, "EchoTime": 0.1, "SliceTiming": list(range(12))}
    (root / "T2w.json").write_text(json.dumps(inherited))
    options = ("--samples", "2", "--steps", "4", "--noise", "0", "--isotropic", "2")
    assert sr(root, *options) == 0
    assert "12 slices of 4 mm (by the JSON file beside it)" in capsys.readouterr().out
    out = tmp_path / "out"
    made = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    name = "sub-01/anat/sub-01_desc-sriso2mm"
    images = {
        f"{name}{kind}_T2w{end}" for kind in ("", "sample", "std") for end in (".json", ".nii.gz")
    }
    figure = "sub-01/figures/sub-01_desc-sriso2mm_T2w.png"
    assert made == images | {figure, "dataset_description.json", "README.md", ".bidsignore"}
    for kind in ("", "sample", "std"):
        document = json.loads((out / f"{name}{kind}_T2w.json").read_text())
        assert document["SliceThickness"] == document["SpacingBetweenSlices"]
        assert document["SliceThickness"] == pytest.approx(2)  # a float32 affine
        assert document["EchoTime"] == 0.1
        assert "SliceTiming" not in document  # of the thick slices
        assert document["Resolution"] == "slices 2 mm instead of 4 mm apart"
        assert document["Sources"] == ["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"]
    assert "sriso" in (out / "README.md").read_text()
    # The results are no inputs of another run.
    assert sr(root, "--resume", *options) == 0
    assert "already done" in capsys.readouterr().out
