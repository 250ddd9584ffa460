"""Reports of files: what they show, what they replace, and the table of a batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_pages import page_data, page_slice
from tests.conftest import write_random_prior
from tests.dicom.dicom_series import phantom, series

import mrcascade
from mrcascade.cli import main
from mrcascade.io import Display, radiological
from mrcascade.jobs.report import write_result_report
from mrcascade.jobs.report_batch import write_reports
from mrcascade.operators import SeparableOperator
from mrcascade.operators.baselines import interpolated
from mrcascade.pictures.report.eight_bit import eight_bit
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore.volume import ThickSlices, least_squares

pytestmark = pytest.mark.report
Restore = Callable[..., list[Path]]


def image(*shape: int) -> np.ndarray:
    """A disc with noise on air."""
    sides = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:2]), indexing="ij")
    disc = (sides[0] ** 2 + sides[1] ** 2 < 0.6).astype(np.float32)
    noise = np.random.default_rng(0).uniform(0.5, 1, shape)
    return (100 * noise * disc.reshape(*shape[:2], *[1] * (len(shape) - 2))).astype(np.float32)


@pytest.fixture
def restored(prior: CascadePrior, tmp_path: Path) -> Restore:
    def call(path: Path, **options: Any) -> list[Path]:
        fixed: dict[str, Any] = {"factor": 2, "noise": 0.0, "mode": "mean", "report": True}
        return mrcascade.super_resolve_file(path, tmp_path / "out", prior, **(fixed | options))

    return call


def shown(data: dict[str, Any], values: np.ndarray, display: Display | None = None) -> np.ndarray:
    display = Display() if display is None else display
    return eight_bit(display.turn(values), tuple(data["window"]))


def test_the_report_shows_the_data_and_the_result(tmp_path: Path, restored: Restore) -> None:
    affine = np.diag([-2.0, 1.0, 5.0, 1.0])  # LAS, pixels that are not square
    low = image(16, 20, 3)
    mrcascade.write_image(low, tmp_path / "t2.nii.gz", affine=affine)
    result, *_, report, sidecar = restored(tmp_path / "t2.nii.gz")
    assert (report.name, sidecar.name) == ("t2_desc-sr2x.html", "t2_desc-sr2x.json")
    data = page_data(report)
    (view,) = data["views"]
    display = radiological(affine[:3, :2] / 2)
    assert view["aspect"] == display.aspect == 0.5
    assert view["edges"] == ["R", "L", "A", "P"]
    assert view["name"] == "axial slices"
    assert view["labels"][1] == "axial slice 2 of 3"
    operator = SeparableOperator.from_kernel("fourier", 2, (32, 40))
    filled = interpolated(low.transpose(2, 0, 1), operator, "fourier")
    pixels = mrcascade.read_image(result).data
    for n in range(3):
        np.testing.assert_array_equal(page_slice(data, "data", n), shown(data, filled[n], display))
        np.testing.assert_array_equal(
            page_slice(data, "result", n), shown(data, pixels[..., n], display)
        )
    # A report made later, with and without the input.
    text = report.read_text()
    write_result_report(sidecar, [], overwrite=True)
    assert "as the result explains the data" in report.read_text()
    (again,) = write_reports(sidecar.parent, [tmp_path], overwrite=True)
    assert again == report
    assert page_data(report) == data
    assert "Time" in text
    assert "Time" not in report.read_text()  # nothing recorded it


def test_data_from_the_result_are_the_data_where_it_meets_them(
    tmp_path: Path, restored: Restore
) -> None:
    np.save(tmp_path / "a.npy", image(16, 16))
    *_, report, sidecar = restored(tmp_path / "a.npy")
    data = page_data(report)
    write_result_report(sidecar, [tmp_path / "none.npy"], overwrite=True)
    derived = page_data(report)
    difference = page_slice(data, "data", 0) - page_slice(derived, "data", 0).astype(float)
    assert np.abs(difference).max() <= 1  # they agree to 1e-5, and a grey level may round


def test_samples_and_the_deviation_are_layers(tmp_path: Path, restored: Restore) -> None:
    np.save(tmp_path / "a.npy", image(16, 16))
    made = restored(tmp_path / "a.npy", samples=2, mode="sample", steps=2)
    names = {path.name: path for path in made}
    data = page_data(names["a_desc-sr2x.html"])
    assert [(one["key"], one["role"]) for one in data["layers"]] == [
        ("data", "before"),
        ("result", "after"),
        ("sample", "after"),
        ("std", "std"),
    ]
    std = np.load(names["a_desc-sr2xstd.npy"])
    expected = eight_bit(std, (0.0, data["mostStd"]))
    np.testing.assert_array_equal(page_slice(data, "std", 0), expected)


def test_thin_slices_have_their_reformatted_planes(tmp_path: Path, prior: CascadePrior) -> None:
    low = image(36, 32, 7)
    path = tmp_path / "thick.nii.gz"
    mrcascade.write_image(low, path, affine=np.diag([1.0, 1.0, 3.0, 1.0]))
    options: dict[str, Any] = {"noise": 0.0, "report": True}
    made = mrcascade.make_isotropic_file(path, tmp_path / "out", prior, **options)
    data = page_data(made[-2])
    assert [one["key"] for one in data["layers"]] == ["slices", "lsq", "result"]
    result = mrcascade.read_image(made[0])
    assert result.affine is not None
    slices = low.transpose(2, 0, 1)
    volumes = {
        "slices": np.repeat(slices, 3, 0),
        "lsq": least_squares(slices, ThickSlices(7, 21)),
        "result": result.data.transpose(2, 0, 1),
    }
    # Array axes are R, A, S: planes across the columns hold R and S, those across the rows A and S.
    views = {
        "axial slices": ((0, 1), lambda v: v[4]),
        "coronal planes": ((2, 0), lambda v: v[:, :, 4]),
        "sagittal planes": ((2, 1), lambda v: v[:, 4]),
    }
    assert [view["name"] for view in data["views"]] == list(views)
    for number, (axes, cut) in enumerate(views.values()):
        display = radiological(result.affine[:3, list(axes)])
        for key, volume in volumes.items():
            expected = shown(data, cut(volume), display).astype(float)
            # Least squares round, and half a grey level may go either way.
            assert np.abs(page_slice(data, key, 4, number) - expected).max() <= 1


def test_dicom_results_have_reports_without_the_patient(tmp_path: Path, restored: Restore) -> None:
    folder = series(tmp_path / "scan", phantom((2, 16, 20)), PatientName="Secret^Name")
    *_, report, _ = restored(folder)
    page = report.read_text()
    assert "Secret" not in page
    data = page_data(report)
    assert (data["views"][0]["rows"], data["views"][0]["columns"]) == (32, 40)
    assert "as the result explains" not in page


def test_every_kind_of_file_has_a_report(
    tmp_path: Path, restored: Restore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    low = image(16, 20)
    Image.fromarray(low.astype(np.uint8)).save(tmp_path / "grey.png")
    np.save(tmp_path / "series.npy", np.stack([image(16, 20, 2)] * 3, -1))
    *_, report, _ = restored(tmp_path / "grey.png")
    assert page_slice(page_data(report), "data", 0).shape == (32, 40)
    *_, report, _ = restored(tmp_path / "series.npy")
    (view,) = page_data(report)["views"]
    assert view["labels"][3] == "slice 2 of 2, volume 2 of 3"
    # Complex images, as one file and as a pair, are shown by magnitude.
    prior = write_random_prior(tmp_path_factory.mktemp("prior"), channels=2)
    pixels = (low * np.exp(1j * np.linspace(0, 3, 20))).astype(np.complex64)
    np.save(tmp_path / "z.npy", pixels)
    for part, values in {"mag": np.abs(pixels), "phase": np.angle(pixels)}.items():
        mrcascade.write_image(values, tmp_path / f"z_part-{part}_T2w.nii", affine=np.eye(4))
    (tmp_path / "z_part-phase_T2w.json").write_text('{"Units": "rad"}')
    for name in ("z.npy", "z_part-mag_T2w.nii"):
        options: dict[str, Any] = {"factor": 2, "noise": 0.0, "report": True}
        out = tmp_path / "complex"
        made = mrcascade.super_resolve_file(tmp_path / name, out, prior, **options)
        (report,) = (path for path in made if path.suffix == ".html")
        assert "as the result explains" not in report.read_text()
        data = page_data(report)
        if name == "z.npy":
            expected = shown(data, np.abs(np.load(made[0])))
            np.testing.assert_array_equal(page_slice(data, "result", 0), expected)
        write_result_report(made[-1], overwrite=True)
        again = page_slice(page_data(report), "data", 0).astype(float)
        assert np.abs(again - page_slice(data, "data", 0)).max() <= 1


def test_reports_replace_their_own_kind_alone(tmp_path: Path, restored: Restore) -> None:
    np.save(tmp_path / "a.npy", image(16, 16))
    own = tmp_path / "out" / "a_desc-sr2x.html"
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(mrcascade.MRCascadeError, match="is no report of mrcascade, and stays"):
        restored(tmp_path / "a.npy")
    assert [p.name for p in own.parent.iterdir()] == [own.name]
    assert own.read_text() == "mine"
    *_, sidecar = restored(tmp_path / "a.npy", report=False)
    said: list[str] = []
    assert write_reports(sidecar.parent, overwrite=True, say=said.append) == []
    assert [line.split(",")[0] for line in said] == [f"{own} is no report of mrcascade"]
    assert own.read_text() == "mine"
    own.unlink()
    restored(tmp_path / "a.npy", overwrite=True)
    first = own.read_text()
    restored(tmp_path / "a.npy", overwrite=True, seed=3)
    assert own.read_text() != first
    restored(tmp_path / "a.npy", overwrite=True, report=False)  # the old one would be stale
    assert not own.exists()


def test_a_batch_has_a_table_of_results_and_failures(
    tmp_path: Path, prior_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs, output = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    for name in ("a.npy", "<b>.npy"):
        np.save(inputs / name, image(16, 16))
    (inputs / "broken.npy").write_bytes(b"none")
    options = ["-o", str(output), "--prior", str(prior_folder), "--factor", "2", "--noise", "0"]
    options += ["--device", "cpu"]
    assert main(["sr", str(inputs), *options]) == 1
    assert str(output / "report.html") in capsys.readouterr().out.splitlines()
    table = (output / "report.html").read_text()
    assert "2 done, 1 failed" in table
    assert table.count("<tr>") == 4  # with the headings
    assert '<a href="a_desc-sr2x.html">' in table
    assert '<a href="%3Cb%3E_desc-sr2x.html">' in table
    assert table.count('<img src="data:image/jpeg;base64,') == 2
    assert "broken.npy" in table
    (error,) = [
        one["Error"]
        for one in json.loads((output / "run.json").read_text())["Results"]
        if one["Error"]
    ]
    assert error.split("broken.npy")[1] in table
    # Resuming makes the reports that are missing; --no-report makes none.
    (output / "a_desc-sr2x.html").unlink()
    (output / "report.html").unlink()
    assert main(["sr", str(inputs), "--resume", "--no-report", *options]) == 1
    assert not (output / "report.html").exists()
    assert main(["sr", str(inputs), "--resume", *options]) == 1
    assert (output / "a_desc-sr2x.html").exists()
    assert (output / "report.html").exists()
    # Another file of that name is refused before any work.
    (output / "report.html").write_text("mine")
    assert main(["sr", str(inputs), "--resume", *options]) == 2
    assert "report.html is no report of mrcascade" in capsys.readouterr().err
    assert (output / "report.html").read_text() == "mine"


@pytest.mark.parametrize("content", [{}, {"other.json": "{}"}])
def test_a_folder_without_results_is_an_error(
    tmp_path: Path, content: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("no result of sr in it; give the output folder of sr\n")
    assert main(["report", str(tmp_path / "none")]) == 2


@pytest.mark.parametrize(
    "name", ["../evil.png", "/tmp/evil.png", "", "..", "a/evil.png", "a\0b", 5]
)
def test_a_sidecar_that_names_files_elsewhere_is_none(
    name: object, tmp_path: Path, restored: Restore
) -> None:
    np.save(tmp_path / "a.npy", image(16, 16))
    *_, report, sidecar = restored(tmp_path / "a.npy")
    record = json.loads(sidecar.read_text())
    before = sorted(tmp_path.rglob("*.html"))
    for entry in ("Preview", "Result"):
        changed = record | {"Files": record["Files"] | {entry: name}}
        sidecar.write_text(json.dumps(changed))
        lines: list[str] = []
        with pytest.raises(mrcascade.MRCascadeError, match="is no JSON file of a result"):
            write_result_report(sidecar, overwrite=True)
        with pytest.raises(mrcascade.MRCascadeError, match="no result of sr in it"):
            write_reports(sidecar.parent, overwrite=True, say=lines.append)
    assert sorted(tmp_path.rglob("*.html")) == before == [report]


@pytest.mark.parametrize(
    "entries",
    [
        {"Results": None},
        {"Results": 5},
        {"Results": [{"Input": 5, "Outputs": 5, "Seconds": "<b>"}, None]},
        {"Results": [{"Input": "a\0b", "Outputs": None, "Seconds": [1]}]},
    ],
)
def test_a_damaged_record_of_a_batch_stops_no_report(
    entries: dict[str, Any], tmp_path: Path, restored: Restore
) -> None:
    np.save(tmp_path / "a.npy", image(16, 16))
    *_, report, sidecar = restored(tmp_path / "a.npy")
    run = {"Software": [{"Name": "mrcascade", "Version": "0"}]} | entries
    (sidecar.parent / "run.json").write_text(json.dumps(run))
    assert report in write_reports(sidecar.parent)


def test_a_result_whose_sidecar_is_damaged_is_told(tmp_path: Path, restored: Restore) -> None:
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, image(16, 16))
        *_, report, sidecar = restored(tmp_path / name)
    out, lines = sidecar.parent, list[str]()
    results = [{"Input": f"{n}.npy", "Outputs": [f"{n}_desc-sr2x.json"]} for n in "ab"]
    run = {"Software": [{"Name": "mrcascade", "Version": "0"}], "Results": results}
    (out / "run.json").write_text(json.dumps(run))
    (out / "a_desc-sr2x.json").write_text("{")
    assert write_reports(out, say=lines.append) == [out / "report.html", report]
    (line,) = lines
    assert line.startswith(f"{out / 'a_desc-sr2x.json'}: no readable JSON file")
