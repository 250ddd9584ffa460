"""Reports made later: inputs found near the results by name and hash, never by name alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.bids.bids_dataset import dataset
from tests.dicom.dicom_series import phantom, series

import mrcascade
from mrcascade.cli import main
from mrcascade.jobs import find_inputs
from mrcascade.jobs.report import report_beside
from mrcascade.jobs.report_batch import write_reports
from mrcascade.jobs.report_inputs import InputSearch
from mrcascade.prior.cascade import CascadePrior

DERIVED = "as the result explains the data"


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.random.default_rng(seed).random((16, 16), np.float32))
    return path


def restored(path: Path, output: Path, prior: CascadePrior) -> Path:
    """The sidecar of a result."""
    return mrcascade.super_resolve_file(path, output, prior, factor=2, noise=0.0, mode="mean")[-1]


@pytest.mark.parametrize(
    ("place", "output"),
    [
        ("a.npy", "."),  # the result beside its input
        ("a.npy", "out"),
        ("a.npy", "out/anna"),
        ("scans/a.npy", "out"),
        ("scans/anna/a.npy", "out/anna"),
    ],
)
def test_inputs_near_the_results_are_found(
    place: str, output: str, tmp_path: Path, prior: CascadePrior
) -> None:
    sidecar = restored(save(tmp_path / place), tmp_path / output, prior)
    folder = tmp_path / output.partition("/")[0]
    # The likeliest place has a file of the name and other content.
    other = save(tmp_path / "out" / "anna" / "a.npy" if output != "." else tmp_path / "x/a.npy", 1)
    lines: list[str] = []
    report = write_reports(folder, note=lines.append)[0]
    assert DERIVED not in report.read_text()
    assert lines == []
    assert report.parent == sidecar.parent != other


def test_a_file_of_the_name_with_other_content_is_no_input(
    tmp_path: Path, prior: CascadePrior, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "a.npy")
    sidecar = restored(path, tmp_path / "out", prior)
    save(path, seed=1)
    assert main(["report", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    report = sidecar.with_suffix(".html")
    assert printed.out.splitlines() == [str(report)]
    different, missing = printed.err.splitlines()
    assert different == (
        f"mrcascade: note: {path} is not the input of {sidecar}: its content differs"
    )
    assert missing.startswith("mrcascade: note: 1 input not found (a.npy), neither by run.json nor")
    assert DERIVED in report.read_text()
    assert main(["report", str(tmp_path / "out")]) == 0  # a report that is there says nothing
    assert capsys.readouterr().err == ""


def test_a_series_and_an_archive_near_the_results_are_found(
    tmp_path: Path, prior: CascadePrior
) -> None:
    folder = series(tmp_path / "exam" / "t2", phantom((2, 16, 20)))
    sidecar = restored(folder, tmp_path / "out", prior)
    (report,) = write_reports(sidecar.parent)
    assert DERIVED not in report.read_text()
    shutil.make_archive(str(tmp_path / "t2"), "zip", folder)
    shutil.rmtree(tmp_path / "exam")
    (report,) = write_reports(sidecar.parent, overwrite=True)
    assert DERIVED not in report.read_text()


def test_a_derivative_knows_its_dataset(tmp_path: Path, prior: CascadePrior) -> None:
    root, output = dataset(tmp_path / "raw"), tmp_path / "far" / "away" / "derivative"
    (item, *_) = find_inputs([root])
    sidecar = output / item.folder / "x.json"
    record = {"Sources": [f"bids:raw:{item.folder.as_posix()}/{item.image.name}"]}
    record |= {"SourceSHA256": item.image.digest()}
    assert InputSearch(output).input_of(sidecar, record) is None
    mrcascade.io.write_bids_root(item.dataset, output)
    found = InputSearch(output).input_of(sidecar, record)
    assert found is not None
    assert found.path.samefile(item.image.path)


@pytest.mark.parametrize("sources", [None, [], ["a.npy"], [".."], ["a\0b"], [""], "a.npy"])
def test_a_name_alone_is_no_proof(sources: object, tmp_path: Path) -> None:
    """As in the sidecar of a de-identified input, or in a damaged one."""
    save(tmp_path / "a.npy")
    search = InputSearch(tmp_path, [tmp_path / "a.npy"])
    assert search.input_of(tmp_path / "s.json", {"Sources": sources}) is None
    (line,) = search.notes()
    assert line.startswith("1 input not found (")
    record = {"Sources": sources, "SourceSHA256": "0" * 64}
    assert search.input_of(tmp_path / "s.json", record) is None


# ---- names ----


@pytest.mark.parametrize(
    ("preview", "report"),
    [
        ("a.png", "a.html"),
        ("a.b.png", "a.b.html"),
        ("reports.png", "reports.html"),
        ("report.png", "report_result.html"),
        ("Report.png", "Report_result.html"),
        ("report_result.png", "report_result_result.html"),
    ],
)
def test_a_report_has_a_name_of_its_own(preview: str, report: str) -> None:
    assert report_beside(Path("out") / preview) == Path("out") / report


def test_a_result_named_report_and_the_table_of_a_batch(
    tmp_path: Path, prior_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    a, b = save(tmp_path / "a.npy"), save(tmp_path / "b.npy")
    options = ["--prior", prior_folder, "--factor", "2", "--noise", "0", "--device", "cpu"]

    def sr(*words: object) -> int:
        return main([str(word) for word in ("sr", *words, *options)])

    assert sr(a, "-o", out / "report.npy", "--report") == 0
    own = (out / "report_result.html").read_bytes()
    assert sr(a, b, "-o", out, "--report") == 0
    table = (out / "report.html").read_text()
    assert table.count("<tr>") == 4  # the headings, both files, and the result named report
    assert 'href="report_result.html"' in table
    assert (out / "report_result.html").read_bytes() == own
    # A result named like the record of the batch does not replace it.
    record = (out / "run.json").read_bytes()
    capsys.readouterr()
    for more in ([], ["--overwrite"]):
        assert sr(a, "-o", out / "run.npy", *more) == 2
    assert "run.json is not known as a file of mrcascade" in capsys.readouterr().err
    assert (out / "run.json").read_bytes() == record
    assert not (out / "run.npy").exists()
