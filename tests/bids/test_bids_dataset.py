"""Choice of a dataset's images by name and filter, and their metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bids_dataset import AFFINE, BOLD, OTHERS, T1W, T2W, dataset, volume, write_json

from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    derived_name,
    find_dataset,
    inherited_metadata,
    kept_metadata,
    open_source,
    parse_selection,
)
from mrcascade.io.bids.entities import ENTITIES, parse_name
from mrcascade.jobs import find_inputs


def taken(root: Path, folder: str = "", text: str | None = None) -> list[str]:
    items = find_inputs([root / folder], bids_filter=text)
    assert all(item.folder == Path(item.name).parent for item in items)
    return [item.name for item in items]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_T2w.nii.gz", "sub-01_desc-sr4x_T2w.json"),
        ("sub-01_ses-1_run-02_T1w.nii", "sub-01_ses-1_run-02_desc-sr4x_T1w.json"),
        ("sub-01_space-MNI152_res-2_desc-preproc_T1w.nii.gz", None),
        ("sub-01_space-MNI152_res-2_den-1_label-GM_T1w.nii.gz", None),
        ("sub-a+b_acq-x+y_T1w.nii.gz", "sub-a+b_acq-x+y_desc-sr4x_T1w.json"),
    ],
)
def test_desc_is_the_last_entity(name: str, expected: str | None) -> None:
    made = derived_name(Path(name), "sr4x", ".json")
    if expected is not None:
        assert made == expected
    parsed = parse_name(Path(made))
    assert parsed is not None
    assert parsed.entities["desc"] == "sr4x"
    order = list(ENTITIES)
    places = [order.index(entity) for entity in parsed.entities]
    assert places == sorted(places)
    before = parse_name(Path(name))
    assert before is not None
    kept = {key: value for key, value in before.entities.items() if key != "res"}
    assert {**kept, "desc": "sr4x"} == parsed.entities


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_res-2_desc-a_desc-b_T1w.nii.gz", "sub-01_desc-sr2x_T1w.nii.gz"),
        ("sub-01_res-1_res-2_T1w.nii.gz", "sub-01_desc-sr2x_T1w.nii.gz"),
        ("sub-01_T1w_desc-low2x.nii.gz", "sub-01_desc-sr2x_T1w.nii.gz"),
        ("sub-01_desc-a.b_T1w.nii", "sub-01_desc-a.b_T1w_desc-sr2x.nii.gz"),  # no entity
        ("t2_res-high_desc-x.npy", "t2_res-high_desc-sr2x.nii.gz"),  # no BIDS name
    ],
)
def test_entities_that_a_result_replaces(name: str, expected: str) -> None:
    assert derived_name(Path(name), "sr2x", ".nii.gz") == expected


def test_only_images_of_the_scanner_are_taken(raw: Path) -> None:
    assert taken(raw) == sorted([*T1W, *T2W])
    assert all((raw / name).exists() for name in OTHERS)


def test_folders_of_a_dataset_keep_its_tree(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(raw, "sub-01") == sorted([T1W[0], *T2W])
    assert taken(raw, "sub-01/ses-02/anat") == sorted(T2W[1:])
    monkeypatch.chdir(raw / "sub-02" / "anat")
    (item,) = find_inputs([Path(".")])
    assert item.name == T1W[1]
    # Not part of the dataset: a dataset of its own, and a plain folder.
    (item,) = find_inputs([raw / "derivatives" / "other"])
    assert item.name == "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    (item,) = find_inputs([raw / "sourcedata"])
    assert (item.dataset, item.folder) == (None, Path("sub-01/anat"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("suffix=T2w", T2W),
        ("suffix=T2w,session=01", T2W[:1]),
        ("suffix=T2w,ses=ses-02,run=2", T2W[2:]),
        ("sub=01, suffix=T1w", T1W[:1]),
        ("acquisition=tse,suffix=T2w,extension=.nii.gz", T2W[1:]),
        ("run=1,run=02", T2W[1:]),
        ("datatype=func", (BOLD,)),
        ("part=phase", OTHERS[:1]),
    ],
)
def test_a_filter_of_pairs(raw: Path, text: str, expected: tuple[str, ...]) -> None:
    assert taken(raw, text=text) == sorted(expected)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"suffix": ["T1w", "T2w"], "subject": "02"}, T1W[1:]),
        ({"suffix": "T2w", "acquisition": None}, T2W[:1]),
        ({"suffix": "T2w", "run": [None, 1]}, T2W[:2]),
        ({"datatype": ["anat", "func"], "sub": "02"}, (T1W[1], BOLD)),
        ({}, (*T1W, *T2W)),
    ],
)
def test_a_filter_of_json(
    raw: Path, tmp_path: Path, document: dict, expected: tuple[str, ...]
) -> None:
    write_json(tmp_path / "filter.json", document)
    assert taken(raw, text=str(tmp_path / "filter.json")) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("T2w", "neither a JSON file nor key=value"),
        ("contrast=T2w", "no entity is called 'contrast'; known are subject, template, session"),
        ("suffix=", "suffix needs a value"),
        ("suffix=T2w,session", "session needs a value"),
    ],
)
def test_a_bad_filter_is_refused(text: str, message: str) -> None:
    with pytest.raises(MRCascadeError, match=message):
        parse_selection(text)


@pytest.mark.parametrize("content", ["{", "[1]", '{"suffix": {"t1w": "T1w"}}', '{"run": [true]}'])
def test_a_bad_filter_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "filter.json"
    path.write_text(content)
    with pytest.raises(MRCascadeError, match=f"{path}: "):
        parse_selection(str(path))


def test_nothing_matches_says_what_there_is(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(MRCascadeError) as caught:
        find_inputs([raw], bids_filter="suffix=T2w,session=03,echo=1")
    message = str(caught.value)
    assert "with --bids-filter suffix=T2w,session=03,echo=1" in message
    for values in (
        "suffix T1w, T2starw, T2w, bold;",
        "session 01, 02, none;",
        "echo none",
        "datatype anat, func;",
        "part none, phase;",
    ):
        assert values in message
    assert "\n" not in message
    with pytest.raises(MRCascadeError, match="no input is a BIDS dataset"):
        find_inputs([volume(tmp_path / "t2.nii.gz")], bids_filter="suffix=T2w")
    write_json(tmp_path / "empty" / "dataset_description.json", {})
    (tmp_path / "empty" / "sub-01").mkdir()
    with pytest.raises(MRCascadeError, match="no image of the BIDS dataset"):
        find_inputs([tmp_path / "empty"])


def test_a_dataset_comes_alone(raw: Path, tmp_path: Path) -> None:
    other = volume(tmp_path / "t2.nii.gz")
    with pytest.raises(MRCascadeError, match="form a dataset of their own"):
        find_inputs([raw, other])
    with pytest.raises(MRCascadeError, match="form a dataset of their own"):
        find_inputs([raw, raw / "derivatives" / "other"])


def test_metadata_are_inherited(raw: Path) -> None:
    tse = {"RepetitionTime": 4.0, "MagneticFieldStrength": 3, "Vendor": "x", "EchoTime": 0.08}
    tse |= {"EffectiveEchoSpacing": 0.0005}
    assert inherited_metadata(raw / T2W[0]) == {
        "EchoTime": 0.1,
        "RepetitionTime": 4.0,
        "MagneticFieldStrength": 3,
        "Vendor": "x",
    }
    assert inherited_metadata(raw / T2W[1]) == {**tse, "FlipAngle": 120}
    assert inherited_metadata(raw / T2W[2]) == {**tse, "FlipAngle": 150, "SkullStripped": True}
    assert inherited_metadata(raw / T1W[0]) == {}
    assert set(kept_metadata(inherited_metadata(raw / T2W[1]), (0, 1))) == {
        "RepetitionTime",
        "MagneticFieldStrength",
        "EchoTime",
        "FlipAngle",
    }


def test_slice_times_stay_with_the_slices(raw: Path) -> None:
    metadata = inherited_metadata(raw / BOLD)
    assert kept_metadata(metadata, (0, 1)) == metadata
    assert "SliceTiming" not in kept_metadata(metadata, (0, 2))
    turned = {**metadata, "SliceEncodingDirection": "i-"}
    assert "SliceTiming" not in kept_metadata(turned, (0, 1))
    assert "SliceTiming" in kept_metadata(turned, (1, 2))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    root = dataset(tmp_path / "raw")
    (root / "T2w.json").write_text("{")
    with pytest.raises(MRCascadeError, match=r"T2w\.json: not readable as JSON"):
        inherited_metadata(root / T2W[0])
    (root / "dataset_description.json").write_text("[]")
    found = find_dataset(root)
    assert found is not None
    with pytest.raises(MRCascadeError, match=r"dataset_description\.json: not a JSON object"):
        _ = found.description


def test_the_acquired_matrix_is_inherited(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    write_json(root / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.10.0"})
    path = volume(root / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
    write_json(root / "T2w.json", {"AcquisitionMatrix": [0, 12, 9, 0]})  # columns, then rows
    with open_source(path) as source:
        assert source.acquired == {0: 12, 1: 9}
        np.testing.assert_allclose(source.affine, AFFINE, atol=1e-6)
