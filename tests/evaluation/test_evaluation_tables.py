"""Intervals against known cases, tables from rows with known answers, the ledger's safety."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.ledger import (
    METRICS,
    SETTINGS_FILE,
    SLICES_FILE,
    VOLUMES_FILE,
    Ledger,
)
from mrcascade.evaluation.tables import bootstrap, summarise, write_tables

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
    cost = {"residual": 1e-7 * value, "seconds": value, "nfe": 3}
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
    # A single slice has no spread.
    t = groups["source", "b/t", "one"].metrics["nmse"]
    assert (t.low, t.mean, t.high) == (11.0, 11.0, 11.0)


def test_rows_of_volumes_weigh_alike_but_their_costs_by_slices() -> None:
    rows = [volume("b/x.npy", "one", 1.0, 9), volume("b/y.npy", "one", 2.0, 1)]
    group = summarise(rows, ("psnr",))[0]
    assert group.metrics["psnr"].mean == 1.5
    assert (group.slices, group.files) == (10, 2)
    assert group.seconds == pytest.approx(1.1)


SETTINGS = {"factor": "2", "files": {"b/x.npy": "1", "b/y.npy": "2"}}
ONE: dict[str, Any] = {"one": {}}


def filled(folder: Path) -> Ledger:
    ledger = Ledger.open(folder, SETTINGS, ONE)
    for file, value in (("b/x.npy", 1.0), ("b/y.npy", 4.0)):
        rows = [row(file, s, "one", value + s) for s in (3, 5)]
        ledger.add(rows, volume(file, "one", value, 2))
    return ledger


def test_tables_hold_means_and_what_the_reader_must_know(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    ledger.add([row("b/x.npy", 3, "unfinished", 1.0)], volume("b/x.npy", "unfinished", 1.0, 1))
    ledger.document["methods"]["unfinished"] = {}
    text, data = write_tables(ledger, {"Prior": "none"}, ["Take care."], 0)
    document = json.loads(data.read_text())
    assert document["settings"] == SETTINGS
    (group,) = [g for g in document["slices"] if g["kind"] == "anatomy"]
    assert group["metrics"]["psnr_slice"]["mean"] == pytest.approx((4 + 6 + 7 + 9) / 4)
    assert [g["metrics"]["psnr"]["mean"] for g in document["volumes"]] == [2.5]
    markdown = text.read_text()
    assert "- **Prior:** none" in markdown
    assert "Take care." in markdown
    assert "| b | one | 4 | 2 | 6.50 [" in markdown
    assert "unfinished" not in markdown


def test_missing_values_are_said_to_be_missing(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, {"files": {"b/x.npy": "1"}}, ONE)
    ledger.add([row("b/x.npy", 0, "one", 1.0, lpips=None)], volume("b/x.npy", "one", 1.0, 1))
    text, data = write_tables(ledger, {}, [], 0)
    assert "| n/a |" in text.read_text()
    assert json.loads(data.read_text())["slices"][0]["metrics"]["lpips"]["mean"] is None
    line = (tmp_path / SLICES_FILE).read_text().splitlines()[1]
    assert line.startswith("b/x.npy,0,b,one,2,fourier,0,1,1,1,1,1,,1e-07,1,3")


def test_a_ledger_killed_at_any_byte_goes_on(tmp_path: Path) -> None:
    """Rows are appended in one order: the slices of a file, then its mark. Whatever prefix of
    those bytes is on disk, what is read back is complete, and what is missing can be added."""
    whole = filled(tmp_path / "whole")
    slices, volumes = ((tmp_path / "whole" / n).read_text() for n in (SLICES_FILE, VOLUMES_FILE))
    header, *lines = slices.splitlines(keepends=True)
    mark_header, *marks = volumes.splitlines(keepends=True)
    stages = [(lines[0] + lines[1], ""), ("", marks[0]), (lines[2] + lines[3], ""), ("", marks[1])]
    folder = tmp_path / "killed"
    Ledger.open(folder, SETTINGS, ONE)
    before = [header, mark_header]
    for stage, (more_slices, more_marks) in enumerate(stages):
        added = more_slices or more_marks
        for cut in (1, len(added) // 2, len(added) - 1, len(added)):
            part = added[:cut]
            (folder / SLICES_FILE).write_text(before[0] + (part if more_slices else ""))
            (folder / VOLUMES_FILE).write_text(before[1] + (part if more_marks else ""))
            ledger = Ledger.open(folder, SETTINGS, ONE)
            done = stage // 2 + (stage % 2 == 1 and cut == len(added))
            assert ledger.slices == whole.slices[: 2 * done]
            assert ledger.volumes == whole.volumes[:done]
            assert [ledger.done(f, "one") for f in SETTINGS["files"]] == [done > 0, done > 1]
            assert (folder / SLICES_FILE).read_text() == header + "".join(lines[: 2 * done])
        before = [before[0] + more_slices, before[1] + more_marks]
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
    assert len(ledger.slices) == 4
    assert (ledger.methods, ledger.unfinished) == (["one"], ["two"])


def test_overwrite_discards_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    ledger = Ledger.open(tmp_path, {**SETTINGS, "factor": "4"}, ONE, overwrite=True)
    assert ledger.slices == []
    assert len((tmp_path / SLICES_FILE).read_text().splitlines()) == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_foreign_files_are_not_taken_for_an_evaluation(tmp_path: Path) -> None:
    (tmp_path / SLICES_FILE).write_text("a,b\n1,2\n")
    with pytest.raises(MRCascadeError, match=f"has results but no {SETTINGS_FILE}"):
        Ledger.open(tmp_path, SETTINGS, ONE)
    (tmp_path / SETTINGS_FILE).write_text("[]")
    with pytest.raises(MRCascadeError, match="not an evaluation's settings"):
        Ledger.open(tmp_path, SETTINGS, ONE)
    (tmp_path / SETTINGS_FILE).write_text(json.dumps({"settings": SETTINGS, "methods": ONE}))
    with pytest.raises(MRCascadeError, match=f"{SLICES_FILE}: not a table of this version"):
        Ledger.open(tmp_path, SETTINGS, ONE)
