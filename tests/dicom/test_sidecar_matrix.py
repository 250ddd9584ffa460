"""Acquired matrix from the JSON file beside NIfTI, on the right axes of a rotated array."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mrcascade.io import open_source

SHAPE = (40, 96, 80)
AXIAL, SAGITTAL, CORONAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]
OBLIQUE = [0.7071, 0.7071, 0, 0, 0, -1]
THREE = {"MRAcquisitionType": "3D"}
MATRIX = {"AcquisitionMatrix": [0, 48, 64, 0]}  # 64 phase rows (along columns), 48 columns
PHASE = {"AcquisitionMatrixPE": 64, "BaseResolution": 48}


def oriented(cosines: list[float], **more: Any) -> dict[str, Any]:
    return {"ImageOrientationPatientDICOM": cosines, **more}


CASES = {
    # DICOM's rows run along the first direction, its columns along the second.
    "sagittal": (oriented(SAGITTAL, **THREE, **MATRIX), {1: 48, 2: 64}),
    "coronal": (oriented(CORONAL, **THREE, **MATRIX), {0: 40, 2: 64}),  # 40 stored: no more
    "axial": (oriented(AXIAL, **THREE, **MATRIX), {0: 40, 1: 64}),
    "rows A-P in axial": (oriented([0, 1, 0, 1, 0, 0], **MATRIX), {1: 48, 0: 40}),
    "along columns": (
        oriented(SAGITTAL, InPlanePhaseEncodingDirectionDICOM="COL", **PHASE),
        {2: 64, 1: 48},
    ),
    "along rows": (
        oriented(SAGITTAL, InPlanePhaseEncodingDirectionDICOM="ROW", **PHASE),
        {1: 64, 2: 48},
    ),
    "BIDS names an axis": (
        oriented(SAGITTAL, PhaseEncodingDirection="k-", **PHASE),
        {2: 64, 1: 48},
    ),
    "an axis without orientation": ({**THREE, "PhaseEncodingDirection": "k", **PHASE}, {2: 64}),
    "slices are named": (
        {**THREE, "SliceEncodingDirection": "i", "PhaseEncodingDirection": "j", **PHASE},
        {1: 64, 2: 48},
    ),
    # What cannot be told.
    "3-D without orientation": ({**THREE, **MATRIX}, None),
    "3-D, a word only": ({**THREE, "InPlanePhaseEncodingDirectionDICOM": "COL", **PHASE}, None),
    "oblique to the array": (oriented(OBLIQUE, **MATRIX), None),
    "turned later": (
        oriented(
            SAGITTAL,
            PhaseEncodingDirection="j",
            InPlanePhaseEncodingDirectionDICOM="COL",
            **PHASE,
        ),
        None,
    ),
    "phase along the slices": (oriented(SAGITTAL, PhaseEncodingDirection="i", **PHASE), None),
    "phase rows are not i": ({"PhaseEncodingDirection": "i", **MATRIX}, None),
    # Equal sizes need no order.
    "square": (
        {**THREE, "SliceEncodingDirection": "i", "AcquisitionMatrix": [64, 0, 0, 64]},
        {1: 64, 2: 64},
    ),
    "2-D stays": ({"MRAcquisitionType": "2D", **MATRIX}, {0: 40, 1: 64}),
}


@pytest.mark.parametrize("case", CASES)
def test_axes_of_a_turned_array(tmp_path: Path, case: str) -> None:
    document, expected = CASES[case]
    data = np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 1.0, 1.0, 1.0])), tmp_path / "a.nii")
    (tmp_path / "a.json").write_text(json.dumps(document))
    with open_source(tmp_path / "a.nii") as source:
        assert source.acquired == expected


def test_a_permuted_array(tmp_path: Path) -> None:
    """The affine says how the array was turned, whatever the order of its axes."""
    affine = np.eye(4)[[2, 0, 1, 3]]  # axes run A-P, S-I, R-L
    data = np.arange(32 * 33 * 34, dtype=np.int32).reshape(32, 33, 34) % 99
    nib.save(nib.Nifti1Image(data.astype(np.int16), affine), tmp_path / "a.nii")
    document = oriented(SAGITTAL, AcquisitionMatrix=[0, 20, 24, 0])
    (tmp_path / "a.json").write_text(json.dumps(document))
    with open_source(tmp_path / "a.nii") as source:
        assert source.acquired == {0: 20, 1: 24}
