"""No file that existed before and is not ours ever changes, in any layout.

Each layout is drawn from a seed: images, results of earlier commands, other files under the names
of outputs, links of both kinds, and a command. The environment variable ``MRCASCADE_LAYOUTS`` sets
how many are tried.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcascade.cli import main
from mrcascade.training import export as training_export
from mrcascade.training import patches, validation
from mrcascade.training import run as training_run
from tests.dicom.dicom_series import phantom, series

pytestmark = pytest.mark.slow

LAYOUTS = int(os.environ.get("MRCASCADE_LAYOUTS", "60"))
PARTS = 4
FOLDERS = ("in", "in/deep", "out", "out/deep", "in/out", ".", "new", "new/deep", "in/x.dicom")
IMAGES = ("a.npy", "b.npy", "a_desc-sr2x.npy", "a_desc-low2x.npy", "slices/p0.npy")
SUFFIXES = (".npy", ".json", ".png", "_sample.npy", "_std.npy", ".dicom", ".nii.gz")
STRANGERS = (
    *(
        f"{stem}{suffix}"
        for stem in ("a_desc-sr2x", "a_desc-low2x", "named")
        for suffix in SUFFIXES
    ),
    *("run.json", "evaluation.json", "metrics.csv", "volumes.csv", "table.md", "table.json"),
    *("slices.png", "slices", "slices/0_truth.npy", "slices/0_zero-fill.npy", "slices/mine.npy"),
    *("study.json", "results.md", "all.csv", "one-1.png", "one", "one/table.md", "one/slices.png"),
    *("training.json", "loss.png", "level1.ckpt", "level1.jsonl", "level3.jsonl", "prior"),
    *("level1-snapshot-999.safetensors", "level1-snapshot-mine.safetensors", "cache.hdf5"),
    *("prior/prior.json", "prior/level1.safetensors", "prior/notes.txt", "x_desc-sr2x.dicom"),
    *("x_desc-sr2x.dicom/notes.txt", "x_desc-sr2x.dicom/0001.dcm", "x_desc-sr2x.json"),
    *("x_desc-low2x.dicom/0009.dcm", "x_desc-low2x.json", ".lock", ".a_desc-sr2x.0.tmp.npy"),
)
TEXTS = (b"mine\n", b"{}\n", b'{"Files": {"Result": "a_desc-sr2x.npy"}}\n', b"[]\n", b"")


def outside(path: str, root: Path) -> bool:
    return not os.path.realpath(path).startswith(str(root))


def state(root: Path) -> dict[str, Any]:
    """What is at each path: kind, link's target, bytes."""
    found: dict[str, Any] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[path] = ("link", os.readlink(path))
            elif os.path.isdir(path):
                found[path] = ("folder",)
            else:
                found[path] = ("file", Path(path).read_bytes())
    return found


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("templates")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] / 32
    for seed in range(2):
        image = 100 + 80 * np.sin(6 * x + seed) * np.cos(5 * y) + 4 * rng.normal(size=(32, 32))
        np.save(folder / f"{seed}.npy", image.astype(np.float32))
    series(folder / "x", phantom((2, 32, 32)))
    study = {
        **{"title": "T", "reference": "zero-fill", "max_slices": 1, "metrics": ["psnr_slice"]},
        "tasks": [{"name": "one", "factor": 2, "methods": ["zero-fill", "bicubic"]}],
    }
    study["tasks"][0]["figure"] = "errors"  # type: ignore[index]
    (folder / "study.json").write_text(json.dumps(study))
    return folder


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing and training cost most and have no say in which files are written."""

    def save(figure: object, place: Any, **_: Any) -> None:
        Path(place).write_bytes(b"a picture")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)
    for module in ("evaluation.tables", "studies.page"):
        interval = f"mrcascade.{module}.bootstrap"
        monkeypatch.setattr(interval, lambda values, *_: np.stack([values.mean(0)] * 2))
    monkeypatch.setattr("mrcascade.jobs.results.draw_preview", lambda place, *_: save(0, place))
    monkeypatch.setattr(patches, "STATISTICS_PATCHES", 8)
    monkeypatch.setattr(validation, "VALIDATION_PATCHES", 1)
    monkeypatch.setattr(training_run, "forecast", lambda *_: [])
    monkeypatch.setattr(training_export, "largest_condition_error", lambda *_: 0.9)


class Layout:
    """One layout below ``root``, the working folder."""

    def __init__(self, seed: int, root: Path, templates: Path, prior: Path) -> None:
        self.random = random.Random(seed)
        self.root, self.templates, self.prior = root, templates, prior
        self.inputs: list[str] = []
        for folder in self.random.sample(FOLDERS[:5], 3):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "in").mkdir(exist_ok=True)
        for _ in range(self.random.randint(1, 3)):
            self._image()
        if self.random.random() < 0.4:
            self._link("linked", self.random.choice(["in", "out", "in/deep"]))

    def _image(self) -> None:
        draw = self.random
        if draw.random() < 0.25:
            place = draw.choice(["in/x", "in/x.dicom", "out/x_desc-sr2x.dicom", "x"])
            if not os.path.lexists(self.root / place):
                shutil.copytree(self.templates / "x", self.root / place)
                self.inputs.append(place)
            return
        place = f"{draw.choice(['in', 'in/deep', 'out', 'in'])}/{draw.choice(IMAGES)}"
        target = self.root / place
        if os.path.lexists(target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.templates / f"{draw.randrange(2)}.npy", target)
        self.inputs.append(place)

    def _link(self, name: str, to: str) -> None:
        if not os.path.lexists(self.root / name):
            os.symlink(self.root / to, self.root / name)

    def strangers(self) -> None:
        """Files of others, under the names of outputs; where something is, it stays."""
        draw = self.random
        for _ in range(draw.randint(0, 6)):
            folder = draw.choice([f for f in FOLDERS if "x.dicom" not in f])
            target = self.root / folder / draw.choice(STRANGERS)
            if os.path.lexists(target) or outside(str(target), self.root):
                continue
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                kind = draw.random()
                source = self.root / draw.choice(self.inputs) if self.inputs else target
                if kind < 0.6:
                    target.write_bytes(draw.choice(TEXTS))
                elif kind < 0.75:
                    os.symlink(draw.choice([str(source), "nowhere", str(self.root)]), target)
                elif source.is_file():
                    os.link(source, target)
            except (FileExistsError, NotADirectoryError):
                continue

    def _spelt(self, path: str) -> str:
        """The same place by another name."""
        draw = self.random
        if draw.random() < 0.3:
            return path
        if draw.random() < 0.3 and (self.root / "linked").is_dir():
            for name in ("in/deep", "in", "out"):
                same = os.path.realpath(self.root / "linked") == os.path.realpath(self.root / name)
                if same and path.startswith(name):
                    return "linked" + path.removeprefix(name)
        return str(self.root / path) if draw.random() < 0.7 else f"in/../{path}"

    def _output(self, names: tuple[str, ...]) -> str:
        draw = self.random
        around = [os.path.dirname(path) or "." for path in self.inputs]
        folder = draw.choice([*FOLDERS, *around])
        return self._spelt(folder if draw.random() < 0.6 else os.path.join(folder, *names[:1]))

    def command(self) -> list[str]:
        """A command on these files."""
        draw = self.random
        image = draw.choice(self.inputs or ["in"])
        data = draw.choice([os.path.dirname(image) or ".", os.path.dirname(image), "in", "."])
        data, device = self._spelt(data or "."), ["--device", "cpu"]
        kind = draw.choice(["sr", "sr", "simulate", "simulate", "evaluate", "reproduce", "train"])
        kind = "cache" if draw.random() < 0.08 else kind
        both = [[], [], ["--overwrite"], ["--overwrite"]]
        if kind in ("sr", "simulate"):
            name = draw.choice([image.rpartition("/")[2], "named.npy", "named.dicom"])
            out = ["-o", self._output((name,)), "--factor", "2", "--noise", "0"]
            if kind == "simulate":
                return ["simulate", self._spelt(image), *out, *draw.choice(both)]
            inputs = draw.choice([[image], [image], self.inputs or [image], [data]])
            more = draw.choice([*both, ["--resume"], ["--resume", "--overwrite"]])
            samples = ["--samples", "2", "--steps", "2"] if draw.random() < 0.2 else []
            given = [self._spelt(path) for path in inputs]
            return ["sr", *given, *out, *device, "--prior", str(self.prior), *samples, *more]
        if kind == "cache":
            return [
                "cache",
                "--data",
                data,
                "-o",
                self._output(("cache.hdf5",)),
                *draw.choice(both),
            ]
        out = ["--data", data, "-o", self._output(("run",))]
        if kind == "evaluate":
            methods = ["--methods", draw.choice(["zero-fill", "zero-fill,bicubic"])]
            return ["evaluate", *out, *device, "--factor", "2", *methods, *draw.choice(both)]
        if kind == "reproduce":
            study = str(self.templates / "study.json")
            return ["reproduce", study, *out, *device, *draw.choice(both)]
        few = ["--network", "tiny", "--images", "4", "--mean-images", "2", "--batch-size", "2"]
        few += ["--set", "patch=32", "--set", "coarse_patch=16"]
        few += draw.choice([[], ["--levels", "1"], ["--levels", "3"]])
        return ["train", *out, *device, *few, *draw.choice([[], ["--resume"]])]

    def run(self, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], int, str]:
        """A command's arguments, exit code and errors."""
        command = self.command()
        capsys.readouterr()
        sys.argv = ["mrcascade", *command]
        code = main(command)
        return command, code, capsys.readouterr().err


@pytest.fixture
def layout(
    tmp_path: Path, templates: Path, prior_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], Layout]:
    def made(seed: int) -> Layout:
        root = tmp_path / str(seed)
        root.mkdir()
        monkeypatch.chdir(root)
        return Layout(seed, root, templates, prior_folder)

    monkeypatch.setattr(sys, "argv", [])
    return made


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_not_ours_stays(
    part: int, layout: Callable[[int], Layout], light: None, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = []
    for seed in range(part, LAYOUTS, PARTS):
        case = layout(seed)
        ours: set[str] = set()
        for step in range(case.random.choice([1, 2, 2, 3])):
            if step or case.random.random() < 0.5:
                case.strangers()
            before = state(case.root)
            command, code, errors = case.run(capsys)
            after = state(case.root)
            what = f"layout {seed}, step {step}: mrcascade {' '.join(command)}: {code}\n{errors}"
            assert code in (0, 1, 2), what
            changed = {p for p, found in before.items() if after.get(p) != found}
            assert not changed - ours, f"{what}{sorted(changed - ours)}"
            hidden = {p for p in after.keys() - before.keys() if Path(p).name.startswith(".")}
            assert not hidden, f"{what}{sorted(hidden)}"
            if code == 2:
                assert after == before, what
            new = sorted(after.keys() - before.keys())
            ours |= set(new)
            images = [p for p in new if p.endswith(".npy") and "slices" not in p]
            if images and case.random.random() < 0.3:
                # What we made is an input now, and no longer ours to replace.
                taken = case.random.choice(images)
                case.inputs.append(os.path.relpath(taken, case.root))
            codes.append(code)
        shutil.rmtree(case.root)
    # Both happen often, or the layouts show nothing.
    assert codes.count(0) > len(codes) / 6
    assert codes.count(2) > len(codes) / 6
