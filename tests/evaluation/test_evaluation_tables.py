"""Intervals against known cases, tables from rows with known answers, the ledger's safety."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcascade.data.folder import DataFile
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import TestFile
from mrcascade.evaluation.job import Surveyed
from mrcascade.evaluation.ledger import (
    METRICS,
    SETTINGS_FILE,
    SLICES_FILE,
    VOLUME_COLUMNS,
    Ledger,
)
from mrcascade.evaluation.tables import (
    Estimate,
    bootstrap,
    summarise,
    volume_rows,
    write_tables,
)
from mrcascade.storage.outputs import only_writer

RESAMPLES = 8_000
# The Monte-Carlo error of a 2.5 % quantile from B draws of a normal is
# sqrt(p (1 - p) / B) / phi(1.96) = 0.030 standard deviations at B = 8000; five of them.
QUANTILE_ERROR = 0.15


def half_widths(values: np.ndarray, files: list[str]) -> tuple[float, float]:
    low, high = bootstrap(values[:, None], files, np.random.default_rng(1), RESAMPLES)[:, 0]
    return float(values.mean() - low), float(high - values.mean())


@pytest.mark.parametrize("grouping", ["one slice per file", "one file"])
def test_independent_normal_values_have_the_normal_interval(grouping: str) -> None:
    """+- 1.96 s / sqrt(n), with s over n as the bootstrap has it."""
    n = 400
    values = np.random.default_rng(0).normal(5, 2, n)
    files = [f"f{i}" if grouping == "one slice per file" else "f" for i in range(n)]
    error = values.std() / np.sqrt(n)
    for width in half_widths(values, files):
        assert width / error == pytest.approx(1.96, abs=QUANTILE_ERROR)


def test_slices_of_one_file_are_not_independent() -> None:
    """Equal slices within a file carry one piece of information per file, not per slice."""
    files, per_file = 300, 6
    means = np.random.default_rng(0).normal(0, 1, files)
    names = [f"f{i}" for i in range(files) for _ in range(per_file)]
    error = means.std() / np.sqrt(files)
    for width in half_widths(np.repeat(means, per_file), names):
        assert width / error == pytest.approx(1.96, abs=QUANTILE_ERROR)


def test_both_stages_add_up() -> None:
    """Variance of the mean of K files of m slices: var(file means) / K + the mean over files of
    var(within) / (K m)."""
    rng = np.random.default_rng(0)
    files, per_file = 200, 4
    table = rng.normal(size=(files, 1)) + 3 * rng.normal(size=(files, per_file))
    names = [f"f{i}" for i in range(files) for _ in range(per_file)]
    variance = table.mean(1).var() / files + table.var(1).mean() / (files * per_file)
    for width in half_widths(table.ravel(), names):
        assert width / np.sqrt(variance) == pytest.approx(1.96, abs=QUANTILE_ERROR)


def row(file: str, number: int, method: str, value: float, **changes: Any) -> dict[str, Any]:
    key = {"file": file, "slice": number, "anatomy": file.split("/")[0], "method": method}
    key |= {"factor": "2", "kernel": "fourier", "noise": 0.0}
    cost = {"residual": 1e-7 * value, "seconds": value, "nfe": 3, "gflop": 10 * value}
    cost["spread_skill"] = None
    return key | dict.fromkeys(METRICS, value) | cost | changes


def volume(file: str, method: str, value: float, slices: int) -> dict[str, Any]:
    result = {k: v for k, v in row(file, 0, method, value).items() if k not in ("slice", *METRICS)}
    return result | {"slices": slices, "psnr": value, "ssim": value, "nmse": value}


def test_means_counts_and_order() -> None:
    rows = [
        row("b/s1_x.npy", 0, "one", 1.0),
        row("b/s1_x.npy", 1, "one", 2.0),
        row("b/s2_x.npy", 0, "one", 6.0),
        row("b/t_x.npy", 0, "one", 11.0, lpips=None),
        row("a/u_x.npy", 0, "one", 7.0, psnr_slice=float("inf")),
        row("a/u_x.npy", 0, "two", 8.0),
    ]
    groups = {(g.kind, g.name, g.method): g for g in summarise(rows, METRICS)}
    assert list(groups) == [
        ("anatomy", "a", "one"),
        ("anatomy", "a", "two"),
        ("anatomy", "b", "one"),
        ("source", "a/u", "one"),
        ("source", "a/u", "two"),
        ("source", "b/s", "one"),
        ("source", "b/t", "one"),
    ]
    b = groups["anatomy", "b", "one"]
    assert (b.slices, b.files, b.nfe, b.seconds) == (4, 3, 3.0, 5.0)
    assert b.residual == pytest.approx(11e-7)
    assert b.metrics["nmse"].mean == pytest.approx((1 + 2 + 6 + 11) / 4)
    assert b.metrics["lpips"].mean is None  # one slice lacks it
    assert groups["anatomy", "a", "one"].metrics["psnr_slice"].mean is None
    s = groups["source", "b/s", "one"]
    assert (s.slices, s.files, s.metrics["nmse"].mean) == (3, 2, 3.0)
    # Means of resamples lie between file 1 alone, at its smallest, and file 2 alone.
    low, high = s.metrics["nmse"].low, s.metrics["nmse"].high
    assert low is not None
    assert high is not None
    assert 1.0 <= low < 3.0 < high <= 6.0
    # A single slice has no interval.
    assert groups["source", "b/t", "one"].metrics["nmse"] == Estimate(11.0)


def test_intervals_are_between_subjects() -> None:
    """Files of one person carry one piece of information, and one person gives no interval."""
    people, files = 8, 5
    shifts = np.random.default_rng(0).normal(size=people)
    rows = [
        row(f"b/s{p}_{f}.npy", 0, "one", float(10 + shifts[p]))
        for p, f in np.ndindex(people, files)
    ]
    subjects = {r["file"]: r["file"].split("_")[0] for r in rows}
    by_person = summarise(rows, ("nmse",), subjects=subjects)[0]
    one_each = [row(f"b/s{p}_0.npy", 0, "one", float(10 + shifts[p])) for p in range(people)]
    assert (by_person.files, by_person.subjects) == (40, 8)
    one, other = by_person.metrics["nmse"], summarise(one_each, ("nmse",))[0].metrics["nmse"]
    assert [one.mean, one.low, one.high] == pytest.approx([other.mean, other.low, other.high])
    same = dict.fromkeys(subjects, "anna")
    alone = summarise(rows, ("nmse",), subjects=same)[0]
    assert alone.metrics["nmse"] == Estimate(pytest.approx(10 + shifts.mean()))


def test_intervals_do_not_follow_the_order_of_the_work() -> None:
    """Workers finish in any order."""
    rows = [row(f"b/{f}_x.npy", s, "one", float((7 * f + 3 * s) % 11)) for f, s in np.ndindex(3, 5)]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert summarise(shuffled, METRICS) == summarise(rows, METRICS)


def test_rows_of_volumes_weigh_alike_but_their_costs_by_slices() -> None:
    rows = [volume("b/x.npy", "one", 1.0, 9), volume("b/y.npy", "one", 2.0, 1)]
    group = summarise(rows, ("psnr",))[0]
    assert group.metrics["psnr"].mean == 1.5
    assert (group.slices, group.files) == (10, 2)
    assert group.seconds == pytest.approx(1.1)


SLICES = {"b/x.npy": [3, 5], "b/y.npy": [3, 5]}
SETTINGS = {"factor": "2", "files": {"b/x.npy": "1", "b/y.npy": "2"}, "slices": SLICES}
ONE: dict[str, Any] = {"one": {}}
HERE = "this machine, batches of 1"


def surveyed(name: str, numbers: list[int], energy: list[float]) -> Surveyed:
    file = TestFile(DataFile(Path(name), name, name.split("/")[0], None, False, {}), None)
    return Surveyed(file, np.array(numbers), np.array(energy), 50, 10.0, 0, "1")


SURVEY = [surveyed(name, numbers, [1.0, 3.0]) for name, numbers in SLICES.items()]


def filled(folder: Path) -> Ledger:
    ledger = Ledger.open(folder, SETTINGS, ONE)
    for file, value in (("b/x.npy", 1.0), ("b/y.npy", 4.0)):
        ledger.add([row(file, s, "one", value + s) for s in (3, 5)], HERE)
    return ledger


def test_volumes_are_pooled_from_their_slices() -> None:
    rows = [row("b/x.npy", 5, "one", 2.0), row("b/x.npy", 3, "one", 1.0, nmse=4.0, nfe=5)]
    (result,) = volume_rows(rows, SURVEY)
    assert list(result) == list(VOLUME_COLUMNS)
    # Squared errors: 4 x 1 of slice 3 and 2 x 3 of slice 5, over 4 of energy and 2 x 50 pixels.
    assert result["nmse"] == pytest.approx(10 / 4)
    assert result["psnr"] == pytest.approx(10 * np.log10(10.0**2 / (10 / 100)))
    assert (result["ssim"], result["slices"]) == (1.5, 2)
    assert (result["residual"], result["seconds"], result["nfe"]) == (2e-7, 1.5, 4.0)


def test_tables_hold_means_and_what_the_reader_must_know(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    ledger.add([row("b/x.npy", 3, "unfinished", 1.0)], HERE)
    ledger.document["methods"]["unfinished"] = {}
    assert (ledger.methods, ledger.unfinished) == (["one"], ["unfinished"])
    text, data, volumes = write_tables(ledger, SURVEY, {"Prior": "none"}, ["Take care."], 0, {})
    document = json.loads(data.read_text())
    assert document["settings"] == SETTINGS
    (group,) = [g for g in document["slices"] if g["kind"] == "anatomy"]
    assert group["metrics"]["psnr_slice"]["mean"] == pytest.approx((4 + 6 + 7 + 9) / 4)
    assert [g["metrics"]["ssim"]["mean"] for g in document["volumes"]] == [6.5]
    assert len(volumes.read_text().splitlines()) == 1 + 2
    markdown = text.read_text()
    assert "- **Prior:** none" in markdown
    assert "Take care." in markdown
    assert "| b | one | 4 | 2 | 2 | 6.50 [" in markdown
    assert "unfinished" not in markdown


def test_tables_follow_the_command_and_not_the_order_of_the_work(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, SETTINGS, {"one": {}, "two": {}})
    for method in ("two", "one"):
        for file, numbers in SLICES.items():
            ledger.add([row(file, n, method, 1.0) for n in numbers], HERE)
    _, data, _ = write_tables(ledger, SURVEY, {}, [], 0, {})
    found = [g["method"] for g in json.loads(data.read_text())["slices"] if g["kind"] == "anatomy"]
    assert found == ["one", "two"]


def test_missing_values_are_said_to_be_missing(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, {"slices": {"b/x.npy": [0]}}, ONE)
    ledger.add([row("b/x.npy", 0, "one", 1.0, lpips=None)], HERE)
    text, data, _ = write_tables(ledger, [surveyed("b/x.npy", [0], [1.0])], {}, [], 0, {})
    assert "| n/a |" in text.read_text()
    assert json.loads(data.read_text())["slices"][0]["metrics"]["lpips"]["mean"] is None
    line = (tmp_path / SLICES_FILE).read_text().splitlines()[1]
    assert line.startswith("b/x.npy,0,b,one,2,fourier,0,1,1,1,1,1,,1e-07,1,3")


def test_a_ledger_killed_at_any_byte_goes_on(tmp_path: Path) -> None:
    """Whatever prefix of the rows is on disk, the complete ones are read back, and those that are
    missing can be added."""
    whole = filled(tmp_path / "whole")
    header, *lines = (tmp_path / "whole" / SLICES_FILE).read_text().splitlines(keepends=True)
    folder = tmp_path / "killed"
    Ledger.open(folder, SETTINGS, ONE)
    for done, line in enumerate(lines):
        for cut in (1, len(line) // 2, len(line) - 1):
            (folder / SLICES_FILE).write_text(header + "".join(lines[:done]) + line[:cut])
            ledger = Ledger.open(folder, SETTINGS, ONE)
            assert ledger.rows == whole.rows[:done]
            wanted = [(f, n) for f, numbers in SLICES.items() for n in numbers]
            assert [ledger.done(f, "one", n) for f, n in wanted] == [i < done for i in range(4)]
            assert (folder / SLICES_FILE).read_text() == header + "".join(lines[:done])
            assert ledger.methods == []
    ledger.add(whole.rows[3:], HERE)
    assert ledger.methods == ["one"]


def test_other_settings_are_refused_and_methods_may_be_added(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(MRCascadeError, match=r'other settings \(factor "2" then, "4" now\)'):
        Ledger.open(tmp_path, {**SETTINGS, "factor": "4"}, ONE)
    with pytest.raises(MRCascadeError, match="one steps null then, 3 now"):
        Ledger.open(tmp_path, SETTINGS, {"one": {"steps": 3}})
    with pytest.raises(MRCascadeError, match=r"\(files differs\)"):
        Ledger.open(tmp_path, {**SETTINGS, "files": {"b/x.npy": "3" * 64}}, ONE)
    ledger = Ledger.open(tmp_path, SETTINGS, {"two": {"steps": 3}})
    assert ledger.document["methods"] == {"one": {}, "two": {"steps": 3}}
    assert len(ledger.rows) == 4
    assert (ledger.methods, ledger.unfinished) == (["one"], ["two"])


def test_overwrite_discards_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    ledger = Ledger.open(tmp_path, {**SETTINGS, "factor": "4"}, ONE, overwrite=True)
    assert ledger.rows == []
    assert len((tmp_path / SLICES_FILE).read_text().splitlines()) == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_foreign_files_are_not_taken_for_an_evaluation(tmp_path: Path) -> None:
    (tmp_path / SLICES_FILE).write_text("a,b\n1,2\n")
    with pytest.raises(MRCascadeError, match=f"{SLICES_FILE} is not known .* by {SETTINGS_FILE}"):
        Ledger.open(tmp_path, SETTINGS, ONE)
    (tmp_path / SETTINGS_FILE).write_text("[]")
    with pytest.raises(MRCascadeError, match="not an evaluation's settings"):
        Ledger.open(tmp_path, SETTINGS, ONE)
    (tmp_path / SETTINGS_FILE).write_text(json.dumps({"settings": SETTINGS, "methods": ONE}))
    with pytest.raises(MRCascadeError, match=f"{SLICES_FILE}: not a table of this version"):
        Ledger.open(tmp_path, SETTINGS, ONE)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    refused = pytest.raises(MRCascadeError, match="another process is writing")
    place = tmp_path / SETTINGS_FILE
    with only_writer(place), refused, only_writer(place):
        pass
    with only_writer(place):  # it is free again
        pass
    assert not list(tmp_path.iterdir())


def test_a_slice_counts_once(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    path = tmp_path / SLICES_FILE
    path.write_text(path.read_text() + path.read_text().split("\n", 1)[1])
    assert Ledger.open(tmp_path, SETTINGS, ONE).rows == ledger.rows


def test_rows_know_where_they_were_made(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    ledger = Ledger.open(tmp_path, SETTINGS, {"two": {}})
    ledger.add([row("b/x.npy", 3, "two", 1.0)], "another, batches of 1")
    ledger.add([row("b/x.npy", 5, "two", 1.0)], HERE)
    assert ledger.document["timed"] == {"one": [HERE], "two": ["another, batches of 1", HERE]}
    assert Ledger.open(tmp_path, SETTINGS, ONE).document["timed"] == ledger.document["timed"]
