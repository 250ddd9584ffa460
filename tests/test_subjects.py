"""Subject and contrast of a file."""

from __future__ import annotations

import json
from pathlib import Path, PurePath

import numpy as np
import pytest

from mrcascade.data.contrast import contrast_family, contrast_of
from mrcascade.data.folder import list_data
from mrcascade.data.subjects import digest, share_of


def subjects(root: Path, *names: str) -> dict[str, str | None]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / name, np.ones((8, 8)))
    return {f.name: f.subject for f in list_data(root, True, False)}


def test_a_bids_entity_names_the_subject(tmp_path: Path) -> None:
    found = subjects(tmp_path, "sub-01/ses-1/anat/x.npy", "sub-02_T1w.npy", "my_sub-03_bold.npy")
    assert list(found.values()) == ["sub-03", "sub-01", "sub-02"]


def test_a_numbered_folder_is_a_subject_unless_it_numbers_something_else(tmp_path: Path) -> None:
    assert subjects(
        tmp_path,
        "brain/train/p01/ses2/t1.npy",
        "brain/train/p01/ses3/t1.npy",
        "brain/train/p02/t2.npy",
        "brain/T1/x.npy",
        "brain/3T/x.npy",
        "brain/1.5T/x.npy",
        "brain/site12/p07/x.npy",
        "knee/x.npy",
    ) == {
        "brain/1.5T/x.npy": None,
        "brain/3T/x.npy": None,
        "brain/T1/x.npy": None,
        "brain/site12/p07/x.npy": "p07",
        "brain/train/p01/ses2/t1.npy": "p01",
        "brain/train/p01/ses3/t1.npy": "p01",
        "brain/train/p02/t2.npy": "p02",
        "knee/x.npy": None,
    }


def test_a_folder_that_all_share_is_nobody(tmp_path: Path) -> None:
    assert set(subjects(tmp_path, "study7/a.npy", "study7/b.npy").values()) == {None}


def test_a_manifest_goes_before_names(tmp_path: Path) -> None:
    subjects(tmp_path, "sub-01/a.npy", "sub-02/b.npy")
    entries = [{"file": "sub-01/a.npy", "subject": "anna"}, {"file": "sub-02/b.npy"}]
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    assert list(subjects(tmp_path).values()) == ["anna", "sub-02"]


def test_digests_and_shares_stay_and_spread() -> None:
    assert digest("anna") == digest("anna") != digest("berta")
    assert len(digest("anna")) == 16
    shares = [share_of(f"sub-{i}") for i in range(2000)]
    assert 0 <= min(shares) <= max(shares) < 1
    # Five standard deviations of a uniform number's mean, and of a tenth's count.
    assert abs(np.mean(shares) - 0.5) < 5 / np.sqrt(12 * 2000)
    assert abs(np.mean(np.array(shares) < 0.1) - 0.1) < 5 * np.sqrt(0.09 / 2000)


@pytest.mark.parametrize(
    ("name", "told", "family"),
    [
        ("sub-01_T2w.nii.gz", "T2w", "T2"),
        ("ax_flair.npy", "flair", "FLAIR"),
        ("file_brain_AXT1POST_2.h5", "AXT1POST", "T1"),
        ("knee_pd-weighted.npy", "pd-weighted", "PD"),
        ("t10.npy", "", ""),
        ("part1.npy", "", ""),
    ],
)
def test_contrast_of_a_name(name: str, told: str, family: str) -> None:
    found = contrast_of(PurePath(name), {})
    assert (found, contrast_family(found)) == (told, family)
    assert contrast_of(PurePath(name), {"contrast": "GRE"}) == "GRE"


def test_the_family_is_the_first_that_is_named() -> None:
    for text, family in {
        "multi-echo SE, echo 1 (TE 6.31 ms): PD-weighted": "PD",
        "multi-echo SE, echo 4: intermediate-weighted": "intermediate",
        "3-D GRE, PD/T1w (MT off)": "PD",
        "T2w, CSF dark (FLAIR-like)": "T2",
        "FLAIR (2-D)": "FLAIR",
        "3-D GRE (MT on)": "3-D GRE (MT on)",
    }.items():
        assert contrast_family(text) == family
