"""Tasks on any executor: order, interruption, and batches with the results of a serial run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.executors.inline import InlineExecutor
from tests.test_turns import content

from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.executors import Workers, cluster, task
from mrcascade.executors.task import Job, leave_if_unwanted, wanted_while
from mrcascade.jobs import FileBatch, Request, SuperResolution, find_inputs
from mrcascade.jobs.batch import FileTask, file_worker
from mrcascade.prior.cascade import CascadePrior


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    yield
    task._current = None


def squares(device: str) -> Callable[[int], int]:
    made.append(device)
    return lambda number: number**2


made: list[str] = []


def test_work_is_made_once_per_job_and_tasks_are_drawn_as_they_are_handed_out() -> None:
    made.clear()
    drawn: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(5):
            drawn.append(number)
            yield number

    with Workers(InlineExecutor(), 2) as workers:
        results = workers.results(Job.of(squares, "cpu"), tasks(), lost=pytest.fail)
        assert next(results) == (0, 0)
        assert drawn == [0, 1]
        assert list(results) == [(1, 1), (2, 4), (3, 9), (4, 16)]
        assert made == ["cpu"]
        other = workers.results(Job.of(squares, "cuda:1"), [7], lost=pytest.fail)
        assert list(other) == [(7, 49)]
    assert made == ["cpu", "cuda:1"]


def test_a_task_that_nobody_waits_for_is_left() -> None:
    leave_if_unwanted()
    with wanted_while(lambda: False), pytest.raises(KeyboardInterrupt):
        leave_if_unwanted()
    leave_if_unwanted()


@pytest.fixture
def batch(tmp_path: Path, prior_folder: Path) -> Callable[[str], FileBatch]:
    (tmp_path / "in").mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(size=(16, 16, 2))
        np.save(tmp_path / "in" / f"{seed}.npy", (60 + 15 * noise).astype(np.float32))
    np.save(tmp_path / "in" / "flat.npy", np.ones((16, 16), np.float32))
    prior = CascadePrior.from_pretrained(prior_folder)
    request = Request.of(prior, SuperResolution((2.0, 2.0), noise=0.0))
    items = find_inputs([tmp_path / "in"], None, None, 1, pytest.fail)
    return lambda name: FileBatch(items, tmp_path / name, request)


def worker_of(batch: FileBatch, folder: Path) -> Callable[[str], Callable]:
    loaded = CascadePrior.from_pretrained(folder)
    request = batch.request
    return lambda device: file_worker(
        folder, loaded.digest, "float32", batch.output, request.job, False, False, device
    )


class Retrying(Workers):
    """As a cluster whose first worker dies when it has written its result."""

    retries = True

    def _submit(self, job: Job, one: FileTask) -> Future:
        if one.number == 0:
            super()._submit(job, one)
        return super()._submit(job, one)


@pytest.mark.parametrize("kind", [Workers, Retrying])
def test_a_batch_on_an_executor_is_a_serial_batch(
    batch: Callable[[str], FileBatch], prior_folder: Path, tmp_path: Path, kind: type, monkeypatch
) -> None:
    def begin(number: int, item: object) -> tuple[Callable, Callable]:
        return (lambda line: None), lambda slices: lambda done: None

    serial, shared = batch("serial"), batch("shared")
    serial.run(begin=begin, end=lambda done: None)
    work = worker_of(shared, prior_folder)("cpu")
    workers = kind(InlineExecutor(), 3, lambda job, one: work(one))
    shared.run_in_workers(workers, Job.of(str, "cpu"), begin=begin, end=lambda done: None)
    assert [done.status for done in shared.results] == ["done", "done", "done", "failed"]
    assert content(tmp_path / "shared") == content(tmp_path / "serial")
    again = batch("shared")
    workers = kind(InlineExecutor(), 3, lambda job, one: work(one))  # nothing is replaced
    again.run_in_workers(workers, Job.of(str, "cpu"), begin=begin, end=lambda done: None)
    assert {done.status for done in again.results} == {"failed"}
    assert "already exists" in str(again.results[0].error)


def test_a_lost_file_fails_by_itself(
    batch: Callable[[str], FileBatch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Losing(Workers):
        def _result(self, future: Future, one: FileTask, lost: Callable) -> object:
            return lost(one, "4 worker processes died while they worked on it")

    shared = batch("shared")
    done = shared.run_in_workers(
        Losing(InlineExecutor(), 1),
        Job.of(str, "cpu"),
        begin=lambda number, item: (pytest.fail, pytest.fail),
        end=lambda done: None,
    )
    assert [one.status for one in done] == ["failed"] * 4
    assert str(done[0].error).endswith("0.npy: 4 worker processes died while they worked on it")
    assert not (tmp_path / "shared").exists()


def test_another_prior_on_a_worker_is_refused(
    batch: Callable[[str], FileBatch], prior_folder: Path
) -> None:
    with pytest.raises(MRCascadeError, match="has other weights on this worker"):
        file_worker(
            prior_folder, "0" * 64, "float32", Path("out"), SuperResolution(), False, False, "cpu"
        )


# ---- clusters that cannot be used ----


def sr(tmp_path: Path, *more: str) -> int:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((16, 16)))
    return main(["sr", str(tmp_path / "a.npy"), "-o", str(tmp_path / "o"), "--factor", "2", *more])


def test_distributed_is_not_installed(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert sr(tmp_path, "--scheduler", "tcp://127.0.0.1:9") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "mrcascade: --scheduler needs the package distributed: pip install 'mrcascade[cluster]'"
    )


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere:1"])
def test_no_scheduler_answers(tmp_path: Path, monkeypatch, capsys, address: str) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.2)
    assert sr(tmp_path, "--scheduler", address) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mrcascade: --scheduler {address}: no Dask scheduler answers there (")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("address", ["x", "tcp://", "http://127.0.0.1:80", "tcp://host", "a b:1"])
def test_what_is_no_address_is_not_dialled(address: str) -> None:
    with pytest.raises(MRCascadeError, match=r"no address of a scheduler; give one such as tcp:"):
        cluster.ClusterWorkers(address, lambda line: None)


def test_workers_are_either_local_or_of_a_cluster(tmp_path: Path, capsys) -> None:
    assert sr(tmp_path, "--scheduler", "tcp://127.0.0.1:9", "--workers", "2") == 2
    assert "--workers counts processes of this machine" in capsys.readouterr().err
    assert sr(tmp_path, "--scheduler", "tcp://127.0.0.1:9", "--dry-run") == 2
    assert "--dry-run estimates the work of this machine" in capsys.readouterr().err


class Cluster:
    """Stands in for distributed: a scheduler with two workers."""

    TimeoutError = TimeoutError
    scheduler = SimpleNamespace(KilledWorker=ZeroDivisionError)

    def __init__(self, versions: tuple, kinds: tuple = (("cpu", "float32"),) * 2) -> None:
        self._versions, self._kinds = versions, kinds

    def Client(self, address: str, **_: object) -> Cluster:
        return self

    def wait_for_workers(self, count: int, timeout: float) -> None:
        if not self._versions:
            raise TimeoutError

    def get_versions(self, packages: list[str]) -> dict[str, object]:
        named = [{"packages": {"mrcascade": version}} for version in self._versions]
        return {"client": named[0], "workers": {"tcp://b": named[0], "tcp://c": named[1]}}

    def run(self, function: Callable, *words: object, on_error: str) -> dict[str, object]:
        asked = function is cluster._choose
        return dict(zip(("tcp://b", "tcp://c"), self._kinds, strict=True)) if asked else {}

    def get_executor(self, pure: bool) -> InlineExecutor:
        assert not pure
        return InlineExecutor()

    def nthreads(self) -> dict[str, int]:
        return {"tcp://b": 1, "tcp://c": 1}

    def close(self, timeout: float) -> None:
        pass


@pytest.mark.parametrize(
    ("versions", "kinds", "message"),
    [
        ((), (), "it has no worker; start some with dask worker"),
        (("0.1", "0.2"), (), "worker tcp://c has mrcascade 0.2, and this is 0.1; install the same"),
        (("0.1", None), (), "worker tcp://c has no mrcascade, and this is 0.1"),
        (
            ("0.1", "0.1"),
            (("cpu", "float32"), ("cuda", "bfloat16")),
            "workers differ (cpu float32, cuda bfloat16); give --device and --precision",
        ),
        (
            ("0.1", "0.1"),
            (("cpu", "float32"), MRCascadeError("--device cuda: not usable here")),
            "worker tcp://c: --device cuda: not usable here",
        ),
        (  # one has died, and the other one counts
            ("0.1", "0.1"),
            (OSError("Stream is closed"), MRCascadeError("--device cuda: not usable here")),
            "worker tcp://c: --device cuda: not usable here",
        ),
    ],
)
def test_workers_that_do_not_fit(tmp_path: Path, monkeypatch, capsys, versions, kinds, message):
    monkeypatch.setattr(cluster, "_library", lambda: Cluster(versions, kinds))
    assert sr(tmp_path, "--scheduler", "tcp://a:1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_scheduler_that_ends_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_library", lambda: Cluster(("1", "1")))
    monkeypatch.setattr(InlineExecutor, "submit", lambda *_: cancelled())
    workers = cluster.ClusterWorkers("tcp://a:1", pytest.fail)
    assert workers.at_once == 2
    with pytest.raises(MRCascadeError, match="the connection is lost; repeat the command"), workers:
        list(workers.results(Job.of(str, "cpu"), [1], lost=pytest.fail))


def cancelled() -> Future:
    future: Future = Future()
    future.cancel()
    future.set_running_or_notify_cancel()
    assert isinstance(future.exception, Callable)
    with pytest.raises(CancelledError):
        future.result()
    return future


def test_the_loss_of_all_workers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_library", lambda: Cluster(("1", "1")))
    monkeypatch.setattr(cluster, "_COUNT_SECONDS", 0.0)
    left, said = [{}, {}, {"tcp://b": 1}], []
    monkeypatch.setattr(Cluster, "nthreads", lambda self: left.pop(0))
    workers = cluster.ClusterWorkers("tcp://a:1", said.append)
    assert [workers.at_once for _ in range(3)] == [1, 1, 1]
    assert said == [
        "tcp://a:1: no worker is left; waiting for one (Ctrl-C ends)",
        "tcp://a:1: work goes on",
    ]
