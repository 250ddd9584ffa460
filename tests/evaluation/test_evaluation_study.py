"""Studies: the page for rows with known answers, and a whole study of two slices."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.io import imread
from tests.conftest import REGRESSION, SINGLE, write_random_prior

from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.figure import Canvas, method_title, show, title_lines
from mrcascade.evaluation.ledger import METRICS
from mrcascade.evaluation.methods import choose_methods
from mrcascade.pictures.detail import busiest
from mrcascade.studies.page import TaskResult, pair, study_page
from mrcascade.studies.study import bundled_studies, read_study


def rows(method: str, values: list[float], seconds: float, **more: Any) -> list[dict[str, Any]]:
    common = {"method": method, "anatomy": "brain", "seconds": seconds, "nfe": 5.0}
    common |= {"gflop": 2 * seconds, "spread_skill": None, **more}
    return [
        common | {"file": f"brain/s{i // 2}.npy", "slice": i} | dict.fromkeys(METRICS, value)
        for i, value in enumerate(values)
    ]


# The subjects of files s0, s1 and s2.
ONE_PERSON = {f"brain/s{i}.npy": "anna" for i in range(3)}
REFERENCE = [30.0, 31.0, 32.0, 33.0, 34.0, 35.0]


def test_pairs_of_known_rows() -> None:
    # Five of six worse by 1, one better by 2.
    other = [value - 1 for value in REFERENCE[:5]] + [REFERENCE[5] + 2]
    one, reference = rows("one", other, 1.0), rows("paper", REFERENCE, 1.0)
    found = pair(one, reference, "psnr_slice", 0, {})
    assert found.mean == pytest.approx(-3 / 6)
    assert (found.better, found.slices, found.subjects) == (5, 6, 3)
    # Resamples of the three files' mean differences -1, -1, 0.5 lie between these.
    assert found.low is not None
    assert found.high is not None
    assert -1 <= found.low < found.mean < found.high <= 2
    # Of a distance less is better.
    assert pair(one, reference, "lpips", 0, {}).better == 1
    same = pair(reference, reference, "lpips", 0, {})
    assert (same.mean, same.better, same.slices, same.decided) == (0, 0, 0, False)


@pytest.mark.parametrize(("people", "found"), [(1, False), (5, False), (6, True)])
def test_a_difference_is_found_between_people_alone(people: int, found: bool) -> None:
    """Twelve files that all differ by 1, of fewer and fewer people."""
    values = [float(v) for v in range(24)]
    one, reference = rows("one", [v - 1 for v in values], 1.0), rows("paper", values, 1.0)
    subjects = {r["file"]: f"person {i // 2 % people}" for i, r in enumerate(one)}
    result = pair(one, reference, "psnr_slice", 0, subjects)
    assert (result.mean, result.subjects, result.decided) == (-1, people, found)
    assert (result.low, result.high) == ((None, None) if people == 1 else (-1, -1))


def test_page_of_known_rows() -> None:
    facts = {"Measurement": "m", "Test set": "t", "Methods": "x", "Prior": "p", "Software": "s"}
    result = TaskResult(
        "table1",
        ["diffpir", "paper"],
        rows("diffpir", [value - 1 for value in REFERENCE], 6.0) + rows("paper", REFERENCE, 2.0),
        facts,
        ["Careful."],
        {"diffpir": ["here"], "paper": ["here"]},
        ["table1-1.png", "table1-2.png"],
        {},
    )
    other = replace(result, name="table2", facts=facts | {"Measurement": "n"}, subjects=ONE_PERSON)
    results = [result, other]
    page = study_page("A study", results, "paper", ("psnr_slice", "nmse"), 0, "the command")
    for part in (
        "# A study",
        "Made by `the command`.",
        "- **Software:** s",
        "Careful.",
        "- **Measurement:** m",
        "- **Measurement:** n",
        "| method | brain (6 slices, 3 subjects) |",
        "| method | brain (6 slices, 1 subject) |",
        "| paper | 32.50 / 32.50000 |",
        "| diffpir | 31.50 / 31.50000 |",
        # Less error is better for diffpir; three people are too few to say so in bold.
        "| diffpir | PSNR, slice max (dB) | -1.00 [-1.00, -1.00]; 6 of 6 |",
        "| diffpir | NMSE | -1.00000 [-1.00000, -1.00000]; 0 of 6 |",
        "| paper | 2 s (3.00); 5; 4 | 2 s (3.00); 5; 4 |",
        "![table1-1](table1-1.png)\n\n![table1-2](table1-2.png)",
    ):
        assert part in page
    assert page.count("Software") == 1  # what both tasks share is said once
    assert page.count("Careful.") == 1
    assert page.count("| diffpir | NMSE |") == 1  # one person's differences have no interval


def test_draws_and_estimates_are_compared_among_themselves() -> None:
    facts = {"Measurement": "m", "Test set": "t", "Methods": "x", "Prior": "p"}
    methods = ["bicubic", "diffpir", "paper", "regression", "mean", "posterior-mean"]
    table = [
        row
        for shift, method in enumerate(methods)
        for row in rows(method, [value + shift for value in REFERENCE], 1.0)
    ]
    timed = {method: ["here"] for method in methods} | {"paper": ["here", "there"]}
    result = TaskResult("t", methods, table, facts, [], timed, [], {})
    page = study_page("A study", [result], "paper", ("psnr_slice",), 0, "c", "mean")
    draws, estimates = page.split("Draws minus ")[1].split("Point estimates minus ")
    compared = [line.split(" | ")[:3] for line in draws.splitlines() if "PSNR" in line]
    assert [line[0] for line in compared] == ["| diffpir"]
    assert "| diffpir | PSNR, slice max (dB) | -1.00 [" in draws
    for method, difference in (("bicubic", "-4.00"), ("regression", "-1.00")):
        assert f"| {method} | PSNR, slice max (dB) | {difference} [" in estimates
    assert "| posterior-mean | PSNR, slice max (dB) | +1.00 [" in estimates
    assert "| paper | 1 s; 5; 2 |" in page  # not all of it on diffpir's machine
    assert "| mean | 1 s (1.00); 5; 2 |" in page


def test_values_that_are_missing_are_said_to_be_missing() -> None:
    facts = {"Measurement": "m", "Test set": "t", "Methods": "x", "Prior": "p"}
    both = rows("diffpir", [1.0] * 4, 1.0) + rows("paper", [1.0] * 4, 1.0)
    both = [row | {"lpips": None} for row in both]
    result = TaskResult("t", ["diffpir", "paper"], both, facts, [], {}, [], {})
    page = study_page("A study", [result], "paper", ("psnr_slice", "lpips"), 0, "c")
    assert "| paper | 1.00 / n/a |" in page
    assert "| diffpir | LPIPS (AlexNet) | n/a |" in page


@pytest.mark.parametrize(("row", "column"), [(0, 0), (11, 34), (40, 48)])
def test_the_detail_is_where_the_measurement_knows_least(row: int, column: int) -> None:
    image = np.zeros((60, 80))
    checks = np.indices((4, 4)).sum(0) % 2 - 0.5  # the highest frequencies there are
    image[row : row + 4, column : column + 4] = checks
    image += 5 * np.sin(np.arange(80) * 2 * np.pi * 3 / 80)  # which the measurement does know
    rows, columns = busiest(image, (30, 40), (12, 16))
    assert rows.start <= row
    assert row + 4 <= rows.stop
    assert columns.start <= column
    assert column + 4 <= columns.stop
    assert (rows.stop - rows.start, columns.stop - columns.start) == (12, 16)
    assert min(rows.start, columns.start) >= 0
    assert (rows.stop, columns.stop) <= image.shape


def write_study(folder: Path, **changes: Any) -> Path:
    document = {
        "title": "Tiny",
        "max_slices": 1,
        "steps": 4,
        "samples": 2,
        "metrics": ["psnr_slice", "ssim_slice"],
        "reference": "paper",
        "tasks": [
            {
                "name": "2x",
                "factor": 2,
                "methods": ["zero-fill", "diffpir", "paper", "mean"],
                "figure": "difference",
            },
            {
                "name": "4x",
                "factor": 4,
                "methods": [
                    *("diffpir", "dps", "multigrid", "multigrid-pnp", "cascade-2level", "paper"),
                    *("regression", "paper:skip_determined=false", "posterior-mean"),
                ],
                "figure": "errors",
                "noise": 0.0,
            },
        ],
        "noise": 0.02,
        "noise_handling": "known",
    } | changes
    path = folder / "study.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.slow
def test_a_whole_study(
    test_set: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = test_set(("brain/test/a_x.npy", "knee/test/b_x.npy"))
    prior = write_random_prior(tmp_path / "prior")
    baselines = tmp_path / "baselines"
    write_random_prior(baselines / "single-scale", cascade=SINGLE)
    write_random_prior(baselines / "half-resolution", cascade=SINGLE)
    write_random_prior(baselines / "regression-4x", cascade=REGRESSION)
    study = write_study(tmp_path, prior=str(prior), baselines=str(baselines))
    output = tmp_path / "out"
    command = ["reproduce", str(study), "--data", str(root), "-o", str(output), "--device", "cpu"]
    assert main(command) == 0
    assert str(output / "results.md") in capsys.readouterr().out
    with (output / "all.csv").open() as file:
        table = list(csv.DictReader(file))
    counts = {task: len([r for r in table if r["task"] == task]) for task in ("2x", "4x")}
    assert counts == {"2x": 2 * 4, "4x": 2 * 9}
    assert {(r["task"], r["noise"]) for r in table} == {("2x", "0.02"), ("4x", "0")}
    evaluations = {r["method"]: r["nfe"] for r in table if r["task"] == "4x"}
    assert evaluations == {
        "diffpir": "4",
        "dps": "4",
        "multigrid": "3",
        "multigrid-pnp": "3",
        "cascade-2level": "4",
        "paper": "3",  # of 2 + 1 + 1 steps the level that the data determine takes none
        "paper:skip_determined=false": "4",
        "regression": "1",
        "posterior-mean": "6",
    }
    spread = {r["method"]: r["spread_skill"] for r in table if r["task"] == "4x"}
    assert [m for m, value in spread.items() if value] == ["posterior-mean"]
    assert float(spread["posterior-mean"]) > 0
    gflop = {r["method"]: float(r["gflop"]) for r in table if r["task"] == "4x"}
    assert gflop["posterior-mean"] == pytest.approx(2 * gflop["paper"])
    page = (output / "results.md").read_text()
    assert "| paper:skip_determined=false |" in page
    assert "T = 4, the mean of 2 samples" in page
    # A figure per slice has five columns; ten methods take three pairs of rows.
    for name, lines in (("2x", 1), ("4x", 6)):
        for number in (1, 2):
            high, wide = imread(output / f"{name}-{number}.png").shape[:2]
            assert 5 * 200 < wide < 6 * 300
            assert high > lines * 200
    before = (output / "all.csv").read_bytes()
    assert main(command) == 0  # nothing is left to do
    assert (output / "all.csv").read_bytes() == before


@pytest.mark.slow
def test_another_split_than_the_study_s(
    test_set: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = test_set(("brain/val/a_x.npy",))
    prior = write_random_prior(tmp_path / "prior")
    task = {"name": "2x", "factor": 2, "methods": ["paper", "mean"], "figure": "difference"}
    study = write_study(tmp_path, prior=str(prior), tasks=[task])
    command = ["reproduce", str(study), "--data", str(root), "-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert "no files in split 'test'; there are val" in capsys.readouterr().err
    assert main([*command, "--split", "val"]) == 0
    assert "split val: 1 slices" in (tmp_path / "out" / "results.md").read_text()


def test_bundled_studies_name_methods_that_are_there() -> None:
    assert bundled_studies() == ["paper", "quick"]
    for name in bundled_studies():
        for task in read_study(name).tasks:
            choose_methods(task.methods)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magic": 1}, "magic"),
        ({"tasks": []}, "every task needs a name"),
        ({"metrics": ["beauty"]}, "metrics are psnr_slice"),
        ({"reference": "magic"}, "unknown reference"),
        ({"tasks": [{"name": "a/b", "factor": 2, "methods": [], "figure": "errors"}]}, "folder"),
        ({"tasks": [{"name": "a", "factor": 2, "methods": [], "figure": "magic"}]}, "figure"),
        ({"tasks": [{"name": "a"}]}, "factor"),
        (
            {"tasks": [{"name": "a", "factor": 2, "methods": ["mean"], "figure": "difference"}]},
            "task a draws the reference, 'paper'; add it",
        ),
        ({"noise": "a"}, "noise must be a number of 0 or more; got 'a'"),
        ({"steps": "a"}, "steps must be a whole number; got 'a'"),
        ({"seed": None}, "seed must be a whole number; got None"),
    ],
)
def test_studies_that_are_not(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MRCascadeError, match=message) as error:
        read_study(str(write_study(tmp_path, **changes)))
    assert "\n" not in str(error.value)


def test_the_reference_may_have_settings_of_its_own(tmp_path: Path) -> None:
    name = "paper:zeta=0.1"
    task = {"name": "a", "factor": 2, "methods": ["mean", name], "figure": "difference"}
    assert read_study(str(write_study(tmp_path, tasks=[task], reference=name))).reference == name


def test_files_that_are_no_study(tmp_path: Path) -> None:
    with pytest.raises(MRCascadeError, match="not a study; give a JSON file, or one of paper"):
        read_study(str(tmp_path / "nowhere.json"))
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(MRCascadeError, match="not a study"):
        read_study(str(tmp_path / "a.json"))


def test_titles_of_long_methods_stay_above_their_panels() -> None:
    names = ["mean", "diffpir:zeta=0.1:lam=0.25:noise_floor=0.001:project=false:orientations=1"]
    canvas = Canvas(2, [1.0, 1.0], title_lines(names))
    image = np.eye(8)
    for row, column in np.ndindex(2, 2):
        show(canvas.panel(row, column), image, 1.0, method_title(names[column], image, image + 1))
    figure = canvas._figure
    figure.canvas.draw()
    panels = [axes.get_window_extent() for axes in figure.axes]
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    for text, panel in zip(titles, panels, strict=True):
        assert panel.x0 <= text.x0
        assert text.x1 <= panel.x1
        assert panel.y1 <= text.y0
    assert all(text.y1 <= panels[0].y0 for text in titles[2:])
    assert all(text.y1 <= figure.bbox.y1 for text in titles[:2])
