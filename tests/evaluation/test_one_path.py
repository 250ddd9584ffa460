"""``evaluate`` and ``sr`` give the same bits for the same measurement, noise handling and mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tests.quick import slow, slow_but

from mrcascade.cli import main
from mrcascade.evaluation import bench
from mrcascade.evaluation.bench import Bench
from mrcascade.evaluation.data import find_files, load_truth, measure, truth_operator
from mrcascade.evaluation.job import Evaluation, load_priors, survey_files
from mrcascade.evaluation.methods import choose_methods
from mrcascade.evaluation.units import Unit
from mrcascade.jobs import slices
from mrcascade.recipes.modes import MODES

SEED, STEPS, NOISE = 5, 6, 0.02


@pytest.mark.parametrize("handling", [slow("estimated"), "known"])
@pytest.mark.parametrize("mode", slow_but(MODES, "mean", "sample"))
def test_same_bits(
    tmp_path: Path, prior_folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str, handling: str
) -> None:
    """Random numbers come from a file's bytes in one and from its name in the other, as evaluations
    measure in memory; both are given one seed here."""
    monkeypatch.setattr(slices, "input_seed", lambda seed, digest: SEED)
    monkeypatch.setattr(bench, "file_seed", lambda seed, name: SEED)
    data = tmp_path / "data" / "brain" / "test"
    data.mkdir(parents=True)
    truth = gaussian_filter(np.random.default_rng(0).normal(size=(64, 80, 3)), (2, 2, 0))
    np.save(data / "a.npy", np.abs(truth).astype(np.float32))
    job = Evaluation(
        data=tmp_path / "data",
        methods=(mode,),
        noise=NOISE,
        noise_handling=handling,
        prior=prior_folder,
        steps=None if mode == "mean" else STEPS,
        batch_size=1,
    )
    (file,) = find_files(job.data, "test")
    known = load_truth(file, job.factor)
    operator = truth_operator(known, "fourier", job.factor)
    low = measure(known, operator, NOISE, SEED, handling == "known")
    np.save(tmp_path / "low.npy", low.slices.transpose(1, 2, 0))

    methods = choose_methods(job.methods)
    priors = load_priors(methods, job)
    survey = survey_files([file], job, [], None)
    shown: dict[str, np.ndarray] = {}
    bench_ = Bench(job, methods, priors, None, survey, [])
    monkeypatch.setattr(
        bench_, "_scores", lambda unit, case, rows, result, cost: shown.update(a=result.images)
    )
    bench_.run(Unit(file.name, mode, (0, 1, 2)), lambda done, text: None)

    told = ["--noise", repr(low.noise)] if handling == "known" else []
    steps = [] if mode == "mean" else ["--steps", str(STEPS)]
    command = ["sr", str(tmp_path / "low.npy"), "-o", str(tmp_path / "out"), "--factor", "2"]
    command += ["--mode", mode, "--prior", str(prior_folder), "--device", "cpu"]
    assert main([*command, "--batch-size", "1", *told, *steps]) == 0
    result = np.load(tmp_path / "out" / "low_desc-sr2x.npy").transpose(2, 0, 1)
    np.testing.assert_array_equal(result, shown["a"])
