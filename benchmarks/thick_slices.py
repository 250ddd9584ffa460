"""Thick slices of one volume made thin: our methods beside results of other software, and goals.

    python benchmarks/thick_slices.py VOLUME.nii.gz --factor 4 -o OUT
    python benchmarks/thick_slices.py VOLUME.nii.gz --results eclare=FILE.nii.gz:430 -o OUT
    python benchmarks/thick_slices.py VOLUME.nii.gz --run-eclare --specialist SPECIALIST -o OUT

Simulates thick slices as ``mrcascade evaluate --isotropic`` does, and writes them (OUT/low.nii.gz)
and the truth on its grid (OUT/truth.nii.gz) for other software. A result of another program is
named NAME=FILE, or NAME=FILE:SECONDS with its time of the CPU; it must lie on the truth's grid.
``--run-eclare`` runs ECLARE (Remedios et al.; GPL, ``pip install eclare``), which trains on the
scan itself, and takes its time. ``--specialist`` takes a regression network that was trained for
this task alone, ``benchmarks/specialist.py --task slices-4x -o SPECIALIST``: it restores both kinds
of planes, whose mean is projected onto the slices. Scores are those of the evaluation. The last
table holds goals: what a method for thick slices should reach, and figures of one's own
(``--least``).
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import torch

from common import names, run, settings, table_row, write_json
from informed_mean import TASKS
from mrcascade.data.folder import DataFile
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import TestFile
from mrcascade.evaluation.isotropic.bench import MadeVolume, VolumeBench
from mrcascade.evaluation.isotropic.job import (
    IsotropicEvaluation,
    checked_volume_methods,
    load_prior,
)
from mrcascade.evaluation.isotropic.scores import VolumeScorer
from mrcascade.evaluation.isotropic.survey import SurveyedVolume, case_of
from mrcascade.evaluation.isotropic.volumes import ThickCase, body_window, read_thin_volume
from mrcascade.evaluation.metrics import spread_skill
from mrcascade.evaluation.units import Unit
from mrcascade.evaluation.workers import leaving_tick
from mrcascade.io.file import image_file
from mrcascade.measurement.border import Margins
from mrcascade.operators import SeparableOperator
from mrcascade.restore.volume import ENDS, projected
from specialist import Specialist, restore, trained

SCORES = ("psnr", "ssim", "gain", "power", "seam", "residual", "cpu_seconds", "spread_skill")
PLANES = 32  # that pass through the regression network together
SPECIAL_TASK = "slices-4x"
GRID = 0.02  # voxels by which the corners of another program's result may be off
Row = dict[str, float]


class Goal(NamedTuple):
    """A figure that should be reached: what, the value found, the wanted one in words."""

    what: str
    found: float
    wanted: str
    reached: bool


def seam(image: np.ndarray, truth: np.ndarray) -> float:
    """Return the power of the finest detail across one kind of planes over that across the other.

    It is divided by the same of the truth. Planes that were made one by one and do not agree have
    steps between them, so that the quotient leaves 1.
    """

    def finest(volume: np.ndarray, axis: int) -> float:
        spectrum = np.fft.rfft(volume, axis=axis)
        high = np.fft.rfftfreq(volume.shape[axis]) >= 0.25
        return float((np.abs(np.compress(high, spectrum, axis=axis)) ** 2).sum())

    quotients = [finest(v, 1) / finest(v, 2) for v in (image, truth)]
    return quotients[0] / quotients[1]


def scored(image: np.ndarray, case: ThickCase, scorer: VolumeScorer) -> Row:
    return scorer(image) | {"seam": seam(image, case.truth)}


def our_row(made: MadeVolume, samples: int) -> Row:
    row = scored(made.image, made.case, made.scorer) | {"cpu_seconds": made.cost.cpu_seconds}
    if made.std is not None:
        body = made.scorer.body
        row["spread_skill"] = spread_skill(made.case.truth, made.image, made.std, samples, body)
    return row


# ---- a regression for this task ----


def regression_row(folder: Path, case: ThickCase, scorer: VolumeScorer) -> Row:
    """Return the scores of the network of ``specialist.py`` for slices 4 samples apart.

    Raises MRCascadeError where there is no such network, or the slices are others.
    """
    path = folder / f"{SPECIAL_TASK}.pt"
    if not path.is_file():
        raise MRCascadeError(f"{path}: no network; train it with specialist.py")
    if case.factor != TASKS[SPECIAL_TASK].first or case.noise or case.thick.thickness != 1:
        raise MRCascadeError("--specialist is for noise-free slices 4 samples apart and thick")
    specialist = trained(TASKS[SPECIAL_TASK], torch.load(path, weights_only=True)["network"])
    started = time.process_time()
    image = regressed(specialist, case)
    return scored(image, case, scorer) | {"cpu_seconds": time.process_time() - started}


def regressed(specialist: Specialist, case: ThickCase) -> np.ndarray:
    """Return the mean of both kinds of planes, projected onto the slices."""
    y, thick = case.measurement, case.thick
    inside = slice(thick.margin, thick.margin + thick.samples)
    whole = Margins(rows=(ENDS, ENDS)).extend(y.reshape(1, len(y), -1))
    whole = whole.reshape(-1, *y.shape[1:])
    total = np.zeros_like(case.truth)
    for axis in (1, 2):
        planes = np.ascontiguousarray(np.moveaxis(whole, axis, 0))
        operator = SeparableOperator(thick.extended(), np.eye(planes.shape[2]), "thick slices")
        for start in range(0, len(planes), PLANES):
            some = slice(start, start + PLANES)
            images = restore(specialist, planes[some], case.scale, operator)[:, inside]
            np.moveaxis(total, axis, 0)[some] += images / 2
    return projected(total, y, thick.matrix())


# ---- other programs ----


def grids(source: Any, case: ThickCase, start: list[int]) -> tuple[Any, Any]:
    """Return the affines of the truth and of its thick slices, whose axes come in file order."""
    truth = source.affine.copy()
    truth[:3, 3] += truth[:3, :3] @ start
    low, f = truth.copy(), case.factor
    low[:3, case.axis] *= f
    low[:3, 3] += truth[:3, case.axis] * (f / 2 - 0.5)
    return truth, low


def write_for_others(volume: Path, case: ThickCase, start: list[int], output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    affines = grids(nib.load(volume), case, start)
    pairs = zip(("truth", "low"), (case.truth, case.measurement), affines, strict=True)
    for name, stack, affine in pairs:
        values = np.ascontiguousarray(np.moveaxis(stack, 0, case.axis))
        nib.save(nib.Nifti1Image(values, affine), output / f"{name}.nii.gz")


def read_result(path: Path, case: ThickCase, truth: Path) -> np.ndarray:
    """Return another program's volume with the slice axis first.

    Raises MRCascadeError where it does not lie on the truth's grid.
    """
    try:
        found: Any = nib.load(path)
        wanted: Any = nib.load(truth)
        values = found.get_fdata(dtype=np.float32)
    except (OSError, nib.filebasedimages.ImageFileError) as error:
        raise MRCascadeError(f"{path}: cannot be read as NIfTI") from error
    if values.shape != wanted.shape:
        raise MRCascadeError(f"{path}: shape {values.shape} is not that of {truth}")
    moved = np.linalg.inv(wanted.affine) @ found.affine
    ends = np.array(values.shape) - 1
    corners = np.array([[*(np.array(p) * ends), 1] for p in np.ndindex(2, 2, 2)], float).T
    if (off := float(np.abs((moved @ corners - corners)[:3]).max())) > GRID:
        raise MRCascadeError(
            f"{path}: {off:.2f} voxels from the grid of {truth}; bring it there with mrcascade"
            " resample"
        )
    return np.moveaxis(values, case.axis, 0)


def parse_results(text: str) -> dict[str, tuple[Path, float]]:
    """Parse NAME=FILE[:SECONDS],...; without seconds they are not known."""
    found = {}
    for part in names(text):
        name, equals, rest = part.partition("=")
        file, _, seconds = rest.rpartition(":")
        try:
            found[name] = (Path(file), float(seconds)) if file else (Path(rest), np.nan)
        except ValueError:
            equals = ""
        if not equals:
            raise MRCascadeError(f"{part!r}: give NAME=FILE or NAME=FILE:SECONDS")
    return found


def run_eclare(output: Path, thickness: float) -> tuple[Path, float]:
    """Run ECLARE on the thick slices; return its result and the seconds of the CPU."""
    command = shutil.which("run-eclare")
    if command is None:
        raise MRCascadeError("--run-eclare: ECLARE is not installed here (pip install eclare)")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    given = ["--in-fpath", str(output / "low.nii.gz"), "--out-dir", str(output)]
    given += ["--relative-slice-thickness", f"{thickness:g}"]
    try:
        subprocess.run([command, *given], check=True)
    except subprocess.CalledProcessError as error:
        raise MRCascadeError(f"run-eclare ended with code {error.returncode}") from error
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return output / "low_eclare.nii.gz", cpu


# ---- goals ----


def goals(rows: dict[str, Row], least: dict[str, float]) -> Iterator[Goal]:
    """Yield the goals for the methods that ran.

    least: scores that ``mean`` should have at least.
    """

    def above(what: str, found: float, limit: float) -> Goal:
        return Goal(what, found, f"at least {limit:g}", found >= limit)

    def below(what: str, found: float, limit: float) -> Goal:
        return Goal(what, found, f"at most {limit:g}", found <= limit)

    mean = rows.get("mean")
    for name, row in rows.items():
        if name.partition(":")[0] in ("mean", "sample", "balanced", "posterior-mean"):
            yield below(f"residual of `{name}`", row["residual"], 1e-5)
    for name in ("sample", "balanced"):
        if name in rows:
            yield below(f"seam of `{name}`: |quotient - 1|", abs(rows[name]["seam"] - 1), 0.1)
    if mean is None:
        return
    for name, limit in least.items():
        yield above(f"{name} of `mean`", mean[name], limit)
    if "cubic" in rows:
        yield above("`mean` over `cubic` (dB)", mean["psnr"] - rows["cubic"]["psnr"], 1.6)
    if "sample" in rows:
        for score in ("gain", "power"):
            closer = abs(mean[score] - 1) - abs(rows["sample"][score] - 1)
            yield above(f"{score} of `sample` closer to 1 than of `mean`, by", closer, 0.0)
    if "posterior-mean" in rows:
        over = rows["posterior-mean"]["psnr"] - mean["psnr"]
        yield above("`posterior-mean` over `mean` (dB)", over, -0.15)
    if "regression" in rows:
        over = mean["psnr"] - rows["regression"]["psnr"]
        yield above("`mean` over a regression for this task (dB)", over, -0.05)
    if "eclare" in rows:
        other = rows["eclare"]
        yield above("`mean` over ECLARE (dB)", mean["psnr"] - other["psnr"], 0.0)
        if np.isfinite(other["cpu_seconds"]):
            times = other["cpu_seconds"] / mean["cpu_seconds"]
            yield above("CPU time of ECLARE over that of `mean`", times, 10.0)


def print_tables(rows: dict[str, Row], found: list[Goal]) -> None:
    print(table_row(["method", *SCORES]))
    print(table_row(["---", *["---:"] * len(SCORES)]))
    for name, row in rows.items():
        found_scores = [row.get(score, np.nan) for score in SCORES]
        values = ["" if np.isnan(value) else f"{value:.4g}" for value in found_scores]
        print(table_row([name, *values]))
    print()
    print(table_row(["goal", "found", "wanted", "reached"]))
    print(table_row(["---", "---:", "---", "---"]))
    for goal in found:
        reached = "yes" if goal.reached else "no"
        print(table_row([goal.what, f"{goal.found:.3g}", goal.wanted, reached]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path, metavar="VOLUME", help="near-isotropic NIfTI file")
    parser.add_argument("--factor", type=float, default=4.0, help="slice distance in samples")
    parser.add_argument("--axis", type=int, choices=range(3), default=2)
    parser.add_argument("--size", type=int, default=128, help="samples per axis, around the body")
    parser.add_argument("--methods", type=names, default=["cubic", "lsq", "mean"])
    parser.add_argument("--prior", default="mr-small")
    parser.add_argument("--samples", type=int, help="K of posterior-mean")
    parser.add_argument("--results", type=parse_results, default={}, metavar="NAME=FILE[:SECONDS]")
    parser.add_argument("--run-eclare", action="store_true")
    parser.add_argument("--specialist", type=Path, metavar="DIR", help="of specialist.py")
    parser.add_argument("--least", type=settings, default={}, metavar="psnr=27.5,ssim=0.876")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()

    job = IsotropicEvaluation(
        options.volume.parent,
        options.factor,
        tuple(options.methods),
        axes=(options.axis,),
        size=options.size,
        prior=options.prior,
        samples=options.samples,
    )
    methods = checked_volume_methods(job)
    data = DataFile(image_file(options.volume), options.volume.name, "volume", None, False, {})
    file = TestFile(data, None)
    volume = read_thin_volume(file)
    case = case_of(volume, file, options.axis, job)
    window = body_window(np.moveaxis(volume.values, options.axis, 0), case.truth.shape)
    start = [0, 0, 0]
    for axis, part in zip((case.axis, *case.others), window, strict=True):
        start[axis] = part.start
    write_for_others(options.volume, case, start, options.output)

    scorer = VolumeScorer(case)
    bench = VolumeBench(
        job,
        methods,
        load_prior(methods, job),
        [SurveyedVolume(file, volume.image.sha256, (options.axis,))],
        pictures=(),
    )
    rows: dict[str, Row] = {}
    for name in methods:
        made = bench.restore(Unit(file.name, name, (options.axis,)), leaving_tick)
        rows[name] = our_row(made, job.averaged)
    if options.specialist is not None:
        rows["regression"] = regression_row(options.specialist, case, scorer)
    results = dict(options.results)
    if options.run_eclare:
        results["eclare"] = run_eclare(options.output, job.thickness)
    for name, (path, seconds) in results.items():
        image = read_result(path, case, options.output / "truth.nii.gz")
        rows[name] = scored(image, case, scorer) | {"cpu_seconds": seconds}
    found = list(goals(rows, options.least))
    print_tables(rows, found)
    options.results = {name: str(path) for name, (path, _) in results.items()}
    options.output = options.output / "thick_slices.json"
    write_json(options, methods=rows, goals=[goal._asdict() for goal in found])


if __name__ == "__main__":
    run(main)
