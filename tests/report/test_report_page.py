"""The page of a report: its pixels, its size, its words, and that no text in it can run."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from report_pages import MOST_STD, WINDOW, page_data, page_slice, stacks, write_page

from mrcascade.errors import MRCascadeError
from mrcascade.io import Display
from mrcascade.pictures.report import eight_bit as coding
from mrcascade.pictures.report.facts import Section, sections_of, warnings_of
from mrcascade.pictures.report.head import check_report, icon_of, is_own_report
from mrcascade.pictures.report.methods import DIFFPIR, EDM2, MULTISTEP, THAKER, Methods, methods_of
from mrcascade.pictures.report.overview import OverviewRow, write_overview
from mrcascade.pictures.report.template import asset

TURNED = Display(((1, 1), (0, -1)), "R", "L", "A", "P", 2.0)
BAD = '<script>alert("1")</script>&\'"\u202e'
SIDECAR = {
    "Prior": "mr-small",
    "Kernel": "fourier",
    "Request": {"Factor": [2.0, 2.0]},
    "InPlaneMatrix": [64, 48],
    "Settings": {"Name": "mean", "Noise": 0.0123, "Samples": 1, "Seed": 7, "StepsNominal": 3},
    "NoiseOrigin": "estimated from the air around the body",
    "Residual": 0.004,
    "ResidualStored": 0.005,
    "DomainScore": 0.84,
    "OutOfDomain": False,
    "Software": [{"Name": "mrcascade", "Version": "9.8"}, {"Name": "torch", "Version": "2.6"}],
}


@pytest.mark.parametrize("display", [Display(), TURNED])
def test_pixels_decode_to_the_window(tmp_path: Path, display: Display) -> None:
    images = stacks((5, 12, 9))
    data = page_data(write_page(tmp_path / "r.html", images, display))
    assert data["uri"] == "data:image/png;base64,"
    (view,) = data["views"]
    turned = display.turn(images["result"][0])
    assert (view["rows"], view["columns"]) == turned.shape
    assert view["aspect"] == display.aspect
    assert view["edges"] == [display.left, display.right, display.top, display.bottom]
    assert view["labels"] == [f"slice {n} of 5" for n in range(1, 6)]
    assert view["start"] == 2
    for key, (low, high) in {"data": WINDOW, "result": WINDOW, "std": (0, MOST_STD)}.items():
        for number in range(5):
            shown = display.turn(images[key][number])
            expected = np.rint(255 * np.clip((shown - low) / (high - low), 0, 1))
            # Half a grey level may round either way in float32.
            assert np.abs(page_slice(data, key, number) - expected).max() <= 1
            assert (page_slice(data, key, number) == expected).mean() > 0.99


def test_equal_slices_are_stored_once(tmp_path: Path) -> None:
    images = stacks((6, 8, 8))
    images["data"] = np.repeat(images["data"][:2], 3, 0)
    data = page_data(write_page(tmp_path / "r.html", images))
    kinds = [type(one) for one in data["views"][0]["slices"]["data"]]
    assert kinds == [str, int, int, str, int, int]
    np.testing.assert_array_equal(page_slice(data, "data", 5), page_slice(data, "data", 3))


def test_large_results_get_jpeg_and_then_fewer_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    some = [np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)]
    exact, least = (len(coding.encoded(some[0], q)) for q in (None, coding.QUALITIES[-1]))
    monkeypatch.setattr(coding, "VOXELS", 64 * 64 * 10)
    for budget, expected in (
        (10 * exact, coding.Coding()),
        (10 * least, coding.Coding(coding.QUALITIES[-1])),
        (10 * least / 3, coding.Coding(coding.QUALITIES[-1], 3)),
    ):
        monkeypatch.setattr(coding, "BYTES", budget)
        assert coding.choose_coding([(10, some)]) == expected


def test_fewer_slices_keep_the_first_one_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = coding.Coding(90, 3)
    monkeypatch.setattr("mrcascade.pictures.report.page.choose_coding", lambda layers: fixed)
    path = write_page(tmp_path / "r.html", stacks((8, 16, 16)))
    (view,) = page_data(path)["views"]
    assert view["labels"] == ["slice 2 of 8", "slice 5 of 8", "slice 8 of 8"]
    assert view["labels"][view["start"]] == "slice 5 of 8"
    assert "every 3 slices one is shown" in path.read_text()


def test_text_cannot_run(tmp_path: Path) -> None:
    path = write_page(
        tmp_path / "r.html",
        stacks((2, 8, 8)),
        title=BAD,
        subtitle=BAD,
        unit=BAD,
        warnings=[BAD],
        sections=[Section(BAD, [(BAD, BAD)])],
        methods=Methods([BAD], [BAD]),
    )
    table = tmp_path / "report.html"
    write_overview(table, BAD, [OverviewRow(BAD, BAD, report=BAD, messages=[BAD])])
    for page, script in ((path, "viewer.js"), (table, "table.js")):
        html = page.read_text()
        assert "alert(" in html  # it is there, as text
        assert "<script>alert" not in html
        assert "\u202e" not in html
        assert html.count("<script") == (2 if page == path else 1)
        digest = base64.b64encode(hashlib.sha256(asset(script).encode()).digest()).decode()
        (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
        assert f"script-src 'sha256-{digest}';" in policy
        assert policy.startswith("default-src 'none'; img-src data:;")
        assert html.count("Research use, not for diagnosis") == 1
        assert re.findall(r"""(?:src|href)=["'](?!data:|%3C)""", html) == []
    assert page_data(path)["unit"] == BAD.replace("\u202e", "\\u202e")


def test_a_report_names_its_maker_and_replaces_no_other_file(tmp_path: Path) -> None:
    path = write_page(tmp_path / "r.html", stacks((2, 8, 8)))
    assert is_own_report(path)
    assert icon_of(path).startswith("data:image/jpeg;base64,")
    check_report(path, overwrite=True)
    with pytest.raises(MRCascadeError, match=r"r\.html already exists"):
        check_report(path, overwrite=False)
    other = tmp_path / "own.html"
    other.write_text("<html>mrcascade report</html>")
    link = tmp_path / "link.html"
    link.symlink_to(path)
    for stranger in (other, link):
        assert icon_of(stranger) == ""
        with pytest.raises(MRCascadeError, match="is no report of mrcascade, and stays"):
            check_report(stranger, overwrite=True)


def test_methods_say_what_was_done() -> None:
    ((words,), references) = (m := methods_of(SIDECAR)).paragraphs, m.references
    for fact in (
        "super-resolved in plane by 2 x 2 (to a matrix of 64 x 48)",
        "version 9.8, torch 2.6",
        "prior mr-small",
        "estimates the posterior mean (mode mean; no sampling)",
        "a crop of k-space (kernel fourier)",
        "1.2 % of the 99.9th percentile",
        "estimated from the air around the body",
        "relative residual of 5.0e-03",
        "score was 0.84, within the limit",
    ):
        assert fact in words
    assert references == [THAKER, EDM2]


@pytest.mark.parametrize(
    ("sampler", "cited"), [("multistep", [MULTISTEP]), ("diffpir", [DIFFPIR]), ("other", [])]
)
def test_methods_cite_the_sampler_that_ran(sampler: str, cited: list[str]) -> None:
    settings = {"Name": "sample", "Sampler": sampler, "StepsNominal": 24, "Samples": 4, "Seed": 7}
    made = methods_of(SIDECAR | {"Settings": settings | {"Spread": 1.3}})
    assert made.references == [THAKER, EDM2, *cited]
    assert "mean of 4 posterior samples drawn with" in made.paragraphs[0]
    assert "in 24 steps (mode sample, seed 7)" in made.paragraphs[0]
    assert "standard deviation, multiplied by 1.3" in made.paragraphs[0]


def test_methods_of_balanced_say_that_bands_were_moved() -> None:
    settings = {"Name": "balanced", "Sampler": "multistep", "StepsNominal": 24}
    whole = methods_of(SIDECAR | {"Settings": settings | {"Detail": [1, 1]}}).paragraphs[0]
    assert "moved" not in whole
    moved = methods_of(SIDECAR | {"Settings": settings | {"Detail": [1, 0.4]}}).paragraphs[0]
    assert "moved towards the posterior mean: they keep a share of 1, 0.4 of their" in moved


def test_methods_of_least_squares_name_no_prior() -> None:
    thick = {"Slices": 6, "SliceThickness": 4.0, "SpacingBetweenSlices": 4.0, "Profile": "rect"}
    sidecar = {k: v for k, v in SIDECAR.items() if k not in ("Prior", "DomainScore")}
    sidecar |= {"ThickSlices": thick, "Request": {"Factor": [1.0, 1.0]}, "Kernel": None}
    made = methods_of(sidecar | {"SpacingBetweenSlices": 1.0, "NoiseOrigin": "not used"})
    assert made.references == []
    assert "6 slices (4 mm thick, 4 mm apart, rect profile) into slices 1 mm" in made.paragraphs[0]
    assert "without a learned prior" in made.paragraphs[0]
    assert "noise" not in made.paragraphs[0]


def test_warnings_and_facts_follow_the_sidecar() -> None:
    assert warnings_of(SIDECAR) == []
    crop = {"StoredMatrix": [64, 48], "AcquiredMatrix": [60, 48], "CroppedToAcquired": False}
    bad = SIDECAR | {"OutOfDomain": True, "NoiseOrigin": "estimated; uncertain, ..."} | crop
    lines = "\n".join(warnings_of(bad | {"ThickSlices": {"Notes": ["slices overlap"]}}))
    for part in ("unlike those that prior mr-small", "60 x 48 acquired", "uncertain", "overlap"):
        assert part in lines
    assert warnings_of(bad | {"CroppedToAcquired": True}) != warnings_of(bad)
    rows = dict(row for section in sections_of(SIDECAR, 75.2) for row in section.rows)
    assert rows["Noise"] == "1.2 % of the maximum (estimated from the air around the body)"
    assert rows["Residual ||y - H x|| / ||y||"] == "0.004 computed, 0.005 as stored"
    assert rows["Software"] == "mrcascade 9.8, torch 2.6"
    assert rows["Time"] == "75 s"
    assert sections_of({}) == []


def test_settings_come_last_and_folded(tmp_path: Path) -> None:
    sections = sections_of(SIDECAR)
    assert [one.title for one in sections] == ["Result", "Quality", "Run", "All settings"]
    assert [one.folded for one in sections] == [False, False, False, True]
    assert dict(sections[2].rows)["Mode"] == "mean"
    page = write_page(tmp_path / "r.html", stacks((2, 8, 8)), sections=sections).read_text()
    assert page.index("<h3>Run</h3>") < page.index("<details><summary>All settings</summary>")
    assert page.count("<details>") == page.count("</details>") == 1
    assert "StepsNominal" in page.partition("<details>")[2]
