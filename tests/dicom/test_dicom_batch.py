"""Batches of DICOM series: results count as finished only for the input that made them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pydicom
from dicom_series import phantom, series

from mrcascade.io import only_series, read_image


def test_resume_knows_a_series_by_its_files(tmp_path: Path, sr: Callable, capsys) -> None:
    exam, output = tmp_path / "exam", tmp_path / "out"
    first = series(exam / "a", phantom((3, 16, 16)), SeriesNumber=2)
    series(exam / "b", phantom((3, 18, 16)), SeriesNumber=3)
    assert only_series(first).digest() == read_image(first).sha256

    def statuses() -> list[str]:
        record = json.loads((output / "run.json").read_text())
        return [result["Status"] for result in record["Results"]]

    assert sr(exam) == 0
    assert statuses() == ["done", "done"]
    before = {p: p.stat().st_mtime_ns for p in output.rglob("*.dcm")}
    assert sr(exam, "--resume") == 0
    assert statuses() == ["skipped", "skipped"]
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*.dcm")} == before

    changed = next(iter(sorted(first.iterdir())))
    image = pydicom.dcmread(changed)
    image.PatientComments = "another header, the same pixels"
    image.save_as(changed)
    capsys.readouterr()
    assert sr(exam, "--resume") == 1
    assert statuses() == ["failed", "skipped"]
    assert "come from other input" in capsys.readouterr().err
