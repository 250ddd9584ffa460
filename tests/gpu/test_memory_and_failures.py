"""Simulated devices that lack memory or fail: recognition, and the reaction of a job."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.executors.inline import InlineExecutor

from mrcascade import MRCascadeError
from mrcascade.cli import main
from mrcascade.devices.failures import (
    device_errors_of,
    device_failed,
    lacks_memory,
    still_answers,
)
from mrcascade.evaluation import units as units_module
from mrcascade.evaluation import workers
from mrcascade.evaluation.job import Evaluation
from mrcascade.evaluation.run import evaluate
from mrcascade.evaluation.units import Failed, Scored, Unfinished, Unit
from mrcascade.executors import Workers
from mrcascade.jobs import SuperResolution, super_resolve_file
from mrcascade.jobs import slices as slices_module
from mrcascade.jobs.memory import CPU_BATCH, GPU_BYTES, Batches, default_batch, fitting_batch
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import Restorer

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)
TOO_LITTLE = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    torch.OutOfMemoryError("HIP out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
    torch.AcceleratorError("CUDA error: out of memory", 2)
    if hasattr(torch, "AcceleratorError")
    else RuntimeError("CUDA error: out of memory"),
    RuntimeError("HIP error: out of memory"),
    RuntimeError("HIP error: hipErrorOutOfMemory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.88 GB)"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    RuntimeError("FIND was unable to find an engine to execute this computation"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("miopenStatusAllocFailed"),
    RuntimeError("level_zero backend failed with error: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
]
FAILED = [
    RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("HIP error: the operation cannot be performed in the present state"),
    RuntimeError("level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)"),
]
OTHER = [
    RuntimeError("a bug"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
    ValueError("out of memory"),  # nothing that a device raises
]


@pytest.mark.parametrize("error", TOO_LITTLE, ids=lambda e: f"{type(e).__name__} {e}"[:60])
def test_messages_of_too_little_memory(error: Exception) -> None:
    assert lacks_memory(error)
    told: list[str] = []
    batches = Batches(8, CPU, told.append)
    tried = []

    def work(batch: int) -> str:
        tried.append(batch)
        if batch > 2:
            raise error
        return "done"

    assert batches.run("a.nii", 100, work) == "done"
    assert (tried, batches.size) == ([8, 4, 2], 2)
    assert told == [f"out of memory: batches of {n} from here on" for n in (4, 2)]


@pytest.mark.parametrize("error", FAILED, ids=lambda e: str(e)[:60])
def test_messages_of_a_failed_device(error: Exception) -> None:
    assert device_failed(error)
    assert not lacks_memory(error)
    with (
        pytest.raises(MRCascadeError, match=r"^a\.nii: cuda:1 failed \(.*\); start") as raised,
        device_errors_of("a.nii", GPU),
    ):
        raise error
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", OTHER, ids=str)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert not lacks_memory(error)
    assert not device_failed(error)
    with pytest.raises(type(error)) as raised, device_errors_of("a.nii", GPU):
        raise error
    assert raised.value is error
    with pytest.raises(type(error)) as raised:
        Batches(8, CPU, print).run("a.nii", 8, lambda batch: (_ for _ in ()).throw(error))
    assert raised.value is error


@pytest.mark.parametrize(("size", "images"), [(64, 3), (3, 64), (1, 9), (64, 1)])
def test_a_batch_is_halved_by_the_images_that_it_has(size: int, images: int) -> None:
    """No size is tried that would pass the same images through the networks again."""
    tried = []

    def never(batch: int) -> None:
        tried.append(min(batch, images))
        raise MemoryError

    with pytest.raises(MRCascadeError, match=r"^a\.nii: not enough memory on cpu for one slice"):
        Batches(size, CPU, lambda line: None).run("a.nii", images, never)
    assert tried == {3: [3, 2, 1], 1: [1]}[min(size, images)]


def test_free_memory_includes_what_the_allocator_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that ended leaves its memory in the cache; the next one gets the same batch."""
    free, kept, held, asked = 30 * 2**20, 70 * 2**20, 20 * 2**20, []

    def told(value):
        return lambda device: asked.append(device) or value

    monkeypatch.setattr(torch.cuda, "mem_get_info", told((free, 2**40)))
    monkeypatch.setattr(torch.cuda, "memory_reserved", told(kept + held))
    monkeypatch.setattr(torch.cuda, "memory_allocated", told(held))
    assert fitting_batch(1000, 2**20, GPU) == 50
    assert set(asked) == {GPU}
    monkeypatch.setattr(torch.cuda, "mem_get_info", told((2**40, 2**40)))
    assert fitting_batch(10**9, 2**20, GPU) == GPU_BYTES // 2**20  # 32-bit indices


def test_batches_by_default() -> None:
    assert default_batch(100, CPU) == CPU_BATCH
    assert default_batch(100, GPU) == 100


# ---- sr ----


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for seed, name in enumerate(("a.npy", "b.npy", "c.npy")):
        noise = np.random.default_rng(seed).normal(size=(16, 16, 3))
        np.save(folder / name, (60 + 15 * noise).astype(np.float32))
    return folder


@pytest.mark.parametrize("where", ["Restorer.__call__", "image_bytes"])
def test_a_failed_device_ends_a_file_and_not_the_job(
    inputs: Path, tmp_path: Path, prior_folder: Path, monkeypatch, capsys, where: str
) -> None:
    owner = Restorer if "." in where else slices_module
    name = where.rpartition(".")[2]
    original, calls = getattr(owner, name), []

    def failing(*arguments, **more):
        calls.append(where)
        if len(calls) == 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore lines")
        return original(*arguments, **more)

    monkeypatch.setattr(owner, name, failing)
    output = tmp_path / "out"
    options = ["--factor", "2", "--noise", "0", "--device", "cpu", "--prior", str(prior_folder)]
    assert main(["sr", str(inputs), "-o", str(output), *options]) == 1
    document = json.loads((output / "run.json").read_text())
    assert [r["Status"] for r in document["Results"]] == ["done", "failed", "done"]
    error = capsys.readouterr().err
    assert (
        "b.npy: cpu failed (CUDA error: an illegal memory access was encountered); start" in error
    )
    assert not list(output.glob("b*"))


def test_progress_after_a_retry_counts_each_slice_once(
    inputs: Path, tmp_path: Path, prior: CascadePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt fails in its middle, after progress was told of."""
    original, failures = Restorer.__call__, []

    def late(*arguments, batch_size, callback, **more):
        def watched(event) -> None:
            callback(event)
            if batch_size > 1 and event.step == 2:
                failures.append(batch_size)
                raise torch.OutOfMemoryError("CUDA out of memory")

        return original(*arguments, batch_size=batch_size, callback=watched, **more)

    monkeypatch.setattr(Restorer, "__call__", late)
    told: list[float] = []
    job = SuperResolution((2, 2), noise=0.02, mode="paper", steps=9, batch_size=4)
    super_resolve_file(
        inputs / "a.npy", tmp_path / "out", prior, job, say=str, progress=lambda _: told.append
    )
    assert failures == [4, 2]
    begun = [i for i, done in enumerate(told) if done == 0]
    assert len(begun) == 3  # each attempt begins where the chunk does
    last = told[begun[-1] :]
    assert last == sorted(last)
    assert max(told) == last[-1] == 3


# ---- evaluate ----


@pytest.fixture
def job(tmp_path: Path, prior_folder: Path) -> Evaluation:
    folder = tmp_path / "data" / "brain" / "test"
    folder.mkdir(parents=True)
    volume = np.random.default_rng(0).normal(size=(32, 32, 4))
    np.save(folder / "a.npy", np.abs(60 + 15 * volume).astype(np.float32))
    return Evaluation(tmp_path / "data", methods=("mean",), prior=prior_folder, batch_size=4)


def _evaluated(job: Evaluation, output: Path) -> list[dict[str, str]]:
    evaluate(job, output, say=lambda line: None, progress=lambda n: lambda done, text: None)
    with (output / "metrics.csv").open() as rows:
        return list(csv.DictReader(rows))


@pytest.mark.slow
def test_an_evaluation_halves_its_batches(
    job: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _evaluated(job, tmp_path / "whole")
    original, sizes = Restorer.__call__, []

    def short(*arguments, batch_size, **more):
        sizes.append(batch_size)
        result = original(*arguments, batch_size=batch_size, **more)
        if batch_size > 1:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return result

    monkeypatch.setattr(Restorer, "__call__", short)
    halved = _evaluated(job, tmp_path / "halved")
    assert sizes == [4, 2, 1]
    for before, after in zip(whole, halved, strict=True):
        assert float(after["psnr_slice"]) == pytest.approx(float(before["psnr_slice"]), abs=1e-3)
        assert after["gflop"] == before["gflop"]  # of the attempt that succeeded


def _fail_on(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError, mean: float, mode: str = "mean"
) -> None:
    """Let a mode fail on measurements of about this mean."""
    original = Restorer.__call__

    def failing(self, measurement, *arguments, **more):
        if abs(measurement.mean() - mean) < 5 and self.plan.settings.name == mode:
            raise error
        return original(self, measurement, *arguments, **more)

    monkeypatch.setattr(Restorer, "__call__", failing)


@pytest.fixture
def three(job: Evaluation) -> Evaluation:
    """Files whose measurements have a mean of 60, 100 and 140."""
    folder = job.data / "brain" / "test"
    for name, level in (("b.npy", 100), ("c.npy", 140)):
        noise = np.random.default_rng(level).normal(size=(32, 32, 4))
        np.save(folder / name, np.abs(level + 15 * noise).astype(np.float32))
    return replace(job, methods=("zero-fill", "mean", "paper"), steps=6, batch_size=2)


LASTING = RuntimeError("CUDA error: unspecified launch failure\nmore")
PASSING = RuntimeError("CUDA out of memory")


@pytest.mark.slow
@pytest.mark.parametrize("error", [LASTING, PASSING], ids=["device", "memory"])
def test_an_evaluation_goes_on_after_a_file_that_failed(
    three: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    whole = _evaluated(three, tmp_path / "whole")
    lines: list[str] = []
    with monkeypatch.context() as patch:
        _fail_on(patch, error, 100)
        with pytest.raises(Unfinished, match=r"^brain/test/b\.npy: not restored") as raised:
            evaluate(
                three,
                tmp_path / "out",
                say=lines.append,
                progress=lambda n: lambda done, text: None,
            )
    (told,) = [line for line in lines if "b.npy: " in line]
    assert told.endswith("(method mean)")
    assert sum("Method mean has not restored every slice" in line for line in lines) == 1
    table = (tmp_path / "out" / "table.md").read_text()
    assert "paper" in table
    assert all(path.exists() for path in raised.value.written)
    with (tmp_path / "out" / "metrics.csv").open() as rows:
        done = [(r["file"], r["method"]) for r in csv.DictReader(rows)]
    assert len(done) == len(whole) - 4
    assert ("brain/test/b.npy", "mean") not in done
    # What is left comes with the next start, and ends as if nothing had been.
    resumed = _evaluated(three, tmp_path / "out")
    # Batches of other sizes round in another way.
    assert _scores(resumed) == pytest.approx(_scores(whole), rel=1e-5, abs=1e-6)


def _scores(rows: list[dict[str, str]]) -> dict[tuple[str, ...], float]:
    columns = "psnr_slice", "residual"
    return {(r["file"], r["method"], r["slice"], c): float(r[c]) for r in rows for c in columns}


def test_a_device_that_answers_no_more_ends_an_evaluation(
    three: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail_on(monkeypatch, LASTING, 60)
    monkeypatch.setattr(units_module, "still_answers", lambda device: False)
    lines: list[str] = []
    with pytest.raises(MRCascadeError, match=r"a\.npy: cpu failed \(CUDA error: uns") as raised:
        evaluate(
            three, tmp_path / "out", say=lines.append, progress=lambda n: lambda done, text: None
        )
    assert not isinstance(raised.value, Unfinished)
    with (tmp_path / "out" / "metrics.csv").open() as rows:
        assert {(r["file"], r["method"]) for r in csv.DictReader(rows)} == {
            ("brain/test/a.npy", "zero-fill")
        }


@pytest.mark.slow
def test_the_exit_code_of_an_evaluation_with_failures(
    three: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    _fail_on(monkeypatch, PASSING, 140)
    options = ["--data", str(three.data), "--prior", str(three.prior), "--device", "cpu"]
    methods = ["--methods", "zero-fill,mean", "--factor", "2", "-o", str(tmp_path / "out")]
    assert main(["evaluate", *options, *methods]) == 1
    said = capsys.readouterr()
    assert "table.md" in said.out
    assert "c.npy: not restored by every method; repeat the command to go on" in said.err


def test_failures_in_several_processes(three: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of the same file and method that were not handed out yet are left out."""
    units = [Unit(name, "mean", (i,)) for name in "ab" for i in range(20)]
    failed, begun = Failed(units[0], "a: failed"), []

    def run(job: object, unit: Unit) -> Scored | Failed:
        begun.append(unit)
        return failed if unit == units[0] else Scored([], [], "")

    pool = Workers(InlineExecutor(), 2, run)
    monkeypatch.setattr(workers, "open_workers", lambda *_: pool)
    results = list(workers.share_out(units, three, str, lambda line: None))
    assert results.count(failed) == 1
    assert begun == units[:2] + units[20:]  # two at a time
    assert len(results) == len(begun)


def test_what_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert still_answers(CPU)
    for error, answers in ((LASTING, False), (PASSING, True)):

        def ones(*arguments, error=error, **more):
            raise error

        monkeypatch.setattr(torch, "ones", ones)
        assert still_answers(GPU) == answers


def test_a_failed_device_ends_an_evaluation_in_one_line(
    job: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments, **more):
        raise RuntimeError("CUDA error: unspecified launch failure\nmore")

    monkeypatch.setattr(Restorer, "__call__", broken)
    with pytest.raises(MRCascadeError, match=r"a\.npy: cpu failed \(CUDA error: unspecified"):
        _evaluated(job, tmp_path / "out")
