"""Networks as compiled code: the same results, few shapes, the plain network after a failure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import SINGLE, write_random_prior
from tests.quick import slow
from torch import Tensor

from mrcascade import CascadePrior, SeparableOperator
from mrcascade.cli import main
from mrcascade.evaluation.job import Evaluation
from mrcascade.evaluation.run import evaluate
from mrcascade.jobs.memory import image_bytes
from mrcascade.networks import UNet, UNetConfig, compiled, fold
from mrcascade.networks.compiled import Compiler, plain_networks
from mrcascade.restore import make_plan, resolve_settings
from mrcascade.sampling import NoiseSource, reconstruct

SIDE = 16


class Counting:
    """A backend that runs the graph as it is, or what ``wrap`` makes of it."""

    def __init__(self, wrap: Callable[[Callable], Callable] = lambda forward: forward) -> None:
        self.calls, self._wrap = 0, wrap

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable:
        self.calls += 1
        return self._wrap(graph.forward)


def refusing(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable:
    raise RuntimeError("no compiler here\nand more lines")


def failing(error: Exception, after: int = 0) -> Counting:
    """A backend whose code raises from a certain call on."""
    runs = []

    def wrap(forward: Callable) -> Callable:
        def run(*inputs: Tensor) -> tuple[Tensor, ...]:
            runs.append(1)
            if len(runs) > after:
                raise error
            return forward(*inputs)

        return run

    return Counting(wrap)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.compiler.reset()


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    made = UNet(UNetConfig(8, (1, 2), 1), 2, 1)
    with torch.no_grad():
        made.out.gain.fill_(1.0)
    return fold(made)


def images(batch: int = 2, side: int = SIDE) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 2, side, side, generator=rng), torch.randn(batch, generator=rng)


# Prior, mode, kernel, noise, and whether its chain has U-Nets that no gradient is followed through.
MODES = [
    ("cascade", "mean", "fourier", 0.0, False),
    ("cascade", "paper", "fourier", 0.0, True),
    slow("single", "dps", "fourier", 0.0, True),  # the last evaluation alone
    slow("cascade", "mean:orientations=8", "fourier", 0.01, True),
    slow("cascade", "sample", "area", 0.01, True),
    slow("cascade", "balanced", "fourier", 0.01, True),
    slow("complex", "paper", "fourier", 0.0, True),
    slow("single", "multigrid", "fourier", 0.0, True),
    slow("single", "multigrid-pnp", "fourier", 0.01, True),
]


@pytest.fixture(scope="module")
def priors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("priors")
    return {
        "cascade": write_random_prior(folder / "cascade"),
        "complex": write_random_prior(folder / "complex", channels=2),
        "single": write_random_prior(folder / "single", cascade=SINGLE),
    }


@pytest.mark.parametrize(("name", "mode", "kernel", "noise", "used"), MODES)
def test_every_mode_has_the_results_of_plain_networks(
    priors: dict[str, Path], name: str, mode: str, kernel: str, noise: float, used: bool
) -> None:
    _compare(priors[name], mode, kernel, noise, used, "eager", "float32", 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_chain_through_the_functional_graph(priors: dict[str, Path], precision: str) -> None:
    _compare(priors["cascade"], "paper", "fourier", 0.0, True, "aot_eager", precision, 1e-5)


@pytest.mark.slow
def test_a_chain_as_real_code(priors: dict[str, Path]) -> None:
    """Rounding moves the evaluations by 1e-6, and the chain adds up."""
    _compare(priors["single"], "paper", "fourier", 0.0, True, "inductor", "float32", 1e-3)


def _compare(
    folder: Path,
    mode: str,
    kernel: str,
    noise: float,
    used: bool,
    backend: str,
    precision: str,
    tolerance: float,
) -> None:
    operator = SeparableOperator.from_kernel(kernel, 2, (32, 32))
    results = []
    for compiler in (None, Compiler(backend)):
        prior = CascadePrior.from_pretrained(folder, precision=precision)
        if compiler:
            prior.compile(compiler)
        settings = resolve_settings(prior, mode, None if "mean" in mode else 6)
        plan = make_plan(prior, operator, noise, settings)
        generator = torch.Generator().manual_seed(1)
        y = torch.rand(2, prior.channels, *operator.out_shape, generator=generator)
        results.append(reconstruct(prior, plan, y, NoiseSource([0, 1])).image)
    assert compiler is not None
    assert compiler.failure is None
    assert (compiler.evaluations > 0) == used
    error = torch.linalg.vector_norm(results[1] - results[0])
    assert error <= tolerance * torch.linalg.vector_norm(results[0])


# ---- failures ----


@pytest.mark.parametrize(
    "case", ["no backend", slow("no code"), slow("code that raises"), "wrong code"]
)
def test_a_failure_leaves_the_plain_network(network: UNet, case: str) -> None:
    backend = {
        "no backend": "no-such-backend",
        "no code": refusing,
        "code that raises": failing(ValueError("a bug")),
        "wrong code": Counting(lambda forward: lambda *x: tuple(2 * v for v in forward(*x))),
    }[case]
    x, labels = images()
    expected = network(x, labels)
    compiler = Compiler(backend)
    compiler.compile(network)
    with pytest.warns(UserWarning, match=r"torch\.compile failed \(.+\); the networks run uncom"):
        assert torch.equal(network(x, labels), expected)
    assert compiler.evaluations == 0
    line = compiler.news()
    assert line is not None
    assert "\n" not in line
    assert compiler.news() is None  # told once
    calls = getattr(backend, "calls", 0)
    assert torch.equal(network(*images(5)), network.forward._plain(*images(5)))
    assert getattr(backend, "calls", 0) == calls  # nothing is tried again
    reasons = {"no code": "no compiler here", "code that raises": "a bug", "wrong code": "off by 1"}
    assert reasons.get(case, "no-such-backend") in line


@pytest.mark.slow
def test_without_a_compiler_for_its_code(network: UNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on machines without one, by torch's own error."""
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("/no/such/compiler",))
    x, labels = images()
    expected = network(x, labels)
    compiler = Compiler()
    compiler.compile(network)
    with pytest.warns(UserWarning, match="InvalidCxxCompiler"):
        assert torch.equal(network(x, labels), expected)


def test_too_little_memory_for_code_is_no_failure(network: UNet) -> None:
    """Where the plain network has enough, and only there."""
    backend = failing(torch.OutOfMemoryError("CUDA out of memory"), after=1)
    compiler = Compiler(backend)
    compiler.compile(network)
    x, labels = images()
    first = network(x, labels)
    assert compiler.evaluations == 1
    assert torch.equal(network(x, labels), first)
    assert (compiler.evaluations, compiler.failure) == (1, None)
    network(x, labels)
    assert backend.calls == 1


def test_what_the_device_raises_is_raised(network: UNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that failed fails the plain network, too."""
    broken = RuntimeError("CUDA error: unspecified launch failure")
    compiler = Compiler(failing(broken))
    compiler.compile(network)

    def plain(x: Tensor, labels: Tensor) -> Tensor:
        raise broken

    def traced(*inputs: Tensor) -> Tensor:
        raise broken

    network.forward._plain = plain
    network.forward._compiled = {False: traced}
    with pytest.raises(RuntimeError, match="launch failure"):
        network(*images())
    assert compiler.failure is None


# ---- shapes ----


@pytest.mark.slow
def test_few_shapes_are_compiled(network: UNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own bound, which is lower here, counts all networks of a class together."""
    monkeypatch.setattr(compiled, "MOST_SHAPES", 2)
    backend = Counting()
    compiler = Compiler(backend)
    compiler.compile(network)
    with torch._dynamo.config.patch(recompile_limit=1):
        for side in (SIDE, SIDE, SIDE + 1, SIDE + 1, SIDE + 2, SIDE + 3):
            x, labels = images(1, side)
            assert torch.equal(network(x, labels), network.forward._plain(x, labels))
    assert compiler.failure is None
    assert (backend.calls, compiler.evaluations) == (2, 4)


def test_a_smaller_batch_is_filled_up(network: UNet) -> None:
    backend = Counting()
    compiler = Compiler(backend)
    compiler.compile(network)
    for batch in (8, 7, 4, 8):
        x, labels = images(batch)
        result = network(x, labels)
        assert result.shape == (batch, 1, SIDE, SIDE)
        torch.testing.assert_close(result, network.forward._plain(x, labels))
    assert backend.calls == 1
    network(*images(3))  # less than half
    assert (backend.calls, compiler.evaluations) == (2, 5)


@pytest.mark.slow
def test_orientations_share_their_code(network: UNet) -> None:
    backend = Counting()
    Compiler(backend).compile(network)
    x, labels = images()
    last = x.to(memory_format=torch.channels_last)
    for view in (x, x.transpose(2, 3), x.flip(2), last, x[:, [0, 1]]):
        torch.testing.assert_close(network(view, labels), network.forward._plain(view, labels))
    assert backend.calls == 1


def test_gradients_and_hooks_have_the_plain_network(network: UNet, priors: dict[str, Path]) -> None:
    compiler = Compiler(Counting())
    compiler.compile(network)
    x, labels = images()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(network(x, labels).square().sum(), x)
    assert gradient.abs().sum() > 0
    with plain_networks():
        network(x.detach(), labels)
    assert compiler.evaluations == 0
    prior = CascadePrior.from_pretrained(priors["cascade"])
    operator = SeparableOperator.from_kernel("fourier", 2, (32, 32))
    plan = make_plan(prior, operator, 0.01, resolve_settings(prior, "paper", 6))
    expected = image_bytes(prior, plan)
    assert image_bytes(prior.compile(compiler), plan) == expected
    assert compiler.evaluations == 0


def test_results_of_cuda_graphs_are_copies(network: UNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay writes its result where the last one did."""
    memory: list[Tensor] = []

    def compile_(plain: Callable, *, mode: str, **options: object) -> Callable:
        assert (mode, options["fullgraph"], options["dynamic"]) == ("reduce-overhead", True, False)

        def replay(x: Tensor, labels: Tensor) -> Tensor:
            result = plain(x, labels)
            if not memory:
                memory.append(torch.empty_like(result))
            return memory[0].copy_(result)

        return replay

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(compiled, "_wants_graphs", lambda x: True)
    Compiler().compile(network)
    x, labels = images()
    first = network(x, labels)
    kept = first.clone()
    second = network(2 * x, labels)
    assert torch.equal(first, kept)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("named", [None, "elsewhere"])
def test_code_is_kept_in_the_users_cache(
    named: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "before")  # so that it is restored
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    if named:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", named)
    Compiler()
    found = os.environ["TORCHINDUCTOR_CACHE_DIR"]
    assert found == (named or str(tmp_path / "mrcascade" / "inductor"))
    assert not list(tmp_path.iterdir())


# ---- commands ----


@pytest.mark.parametrize(("backend", "worked"), [("eager", True), slow(refusing, False)])
def test_sr_says_whether_networks_were_compiled(
    backend: str | Callable,
    worked: bool,
    tmp_path: Path,
    priors: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("mrcascade.prior.cascade.Compiler", partial(Compiler, backend))
    rng = np.random.default_rng(0)
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, (60 + 15 * rng.normal(size=(16, 16, 3))).astype(np.float32))
    options = ["--factor", "2", "--noise", "0.01", "--mode", "paper", "--steps", "6"]
    common = [*options, "--prior", str(priors["single"]), "--device", "cpu"]
    inputs = [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]
    assert main(["sr", *inputs, "-o", str(tmp_path / "plain"), *common]) == 0
    capsys.readouterr()
    assert main(["sr", *inputs, "-o", str(tmp_path / "out"), *common, "--compile", "on"]) == 0
    said = capsys.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if "torch.compile" in line]
    assert len(lines) == (0 if worked else 1)
    begun = [line for line in said.out.splitlines() if "compiling" in line]
    told = "compiling the U-Net of level 1 for inputs of {} x 1 x 32 x 32, which may take minutes"
    assert begun == [f"a.npy: {told.format(3)}"]  # neither per chunk nor per file
    for result in sorted((tmp_path / "plain").glob("*.npy")):
        other = tmp_path / "out" / result.name
        assert np.array_equal(np.load(result), np.load(other))
        sidecars = [json.loads(p.with_suffix(".json").read_text()) for p in (result, other)]
        assert [s.get("Compiled") for s in sidecars] == [None, worked]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "worked"), [("eager", True), (refusing, False)])
def test_an_evaluation_with_compiled_networks(
    backend: str | Callable,
    worked: bool,
    tmp_path: Path,
    priors: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mrcascade.evaluation.job.Compiler", partial(Compiler, backend))
    folder = tmp_path / "data" / "brain" / "test"
    folder.mkdir(parents=True)
    volume = np.random.default_rng(0).normal(size=(32, 32, 3))
    np.save(folder / "a.npy", np.abs(60 + 15 * volume).astype(np.float32))
    job = Evaluation(
        tmp_path / "data", methods=("paper",), prior=priors["single"], steps=6, compile=True
    )
    lines: list[str] = []
    shown: list[str] = []
    tick = lambda done, text: shown.append(text)  # noqa: E731
    with nullcontext() if worked else pytest.warns(UserWarning, match="torch.compile failed"):
        evaluate(job, tmp_path / "out", say=lines.append, progress=lambda n: tick)
    assert sum(text.startswith("compiling the U-Net of level 1") for text in shown) == 1
    assert sum("torch.compile failed" in line for line in lines) == (not worked)
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    (machine,) = document["timed"]["paper"]
    assert machine.endswith("networks compiled") == worked
    rows = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 4
    flop = rows[0].split(",").index("gflop")
    assert all(float(row.split(",")[flop]) > 0 for row in rows[1:])
