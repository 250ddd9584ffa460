"""Benchmarks as a whole: contenders, counts against the networks' own, and the document."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mrcascade.adapters import deepinv as deepinv_adapter
from mrcascade.benchmark import contenders, deepinv_library, peak, run
from mrcascade.benchmark.contenders import Problem, choose_contenders
from mrcascade.benchmark.peak import Workload
from mrcascade.benchmark.run import Benchmark, run_benchmark
from mrcascade.errors import MRCascadeError
from mrcascade.networks import count_flop
from mrcascade.prior.cascade import CascadePrior
from mrcascade.recipes.modes import MODES

STEPS = 12


@pytest.fixture(autouse=True)
def small_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "CPU_WORKLOAD", Workload(32, 1, 8, 32))


@pytest.fixture
def job(prior_folder: Path, baselines: Path) -> Benchmark:
    return Benchmark(
        size=32, prior=prior_folder, baselines=baselines, steps=STEPS, batch_sizes=(1, 2), repeats=1
    )


def measured(job: Benchmark, lines: list[str] | None = None) -> dict[str, Any]:
    lines = [] if lines is None else lines
    return run_benchmark(job, say=lines.append, stage=lambda name, runs: lambda done, text: None)


def network_costs(prior: CascadePrior, level: int, side: int, steps: int = 4) -> tuple[int, int]:
    """FLOP of a chain of a U-Net and of a regression branch on one image.

    What condition and mean add to the U-Net's first convolution is the same in all steps.
    """
    networks = prior.levels[level - 1].networks
    width = networks.condition_channels
    noisy, label = torch.zeros(1, 1, side, side), torch.zeros(1)
    if networks.mean is None:
        return steps * count_flop(networks.unet, noisy, label), 0
    fixed = torch.zeros(1, width + 1, side, side)
    with torch.no_grad():
        entered = networks.unet(fixed)
    step = count_flop(networks.unet, noisy, label, entered)
    branch = count_flop(networks.mean, torch.zeros(1, width, side, side))
    return count_flop(networks.unet, fixed) + steps * step, branch


def test_counts_are_those_of_the_networks(
    job: Benchmark, prior: CascadePrior, baselines: Path
) -> None:
    """Noise-free 4x data fix level 3. T is shared by three levels, so the others have four steps
    each, and a regression branch runs once per orientation."""
    single = CascadePrior.from_pretrained(baselines / "single-scale")
    (chain1, mean1), (chain2, mean2) = (network_costs(prior, i, 32 // i) for i in (1, 2))
    whole, _ = network_costs(single, 1, 32, STEPS)
    names = ("mean", "mean:orientations=2", "paper", "balanced", "diffpir")
    results = measured(Benchmark(**{**vars(job), "modes": names}))["results"]
    chain = chain1 + chain2 + mean1 + mean2
    expected = {
        "mean": (2, mean1 + mean2),
        "mean:orientations=2": (4, 2 * mean1 + 2 * mean2),
        "paper": (8, chain),
        # The band of level 2 loses detail, so its mean is sought too; level 1 keeps its own.
        "balanced": (9, chain + mean2),
        "diffpir": (STEPS, whole),
    }
    assert [(r["mode"], r["batch"]) for r in results] == [(n, b) for n in names for b in (1, 2)]
    for r in results:
        evaluations, flop = expected[r["mode"]]
        assert r["nfe"] == evaluations
        assert r["gflop"] == pytest.approx(flop / 1e9, rel=1e-3)  # four digits are kept


def test_the_document(job: Benchmark) -> None:
    lines: list[str] = []
    threads = torch.get_num_threads()
    document = measured(Benchmark(**{**vars(job), "threads": 1}), lines)
    assert torch.get_num_threads() == threads
    assert document["Software"][0]["Name"] == "mrcascade"
    machine = document["machine"]
    assert (machine["device"], machine["precision"], machine["threads"]) == ("cpu", "float32", 1)
    assert machine["compiled"] is False
    assert machine["peak_gflops"] > 0
    settings = {"factor": [4.0, 4.0], "kernel": "fourier", "noise": 0.0, "rounds": 1}
    assert document["settings"] == settings
    results = document["results"]
    installed = contenders.has_deepinv()
    modes = [*MODES, "diffpir", *(["deepinv"] if installed else [])]
    assert [(r["mode"], r["batch"]) for r in results] == [(m, b) for m in modes for b in (1, 2)]
    assert any("deepinv" in line for line in lines) is not installed
    for r in results:
        assert list(r) == [
            *("mode", "prior", "size", "batch", "steps", "timed_steps"),
            *("seconds_per_slice", "all_seconds_per_slice", "nfe", "gflop", "share_of_peak"),
            *("outside_networks", "first_slice_seconds", "first_slice_outside_networks"),
        ]
        assert r["size"] == 32
        assert r["all_seconds_per_slice"] == [r["seconds_per_slice"]]
        assert r["seconds_per_slice"] > 0
        assert r["share_of_peak"] > 0
        assert 0 < r["outside_networks"] < 1
        assert r["steps"] == r["timed_steps"] == (None if r["mode"] == "mean" else STEPS)
        rate = r["gflop"] / r["seconds_per_slice"]
        assert r["share_of_peak"] == pytest.approx(rate / machine["peak_gflops"], rel=3e-3)


@pytest.mark.slow
def test_a_chain_that_does_not_fit_is_timed_in_part(job: Benchmark) -> None:
    changes = {"modes": ("paper",), "steps": 24, "batch_sizes": (1,), "seconds": 0.0}
    (short,) = measured(Benchmark(**{**vars(job), **changes}))["results"]
    (full,) = measured(Benchmark(**{**vars(job), **changes, "seconds": 1e6}))["results"]
    assert (short["steps"], short["timed_steps"], full["timed_steps"]) == (24, 12, 24)
    assert (short["nfe"], short["gflop"]) == (full["nfe"], full["gflop"]) == (16, full["gflop"])


@pytest.mark.slow
def test_noise_gives_all_levels_their_steps(job: Benchmark) -> None:
    results = measured(Benchmark(**{**vars(job), "modes": ("paper",), "noise": 0.1}))["results"]
    assert [r["nfe"] for r in results] == [STEPS, STEPS]


@pytest.mark.slow
def test_shares_of_methods_with_gradients_are_not_known(job: Benchmark) -> None:
    changes = {"modes": ("dps",), "batch_sizes": (1,)}
    (dps,) = measured(Benchmark(**{**vars(job), **changes}))["results"]
    assert dps["nfe"] == STEPS
    assert dps["share_of_peak"] is dps["outside_networks"] is None
    assert dps["first_slice_outside_networks"] is None


def test_medians_of_the_rounds() -> None:
    """The share is taken in each round, so that a slow round has a slow peak."""
    recipe = SimpleNamespace(steps=None, gradients=False)
    contender = SimpleNamespace(name="a", prior=SimpleNamespace(name="p"), recipe=recipe)
    cost = run.RunCost(2, 8.0, 6.0, 3, 4 * 10**9)
    case: Any = SimpleNamespace(contender=contender, batch=2, first=cost, recipe=recipe)
    costs = [run.RunCost(2, s, 0.75 * s, 3, 4 * 10**9) for s in (2.0, 4.0, 40.0)]
    entry = run._result(64, case, costs, [4e9, 2e9, 0.2e9])
    assert entry["all_seconds_per_slice"] == [1.0, 2.0, 20.0]
    assert entry["seconds_per_slice"] == 2.0
    assert entry["share_of_peak"] == 0.5
    assert entry["outside_networks"] == 0.25
    assert (entry["gflop"], entry["first_slice_seconds"]) == (2.0, 8.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": ("fun",)}, "unknown method 'fun'"),
        ({"modes": ("zero-fill",)}, "'zero-fill' has no networks and is not timed; choose from"),
        ({"modes": ("posterior-mean",)}, "'posterior-mean' averages samples and is not timed"),
        ({"modes": ("mean",)}, "none of mean samples; drop --steps"),
        ({"modes": ("paper:zeta=2",)}, "zeta"),
        ({"baselines": "nowhere"}, "unknown prior 'nowhere/single-scale'"),
        ({"size": 24, "modes": ("paper",)}, "needs at least 32 pixels"),
    ],
)
def test_refusals(job: Benchmark, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MRCascadeError) as error:
        measured(Benchmark(**{**vars(job), **changes}))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_too_little_memory_is_one_line(job: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> float:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr(run, "first_slice", full)
    with pytest.raises(MRCascadeError, match="not enough memory on cpu for 2 slices at once"):
        measured(job)


def test_a_complex_prior_restores_complex_slices() -> None:
    problem = Problem(32, (4.0, 2.0), 0.0, 3)
    assert problem.measurement(1).shape == (3, 8, 16)
    assert problem.measurement(2).dtype == "complex64"


# ---- deepinv ----


class LinearPhysics(torch.nn.Module):
    """As deepinv's, as far as it is used."""

    def __init__(self, A: Any, A_adjoint: Any, img_size: tuple[int, ...]) -> None:
        super().__init__()
        self.A, self.A_adjoint = A, A_adjoint


class DiffPIR:
    """Evaluates and takes a data step ``max_iter`` times, as deepinv's."""

    def __init__(self, model, data_fidelity, sigma, max_iter, zeta, lambda_, device) -> None:
        self.model, self.steps, self.settings = model, max_iter, (sigma, zeta, lambda_, device)

    def __call__(self, y: torch.Tensor, physics: Any, x_init: torch.Tensor) -> torch.Tensor:
        x = x_init
        for _ in range(self.steps):
            x = physics.prox_l2(self.model(x, torch.tensor(0.3)), y, torch.tensor([2.0]))
        return x


@pytest.fixture
def deepinv(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    library = SimpleNamespace(
        physics=SimpleNamespace(LinearPhysics=LinearPhysics),
        optim=SimpleNamespace(data_fidelity=SimpleNamespace(L2=object)),
        sampling=SimpleNamespace(DiffPIR=DiffPIR),
        models=SimpleNamespace(Denoiser=torch.nn.Module),
    )
    monkeypatch.setattr(contenders, "has_deepinv", lambda: True)
    for module in (contenders, deepinv_library, deepinv_adapter):
        monkeypatch.setattr(module, "import_deepinv", lambda: library)
    return library


@pytest.mark.slow
def test_deepinv_is_timed_where_it_is_installed(
    job: Benchmark, deepinv: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    document = measured(Benchmark(**{**vars(job), "modes": ("diffpir", "deepinv")}), lines)
    costs = {r["mode"]: (r["prior"], r["nfe"], r["gflop"]) for r in document["results"]}
    assert costs["deepinv"] == costs["diffpir"]
    assert lines == []
    with pytest.raises(MRCascadeError, match="at most 400 steps"):
        measured(Benchmark(**{**vars(job), "modes": ("deepinv",), "steps": 401}))
    monkeypatch.setattr(contenders, "has_deepinv", lambda: False)
    with pytest.raises(MRCascadeError, match="deepinv is not installed"):
        measured(Benchmark(**{**vars(job), "modes": ("deepinv",)}))


def test_deepinv_is_left_out_of_the_defaults_in_one_line(
    job: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "has_deepinv", lambda: False)
    lines: list[str] = []
    found = choose_contenders(
        None,
        Problem(32, (4.0, 4.0), 0.0, 1),
        prior=job.prior,
        baselines=job.baselines,
        say=lines.append,
    )
    assert [c.name for c in found] == [*MODES, "diffpir"]
    assert lines == ["deepinv is not installed, so its DiffPIR is left out (pip install deepinv)"]
