"""Training with compiled networks: the weights of plain ones, and what failures leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.quick import slow
from torch import Tensor
from training_data import TINY, assert_same, checkpoint, trainer, without_time

from mrcascade.cli import main
from mrcascade.networks.compiled import Compiler
from mrcascade.training.config import TrainConfig
from mrcascade.training.level import LevelTrainer
from mrcascade.training.log import read_log
from mrcascade.training.run import train_cascade

STEPS = 3


class Backend:
    """Runs graphs as they are, with what the forward and the backward pass give changed."""

    def __init__(
        self,
        forward: Callable[[list[Any]], list[Any]] = list,
        backward: Callable[[list[Any]], list[Any]] = list,
    ) -> None:
        self.graphs = 0
        self._compilers = {
            "fw_compiler": partial(self._code, forward),
            "bw_compiler": partial(self._code, backward),
        }

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable:
        from torch._dynamo.backends.common import aot_autograd  # which takes seconds to import

        self.graphs += 1
        return aot_autograd(**self._compilers)(graph, inputs)

    @staticmethod
    def _code(change: Callable, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable:
        from functorch.compile import make_boxed_func

        return make_boxed_func(lambda *values: change(graph.forward(*values)))


def refusing(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable:
    raise RuntimeError("no compiler here\nand more lines")


def raising(values: list[Any]) -> list[Any]:
    raise ValueError("a bug")


def doubled(values: list[Any]) -> list[Any]:
    """With the tensors of four dimensions doubled: images, or gradients of convolutions, which are
    zero in the first step of a training."""
    return [2 * v if isinstance(v, Tensor) and v.ndim == 4 else v for v in values]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.compiler.reset()


def steps(
    data: Path, stage: int, config: TrainConfig = TINY, compiler: Compiler | None = None
) -> LevelTrainer:
    run = trainer(data, config=config, compiler=compiler)
    run.seen = stage * TINY.mean_images
    for _ in range(STEPS):
        run.step()
    return run


def state(run: LevelTrainer) -> dict[str, Any]:
    return without_time(run.state())


# ---- code that works ----


@pytest.mark.parametrize("stage", [0, slow(1)])
@pytest.mark.parametrize("microbatch", [slow(0), 3])
def test_compiled_steps_are_the_plain_ones(data: Path, stage: int, microbatch: int) -> None:
    """Weights, averages, optimisers and generators; the same operations have the same bits."""
    config = replace(TINY, microbatch=microbatch)
    drawn = torch.get_rng_state()
    backend = Backend()
    compiler = Compiler(backend)
    said: list[str] = []
    with compiler.telling(said.append):
        run = steps(data, stage, config, compiler)
    assert said == ["compiling the network in training of level 1, which may take minutes"]
    assert torch.equal(torch.get_rng_state(), drawn)
    assert_same(state(run), state(steps(data, stage, config)))
    assert compiler.failure is None
    assert backend.graphs == 1  # one for all parts of three patches; those of two are plain
    assert compiler.evaluations == 1 + STEPS * (2 if microbatch else 1)  # with the trial
    assert compiler.seconds > 0


@pytest.mark.slow
def test_real_code_has_the_weights_of_plain_networks(data: Path) -> None:
    """Up to 1e-3 of what three steps move, in float32."""
    compiler = Compiler()
    run, plain = steps(data, 0, compiler=compiler), steps(data, 0)
    assert compiler.failure is None
    assert compiler.evaluations == 1 + STEPS
    first = trainer(data).networks.state_dict()
    moved, error = 0.0, 0.0
    for name, weight in plain.networks.state_dict().items():
        moved += float((weight - first[name]).square().sum())
        error += float((run.networks.state_dict()[name] - weight).square().sum())
    assert moved > 0
    assert error <= 1e-6 * moved


@pytest.mark.slow
def test_a_run_goes_on_with_and_without(data: Path, tmp_path: Path) -> None:
    expected = state(steps(data, 1))
    for compilers in ((Compiler("eager"), None), (None, Compiler("eager"))):
        first, second = (trainer(data, compiler=compiler) for compiler in compilers)
        first.seen = TINY.mean_images
        first.step()
        first.save(tmp_path / "level1.ckpt")
        second.load(tmp_path / "level1.ckpt")
        for _ in range(STEPS - 1):
            second.step()
        assert_same(state(second), expected)


# ---- failures ----


@pytest.mark.parametrize(
    ("stage", "backend", "reason"),
    [
        (0, "no-such-backend", "no-such-backend"),
        slow(0, refusing, "no compiler here"),
        slow(0, Backend(forward=raising), "a bug"),
        slow(0, Backend(backward=raising), "a bug"),
        slow(1, Backend(backward=raising), "a bug"),
        slow(0, Backend(forward=doubled), "losses are off by"),
        (0, Backend(backward=doubled), "gradient is off by"),
        slow(1, Backend(backward=doubled), "gradient is off by"),
    ],
)
def test_a_failure_leaves_the_plain_run(
    data: Path, stage: int, backend: str | Callable, reason: str
) -> None:
    compiler = Compiler(backend)
    graphs = getattr(backend, "graphs", 0)
    with pytest.warns(UserWarning, match=r"torch\.compile failed \(.+\); the networks run uncom"):
        run = steps(data, stage, compiler=compiler)
    assert_same(state(run), state(steps(data, stage)))
    line = compiler.news()
    assert line is not None
    assert reason in line
    assert "\n" not in line
    assert getattr(backend, "graphs", 0) <= graphs + 1  # nothing is tried again


@pytest.mark.slow
def test_gradients_that_code_leaves_out(data: Path) -> None:
    def detached(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable:
        def run(*values: Tensor) -> tuple[Tensor, ...]:
            return graph.forward(*(v.detach() if v.ndim == 4 else v for v in values))

        return run

    compiler = Compiler(detached)
    with pytest.warns(UserWarning, match="leaves out gradients"):
        run = steps(data, 1, compiler=compiler)
    assert_same(state(run), state(steps(data, 1)))


@pytest.mark.slow
def test_code_that_fails_after_the_trial(data: Path) -> None:
    """The step is made without it, from weights that were normalised once more."""
    passes = []

    def failing(values: list[Any]) -> list[Any]:
        passes.append(1)
        return raising(values) if len(passes) > 2 else list(values)

    compiler = Compiler(Backend(backward=failing))
    with pytest.warns(UserWarning, match="a bug"):
        run = steps(data, 1, compiler=compiler)
    assert len(passes) == 3
    plain = steps(data, 1)
    assert run.seen == plain.seen
    torch.testing.assert_close(
        dict(run.networks.state_dict()), dict(plain.networks.state_dict()), rtol=1e-3, atol=1e-3
    )
    for optimizer, _ in run.optimizers:
        assert {int(s["step"]) for s in optimizer.state_dict()["state"].values()} == {STEPS}


# ---- whole runs ----


@pytest.mark.slow
@pytest.mark.usefixtures("_no_plot")
def test_a_cascade_validates_and_exports_plain_networks(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers: list[Compiler] = []

    def made() -> Compiler:
        compilers.append(Compiler("eager"))
        return compilers[-1]

    monkeypatch.setattr("mrcascade.training.run.Compiler", made)
    train_cascade(data, tmp_path / "run", TINY, name="all", compile=True)
    (compiler,) = compilers
    assert compiler.failure is None
    assert compiler.evaluations == 3 * 10 + 5  # with the trials of five stages
    for level in (1, 2, 3):
        assert_same(
            without_time(checkpoint(tmp_path / "run", level)),
            without_time(checkpoint(finished, level)),
        )
        compiled, plain = (
            [without_time(record) for record in read_log(folder / f"level{level}.jsonl")]
            for folder in (tmp_path / "run", finished)
        )
        assert compiled == plain
        weights = [f / "prior" / f"level{level}.safetensors" for f in (tmp_path / "run", finished)]
        assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("_no_plot")
@pytest.mark.parametrize(("backend", "lines"), [("eager", 0), (refusing, 1)])
def test_the_command_says_when_it_trains_plainly(
    data: Path,
    tmp_path: Path,
    backend: str | Callable,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("mrcascade.training.run.Compiler", partial(Compiler, backend))
    options = ["--network", "tiny", "--images", "16", "--batch-size", "8", "--device", "cpu"]
    small = ["--set", "patch=32", "--set", "coarse_patch=16", "--seed", "1"]
    for name, compiled in (("plain", "off"), ("compiled", "on")):
        command = ["train", "--data", str(data), "-o", str(tmp_path / name), "--name", "x"]
        assert main([*command, *options, *small, "--compile", compiled]) == 0
        said = capsys.readouterr()
        found = [line for line in (said.out + said.err).splitlines() if "torch.compile" in line]
        assert len(found) == (lines if name == "compiled" else 0)
    for level in (1, 2, 3):
        first, second = (checkpoint(tmp_path / name, level) for name in ("plain", "compiled"))
        assert_same(without_time(first), without_time(second))
        assert "compile" not in json.loads(second["config"])
