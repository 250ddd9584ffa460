"""Files of an evaluation: their choice, their truth and their measurement."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mrcascade.arrays.intensity import robust_maximum
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import (
    TestFile,
    Truth,
    file_seed,
    find_files,
    load_truth,
    measure,
    read_matrices,
    short_name,
    source_names,
    spread,
    truth_operator,
)
from mrcascade.operators import upsampler

NAMES = ("brain/test/a01_x.npy", "brain/train/b.npy", "knee/test/c02.npy")
TestSet = Callable[..., Path]


def names(root: Path, split: str = "test", table: Path | None = None) -> dict[str, str]:
    return {f.name: f.anatomy for f in find_files(root, split, table)}


def as_file(root: Path, name: str) -> TestFile:
    return next(f for f in find_files(root, "test") if f.name == name)


def test_files_of_a_split_and_their_anatomies(test_set: TestSet) -> None:
    root = test_set(NAMES)
    assert names(root) == {NAMES[0]: "brain", NAMES[2]: "knee"}
    assert names(root / "brain", "train") == {"train/b.npy": "brain"}
    with pytest.raises(MRCascadeError, match="no files in split 'val'; there are test, train"):
        names(root, "val")


def test_a_folder_without_splits_is_taken_whole(test_set: TestSet) -> None:
    root = test_set(("mine/x.npy", "y.npy"))
    assert names(root) == {"mine/x.npy": "mine", "y.npy": "data"}


def test_results_of_sr_are_no_truth(test_set: TestSet) -> None:
    root = test_set(("x.npy", "x_desc-sr2x.npy", "x_desc-low2x.npy", "out/x_desc-sr1.5x_std.npy"))
    assert list(names(root)) == ["x.npy", "x_desc-low2x.npy"]


def test_a_manifest_limits_the_files_and_knows_their_matrices(test_set: TestSet) -> None:
    root = test_set(NAMES)
    facts = [{"file": NAMES[0], "effective_matrix": [24, 20], "slice_axis": 1}]
    (root / "manifest.json").write_text(json.dumps(facts))
    (file,) = find_files(root, "test")
    assert (file.name, file.matrix, file.data.axes) == (NAMES[0], (24, 20), (0, 2))
    (root / "manifest.json").write_text(json.dumps([{**facts[0], "effective_matrix": [24]}]))
    with pytest.raises(MRCascadeError, match=f"effective_matrix of {NAMES[0]} is not two whole"):
        find_files(root, "test")
    (root / "manifest.json").write_text(json.dumps([{**facts[0], "slice_axis": "z"}]))
    with pytest.raises(MRCascadeError, match=f"slice_axis of {NAMES[0]} is not 0, 1 or 2"):
        find_files(root, "test")


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (".json", '{"x.npy": [24, 20]}'),
        (".json", '[{"file": "x.npy", "effective_matrix": [24, 20]}, {"file": "y.npy"}]'),
        (".csv", "file,rows,columns\nx.npy,24,20\n"),
        (".csv", "x.npy, 24, 20\n"),
    ],
)
def test_a_users_table_of_matrices(
    test_set: TestSet, tmp_path: Path, ending: str, text: str
) -> None:
    table = tmp_path / f"table{ending}"
    table.write_text(text)
    assert read_matrices(table) == {"x.npy": (24, 20)}
    root = test_set(("x.npy", "y.npy"))
    assert [f.matrix for f in find_files(root, "test", table)] == [(24, 20), None]


@pytest.mark.parametrize(
    ("ending", "text"),
    [(".json", "[1, 2]"), (".json", "{"), (".csv", "x.npy,24\n"), (".csv", "x.npy,24,0\n")],
)
def test_a_bad_table_is_named(tmp_path: Path, ending: str, text: str) -> None:
    table = tmp_path / f"table{ending}"
    table.write_text(text)
    with pytest.raises(MRCascadeError, match=f"table{ending}: not a table of matrices"):
        read_matrices(table)


def test_a_table_must_name_files_of_the_data(test_set: TestSet, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("z.npy,24,20\n")
    with pytest.raises(MRCascadeError, match=r"'z.npy' is not an image of the data folder"):
        find_files(test_set(("x.npy",)), "test", table)
    with pytest.raises(MRCascadeError, match="cannot be read"):
        read_matrices(tmp_path / "missing.csv")


SOURCES = {
    "subjects": ({"b/ptbp44_t1w.nii.gz": "ptbp", "b/ptbp46_t1w.nii.gz": "ptbp"}, "brain"),
    "one subject": ({"k/knee01_te06.3ms.nii.gz": "knee01", "k/knee01_te9.nii": "knee01"}, "knee"),
    "contrasts": ({"brainT1.npy": "brainT1", "brainT2.npy": "brainT2", "t2.npy": "t2"}, "b"),
    "digits inside": ({"hku3t_6a_t1w.nii.gz": "hku3t", "hku3t_7a_t1w.nii.gz": "hku3t"}, "brain"),
    "alone": ({"brainT2.nii.gz": "brainT2", "scan.npy": "scan", "head7.npy": "head7"}, "brain"),
    "BIDS": ({"sub-01_T1w.nii.gz": "sub", "sub-2_T1w.nii.gz": "sub"}, "brain"),
    "numbers": ({"0012.npy": "anatomy", "0013.npy": "anatomy"}, "anatomy"),
    "one number": ({"0012.npy": "0012"}, "anatomy"),
    "dots": ({"a.1.npy": "a.1", "b.1.npy": "b.1"}, "anatomy"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_sources_come_from_file_names(case: str) -> None:
    """Numbers of subjects are left out only where several sources differ in nothing else."""
    expected, anatomy = SOURCES[case]
    assert source_names(expected, anatomy) == expected


def test_short_names_lose_folder_and_ending_only() -> None:
    assert short_name("knee/test/knee01_te06.3ms.nii.gz") == "knee01_te06.3ms"


def test_truth_is_cropped_to_the_acquired_matrix_and_a_legal_size(test_set: TestSet) -> None:
    root = test_set(("x.npy",))
    acquired = np.load(root / "x.npy")[:27, :24].transpose(2, 0, 1).astype(np.float64)
    up = upsampler("fourier", (40, 36), (27, 24))  # zero filled by the scanner
    stored = np.stack([up.rows @ s @ up.cols.T for s in acquired], -1)
    np.save(root / "x.npy", stored.astype(np.float32))
    table = root.parent / "t.csv"
    table.write_text("x.npy,27,24\n")
    (file,) = find_files(root, "test", table)
    truth = load_truth(file, (2.0, 3.0))
    assert truth.stack.shape == (2, 26, 24)
    # 27 rows to the even size 26: the centre starts at (27 - 26) // 2 = 0. float32 of values to 600
    assert truth.stack == pytest.approx(acquired[:, :26], abs=1e-3)
    assert truth.maximum == pytest.approx(acquired[:, :26].max(), rel=1e-6)


def test_empty_slices_are_left_out_and_the_rest_evenly_spread(test_set: TestSet) -> None:
    root = test_set(("x.npy",), slices=9)
    volume = np.load(root / "x.npy")
    volume[..., [0, 4]] *= 1e-3  # mean magnitude far below 2 % of the maximum, but not zero
    np.save(root / "x.npy", volume)
    truth = load_truth(as_file(root, "x.npy"), (2.0, 2.0))
    assert list(truth.kept) == [1, 2, 3, 5, 6, 7, 8]
    assert truth.empty == 2
    assert truth.slices == pytest.approx(volume[..., truth.kept].transpose(2, 0, 1))
    # Middles of three parts of 7: positions 7/6, 7/2, 35/6, that is 1, 3 and 5.
    few = load_truth(as_file(root, "x.npy"), (2.0, 2.0), max_slices=3)
    assert list(few.kept) == [2, 5, 7]
    assert list(spread(np.arange(10), 1)) == [5]
    assert list(spread(np.arange(3), 5)) == [0, 1, 2]


def test_files_that_cannot_be_evaluated_are_named(test_set: TestSet) -> None:
    root = test_set(("x.npy",))
    with pytest.raises(MRCascadeError, match=r"x.npy: size 32 is too small for factor 33"):
        load_truth(as_file(root, "x.npy"), (33.0, 2.0))
    sparse = np.zeros((32, 32, 2), np.float32)
    sparse[5, 5:10] = 1  # 0.5 % of the pixels: the mean is 0.5 % of the robust maximum
    np.save(root / "x.npy", sparse)
    with pytest.raises(MRCascadeError, match=r"x.npy: every slice is empty"):
        load_truth(as_file(root, "x.npy"), (2.0, 2.0))
    with pytest.raises(MRCascadeError, match="no such folder"):
        find_files(root / "nowhere", "test")


def noisy(truth: Truth, noise: float, seed: int = 1) -> tuple[np.ndarray, float, float]:
    measured = measure(truth, truth_operator(truth, "fourier", (2.0, 2.0)), noise, seed, True)
    return measured.slices, measured.scale, measured.noise


def test_noise_has_the_stated_size_and_each_slice_its_own_generator(test_set: TestSet) -> None:
    root = test_set(("x.npy",), slices=40)
    truth = load_truth(as_file(root, "x.npy"), (2.0, 2.0))
    clean, clean_scale, zero = noisy(truth, 0.0)
    assert zero == 0
    low, scale, fraction = noisy(truth, 0.05)
    z = low - clean
    # Standard deviation of n = 10240 draws: relative error 1 / sqrt(2 n) = 0.7 %; five of them.
    assert z.std() == pytest.approx(0.05 * clean_scale, rel=0.035)
    assert fraction * scale == pytest.approx(0.05 * clean_scale, rel=1e-6)
    few = load_truth(as_file(root, "x.npy"), (2.0, 2.0), max_slices=3)
    assert np.array_equal(noisy(few, 0.05)[0], low[few.kept])
    assert not np.array_equal(noisy(truth, 0.05, seed=2)[0], low)
    # Slices differ in their noise: the correlation of 256 pairs stays within 5 / sqrt(256).
    assert abs(np.corrcoef(z[0].ravel(), z[1].ravel())[0, 1]) < 0.32


def test_nothing_of_the_truth_but_its_measurement_reaches_a_method(test_set: TestSet) -> None:
    root = test_set(("x.npy",))
    truth = load_truth(as_file(root, "x.npy"), (2.0, 2.0))
    operator = truth_operator(truth, "fourier", (2.0, 2.0))
    checks = 500 * (np.indices(truth.stack.shape[1:]).sum(0) % 2 * 2.0 - 1)  # H does not see these
    other = Truth((truth.stack + checks).astype(np.float32), truth.kept, 0, "")
    assert other.maximum > 1.5 * truth.maximum
    for noise in (0.0, 0.05):
        one, two = (measure(t, operator, noise, 1, True) for t in (truth, other))
        # float32 rounding of sums over 32 terms up to 1000
        assert one.slices == pytest.approx(two.slices, abs=1e-2)
        assert one.scale == pytest.approx(two.scale, rel=1e-4)
        assert one.noise == pytest.approx(two.noise, rel=1e-4)


def test_the_scale_is_that_of_all_slices(test_set: TestSet) -> None:
    root = test_set(("x.npy",), slices=6)
    file = as_file(root, "x.npy")
    all_slices, few = (load_truth(file, (2.0, 2.0), n) for n in (None, 1))
    measured = noisy(all_slices, 0.0)
    assert measured[1] == robust_maximum(measured[0])
    assert noisy(few, 0.0)[1] == measured[1]


def test_files_have_seeds_of_their_own() -> None:
    seeds = {file_seed(s, n) for s in (0, 1) for n in ("a.npy", "b.npy")}
    assert len(seeds) == 4
    assert file_seed(0, "a.npy") == file_seed(0, "a.npy")
