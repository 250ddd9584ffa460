"""A small BIDS dataset: two subjects, sessions, runs, inherited metadata, and files to ignore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

AFFINE = np.array([[-1.0, 0, 0, 8], [0, 1.5, 0.1, -9], [0, -0.1, 4, 2], [0, 0, 0, 1]])
T2W = (
    "sub-01/ses-01/anat/sub-01_ses-01_T2w.nii.gz",
    "sub-01/ses-02/anat/sub-01_ses-02_acq-tse_run-01_T2w.nii.gz",
    "sub-01/ses-02/anat/sub-01_ses-02_acq-tse_run-02_T2w.nii.gz",
)
T1W = ("sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz")
BOLD = "sub-02/func/sub-02_task-rest_bold.nii.gz"
# Not taken: phase, masks, derivatives, sources, what .bidsignore names, and no BIDS names.
OTHERS = (
    "sub-02/anat/sub-02_part-phase_T2starw.nii.gz",
    "sub-02/anat/sub-02_mod-T1w_defacemask.nii.gz",
    "sub-02/anat/sub-02_acq-bad_T2w.nii.gz",
    "sub-02/scratch/sub-02_T2w.nii.gz",
    "sub-02/anat/localizer.nii.gz",
    "derivatives/other/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
    "sourcedata/sub-01/anat/sub-01_T1w.nii.gz",
    "code/example.nii.gz",
)


def volume(path: Path, seed: int = 0, shape: tuple[int, ...] = (16, 18, 3)) -> Path:
    """A noise image in mm, seconds and with the scanner's code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = 60 + 15 * np.random.default_rng(seed).normal(size=shape)
    image = nib.Nifti1Image(values.astype(np.float32), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    image.header.set_xyzt_units("mm", "sec")
    if len(shape) == 4:
        image.header["pixdim"][4] = 2.0
    nib.save(image, path)
    return path


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def dataset(root: Path) -> Path:
    for seed, name in enumerate((*T2W, *T1W, *OTHERS)):
        volume(root / name, seed)
    volume(root / BOLD, 99, (16, 16, 3, 2))
    write_json(
        root / "dataset_description.json",
        {
            "Name": "Phantom study",
            "BIDSVersion": "1.10.0",
            "DatasetType": "raw",
            "License": "CC0",
            "Authors": ["A. Author"],
            "DatasetDOI": "doi:10.0000/phantom",
        },
    )
    (root / "README.md").write_text("A synthetic dataset, by which a program is tested.\n")
    (root / ".bidsignore").write_text(
        "# bad, or private\n*_acq-bad_*\nsub-*/scratch\n/sub-02/anat/localizer*\n"
    )
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\nsub-02\t31\n")
    write_json(root / "participants.json", {"age": {"Description": "age", "Units": "year"}})
    write_json(
        root / "T2w.json",
        {"EchoTime": 0.1, "RepetitionTime": 4.0, "MagneticFieldStrength": 3, "Vendor": "x"},
    )
    write_json(
        root / "sub-01" / "ses-02" / "sub-01_ses-02_acq-tse_T2w.json",
        {"EchoTime": 0.08, "EffectiveEchoSpacing": 0.0005, "FlipAngle": 120},
    )
    write_json(root / T2W[2].replace(".nii.gz", ".json"), {"FlipAngle": 150, "SkullStripped": True})
    write_json(
        root / "task-rest_bold.json",
        {"TaskName": "rest", "RepetitionTime": 2.0, "SliceTiming": [0.0, 1.0, 0.5]},
    )
    write_json(root / OTHERS[0].replace(".nii.gz", ".json"), {"Units": "rad"})
    write_json(
        root / "derivatives" / "other" / "dataset_description.json",
        {
            "Name": "Another program's",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "another"}],
        },
    )
    return root
