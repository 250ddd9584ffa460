"""Evaluation on GPUs, as far as a CPU can test it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from tests.quick import slow

from mrcascade import CascadePrior, SeparableOperator
from mrcascade.evaluation import job, meter, warm_up
from mrcascade.evaluation import run as run_module
from mrcascade.evaluation.job import Evaluation
from mrcascade.evaluation.run import evaluate
from mrcascade.evaluation.warm_up import WarmUp
from mrcascade.executors import local
from mrcascade.executors.task import Job
from mrcascade.prior.level import LevelPrior


@pytest.fixture
def request_(tmp_path: Path, prior_folder: Path) -> Evaluation:
    folder = tmp_path / "data" / "brain" / "test"
    folder.mkdir(parents=True)
    volume = np.abs(np.random.default_rng(0).normal(60, 15, size=(32, 32, 4)))
    np.save(folder / "a.npy", volume.astype(np.float32))
    return Evaluation(tmp_path / "data", methods=("mean",), prior=prior_folder, batch_size=2)


def _run(job: Evaluation, output: Path) -> None:
    evaluate(job, output, say=lambda line: None, progress=lambda n: lambda done, text: None)


@pytest.fixture
def no_gpu_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*arguments, **more):
        pytest.fail("a GPU was opened")

    import torch._dynamo  # whose registry must see torch's own functions

    for name in ("get_device_name", "set_device", "synchronize", "mem_get_info", "current_device"):
        monkeypatch.setattr(torch.cuda, name, opened)


@pytest.mark.parametrize("precision", [slow("float32"), "bfloat16"])
def test_the_parent_of_several_workers_opens_no_gpu(
    request_: Evaluation, tmp_path: Path, monkeypatch, no_gpu_may_open: None, precision: str
) -> None:
    loaded = []
    original = CascadePrior.from_pretrained

    def watched(folder, device="cpu", precision="float32"):
        loaded.append((str(device), precision))
        return original(folder, device, precision)

    monkeypatch.setattr(job.CascadePrior, "from_pretrained", watched)

    def in_workers(units, asked, make, say):
        assert asked.device == "cuda"  # which the workers open
        return map(make("cpu"), units)

    monkeypatch.setattr(run_module, "share_out", in_workers)
    asked = replace(request_, device="cuda", workers=2, precision=precision)
    _run(asked, tmp_path / "out")
    assert loaded[0] == ("cpu", precision)
    text = (tmp_path / "out" / "evaluation.json").read_text()
    assert f'"precision": "{precision}"' in text
    assert "for each of 2 processes, batches of 2" in text


def _device_of(device: str) -> Callable[[str], tuple[str, str]]:
    return lambda task: (device, task)


def test_a_worker_opens_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, made = [], []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", opened.append)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(local.signal, "signal", lambda *_: None)
    monkeypatch.setattr(local.threading, "Thread", Mock())
    monkeypatch.setattr(local, "_device", "", raising=False)

    class Numbers:
        left = iter(range(3))

        def get(self) -> int:
            return next(self.left)

    for _ in range(3):
        local._begin("cuda", 1, Numbers())
        made.append(local._run(Job.of(_device_of, "cuda"), "a task"))
    assert opened == [0, 1, 0]
    assert made == [("cuda:0", "a task"), ("cuda:1", "a task"), ("cuda:0", "a task")]


@pytest.mark.slow
def test_networks_are_warm_before_the_clock_starts(
    request_: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []

    class Watched(WarmUp):
        def __call__(self, prior, operator, images):
            order.append(("warm", images))
            super().__call__(prior, operator, images)

    monkeypatch.setattr(meter, "WarmUp", Watched)
    clock = SimpleNamespace(
        perf_counter=lambda: order.append("clock") or 0.0, process_time=lambda: 0.0
    )
    monkeypatch.setattr(meter, "time", clock)
    _run(request_, tmp_path / "out")
    assert order == [("warm", 2), "clock", "clock"] * 2


def test_each_network_runs_once_per_size(
    prior_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the "meta" device, which is no CPU either."""
    prior = CascadePrior.from_pretrained(prior_folder).to("meta")
    monkeypatch.setattr(LevelPrior, "autocast", lambda self: nullcontext())
    waited, shapes = [], []
    monkeypatch.setattr(warm_up, "synchronize", waited.append)
    for level in prior.levels:
        level.networks.unet.register_forward_hook(
            lambda module, inputs, output: (
                shapes.append(tuple(output.shape)) if len(inputs) > 1 else None  # with labels
            )
        )
    operator = SeparableOperator.from_kernel("fourier", 2, (34, 32))
    monkeypatch.setattr(operator, "project", lambda x, y: x)
    monkeypatch.setattr(type(operator), "__call__", lambda self, x: x)
    once = WarmUp()
    for images in (3, 3, 2):
        once(prior, operator, images)
    expected = [(n, 1, *shape) for n in (3, 2) for shape in ((34, 32), (17, 16), (9, 8))]
    assert shapes == expected
    assert waited == [prior.device] * 2
    once(None, operator, 3)
    once(CascadePrior.from_pretrained(prior_folder), operator, 3)
    assert shapes == expected
