"""Training in several processes: the same weights as one, one report, resume after a kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed_job import CONFIGS, STEPS, doubled, in_double_precision, ten_steps
from tests.quick import slow
from training_data import TINY, assert_same, checkpoint, trainer, volume, without_time

from mrcascade.cli import main
from mrcascade.devices import launch as launch_module
from mrcascade.devices.launch import launched, launcher_precision
from mrcascade.errors import MRCascadeError, ReportedElsewhere
from mrcascade.messages.duration import rounded
from mrcascade.training import forecast as forecast_module
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.config import TrainConfig
from mrcascade.training.distributed import LaunchedProcesses, Processes, join
from mrcascade.training.draws import StepDraws
from mrcascade.training.forecast import Speed
from mrcascade.training.log import read_log
from mrcascade.training.run import _check_identity, train_cascade

FOLDER = Path(__file__).parent
PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TIMEOUT = 300  # seconds; a hanging process must not hang the tests


def environment(number: int, count: int, port: int) -> dict[str, str]:
    """What a launcher tells a process."""
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "MASTER_PORT": port}
    return {
        **os.environ,
        **{name: str(value) for name, value in place.items()},
        "MASTER_ADDR": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(FOLDER), *sys.path]),
    }


def launch(*words: str | Path, count: int = 2) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            env=environment(number, count, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


def job(what: str, data: Path, folder: Path) -> list[Any]:
    """What two processes find."""
    processes = launch(FOLDER / "distributed_job.py", what, data, folder)
    for process in processes:
        _, told = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, told
    return [torch.load(folder / f"{what}{n}.pt", weights_only=True) for n in (0, 1)]


@pytest.fixture(scope="module")
def found(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Steps and failures of two processes over gloo."""
    return job("steps", data, tmp_path_factory.mktemp("job"))


# ---- the same batches ----


class _Part(Processes):
    """One of several processes, without the others."""

    def __init__(self, number: int, count: int) -> None:
        super().__init__("cpu")
        self.number, self.count = number, count


@pytest.mark.parametrize("count", [slow(2), 3, slow(8)])
@pytest.mark.parametrize("level", [1, 3])
def test_parts_make_up_the_batch_of_one_process(data: Path, level: int, count: int) -> None:
    """Patches, conditions, noise levels and noise, bit by bit."""

    def batch(number: int, of: int) -> list[torch.Tensor]:
        run = trainer(data, level, TINY, processes=_Part(number, of))
        draws = StepDraws(level, TINY, 40, run.processes.part(TINY.batch))
        band, condition, unknown, sigma, noise = run._noisy_batch(draws)
        weight = None if unknown is None else unknown.weight
        return [v for v in (band, condition, weight, sigma, noise) if v is not None]

    parts = [batch(number, count) for number in range(count)]
    for whole, *pieces in zip(batch(0, 1), *parts, strict=True):
        assert torch.equal(torch.cat(pieces), whole)


@pytest.mark.parametrize(("batch", "count"), [(8, 2), (7, 2), (16, 5), (3, 3), (9, 1)])
def test_parts_follow_each_other_and_differ_by_one(batch: int, count: int) -> None:
    parts = [_Part(number, count).part(batch) for number in range(count)]
    assert [i for part in parts for i in range(batch)[part]] == list(range(batch))
    sizes = {part.stop - part.start for part in parts}
    assert max(sizes) - min(sizes) <= 1


def test_a_batch_of_fewer_patches_than_processes_is_refused() -> None:
    with pytest.raises(MRCascadeError, match="a batch of 3 patches cannot be shared by 4"):
        _Part(0, 4).part(3)


@pytest.mark.parametrize("stage", [slow(0), 1])
def test_gradients_of_uneven_parts_add_up(
    data: Path, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    """In double precision, where sums in another order agree to 1e-15 of their terms."""
    in_double_precision(monkeypatch)
    config = CONFIGS[1]

    def gradient(processes: Processes) -> dict[str, torch.Tensor]:
        run = doubled(data, config, processes)
        run.seen = stage * run.stages[0]
        run._gradient()
        return {k: w.grad for k, w in run.networks.named_parameters() if w.grad is not None}

    whole = gradient(Processes("cpu"))
    parts = [gradient(_Part(number, 3)) for number in range(3)]
    for name, expected in whole.items():
        assert expected.norm() > 0
        total = sum(part[name] for part in parts)
        assert (total - expected).norm() < 1e-12 * expected.norm(), name


def test_batches_depend_on_seed_level_and_number(data: Path) -> None:
    run = trainer(data)

    def band(level: int, seed: int, first: int) -> torch.Tensor:
        draws = StepDraws(level, replace(TINY, seed=seed), first, slice(0, TINY.batch))
        return run._noisy_batch(draws)[-1]

    first = band(1, 1, 0)
    for other in (band(2, 1, 0), band(1, 2, 0), band(1, 1, 8)):
        assert not any(torch.equal(a, b) for a in first for b in other)
    # An image keeps its noise in any batch.
    assert torch.equal(band(1, 1, 3)[0], first[3])


def test_other_images_or_settings_than_the_main_process_has_are_refused(data: Path) -> None:
    def cascade(config: TrainConfig = TINY, slices: int = 4) -> CascadeData:
        return CascadeData([volume(slices=slices)], config)

    of_main = cascade().identity()
    _check_identity(data, cascade(), of_main)
    for other in (cascade(replace(TINY, seed=2)), cascade(slices=3)):
        with pytest.raises(MRCascadeError, match="other images or settings than those of the main"):
            _check_identity(data, other, of_main)


def test_the_forecast_shares_the_patches_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_module, "measure_speed", lambda *_: Speed(400.0, 600.0))
    train = [volume()]
    for count in (1, 2):
        # 10 steps of 400 s, and 80 patches of 600 s.
        seconds = 10 * 400.0 + 80 * 600.0 / count
        lines = list(forecast_module.forecast(train, [], TINY, {3: 0}, _Part(0, count)))
        assert lines[-2] == f"in all about {rounded(seconds)}"
    # Levels follow the whole in the order of their training, each with its time.
    seen = dict.fromkeys((3, 2, 1), 0)
    *_, whole, third, second, first = forecast_module.forecast(train, [], TINY, seen, _Part(0, 1))
    each = 10 * 400.0 + 80 * 600.0
    levels = ", then ".join(f"level {i} about {rounded(each)}" for i in (3, 2, 1))
    assert whole == f"in all about {rounded(3 * each)}: {levels}"
    for level, line in ((3, third), (2, second), (1, first)):
        assert line.startswith(f"level {level}: ")
        assert "(about " in line


# ---- two processes ----


def largest_difference(a: Any, b: Any) -> float:
    """Over all tensors in dictionaries and lists."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return max((largest_difference(a[k], b[k]) for k in a), default=0.0)
    if isinstance(a, list):
        assert len(a) == len(b)
        return max(map(largest_difference, a, b), default=0.0)
    return float((a - b).abs().max()) if isinstance(a, torch.Tensor) else 0.0


@pytest.mark.slow
def test_two_processes_reach_the_weights_of_one(data: Path, found: list[Any]) -> None:
    """Sums in another order agree to 1e-15 of their terms, which are of order 1. Adam divides an
    entry g of a gradient by |g| + 1e-8, so that one of rounding alone moves its weight by up to
    1e-15 / 1e-8 of the rate, 0.015, in each of the steps. The orthogonalisation of Muon multiplies
    relative errors by at most 525 (`test_training_muon`)."""
    tolerance = STEPS * 0.015 * 1e-15 / 1e-8
    for number, expected in enumerate(ten_steps(data, Processes("cpu"))):
        ours = found[0]["steps"][number]
        weights = [process["state"]["networks"] for process in (ours, expected)]
        assert largest_difference(*weights) < tolerance, number
        start = doubled(data, CONFIGS[number], Processes("cpu")).networks.state_dict()
        assert largest_difference(start, weights[1]) > 1e5 * tolerance, number
        for losses, alone in zip(ours["losses"], expected["losses"], strict=True):
            assert losses == pytest.approx(alone, rel=1e-6), number


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_all_processes_have_the_same_state(found: list[Any], number: int) -> None:
    """Weights, averages, and the momenta of Muon and Adam, bit by bit."""
    first, second = (process["steps"][number] for process in found)
    assert_same(without_time(first["state"]), without_time(second["state"]))
    assert first["losses"] == second["losses"]


@pytest.mark.slow
def test_an_error_in_one_process_is_reported_by_the_main_one(found: list[Any]) -> None:
    place = f"process 2 of 2, on {socket.gethostname()}: "
    image = "scan.nii: not an image"
    full = "level1.ckpt: no space left on device; free some or choose another folder"
    expected = {
        "everywhere": place + image,
        "step": place + image,
        "all": image,
        "from_main": full,
        "on_main": full,
    }
    main, other = (process["failures"] for process in found)
    assert main == {key: ("MRCascadeError", text) for key, text in expected.items()}
    assert other == {
        key: ("ReportedElsewhere", text.removeprefix(place)) for key, text in expected.items()
    }


@pytest.mark.slow
def test_a_killed_process_ends_all_and_the_run_resumes(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    job("whole", data, tmp_path)
    (tmp_path / "run").rename(tmp_path / "undisturbed")
    victims = launch(FOLDER / "distributed_job.py", "stuck", data, tmp_path)
    for victim in victims:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "in step 4\n"
    victims[1].send_signal(signal.SIGKILL)
    _, told = victims[0].communicate(timeout=TIMEOUT)
    victims[1].communicate(timeout=TIMEOUT)
    assert victims[0].returncode != 0
    assert "another process of the training has ended or does not answer" in told
    # The main process may have taken the step that the other was killed in.
    assert checkpoint(tmp_path / "run")["seen"] in (3 * TINY.batch, 4 * TINY.batch)
    job("resumed", data, tmp_path)
    resumed, undisturbed = (tmp_path / name for name in ("run", "undisturbed"))
    assert_same(without_time(checkpoint(resumed)), without_time(checkpoint(undisturbed)))
    records = [read_log(folder / "level1.jsonl") for folder in (resumed, undisturbed)]
    assert len(records[0]) == 5
    assert_same(*([without_time(r) for r in log] for log in records))
    # One process reaches the same weights, up to the rounding of float32 that the steps carry on.
    one = checkpoint(finished)["networks"]
    assert largest_difference(checkpoint(resumed)["networks"], one) < 1e-3


@pytest.mark.slow
@pytest.mark.usefixtures("_no_plot")
def test_one_process_goes_on_where_two_stopped(data: Path, finished: Path, tmp_path: Path) -> None:
    victims = launch(FOLDER / "distributed_job.py", "stuck", data, tmp_path)
    for victim in victims:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "in step 4\n"
        victim.kill()
    for victim in victims:
        victim.communicate(timeout=TIMEOUT)
    assert checkpoint(tmp_path / "run")["seen"] == 3 * TINY.batch
    train_cascade(data, tmp_path / "run", TINY, levels=[1], resume=True)
    found, expected = (checkpoint(folder) for folder in (tmp_path / "run", finished))
    assert found["seen"] == expected["seen"]
    assert largest_difference(found["networks"], expected["networks"]) < 1e-3


@pytest.mark.slow
def test_bad_input_of_several_processes_is_one_line(tmp_path: Path) -> None:
    command = ("-m", "mrcascade", "train", "--data", tmp_path / "none", "-o", tmp_path / "run")
    first, second = launch(*command, "--device", "cpu")
    _, told = first.communicate(timeout=TIMEOUT)
    second.terminate()  # as a launcher does
    _, other = second.communicate(timeout=TIMEOUT)
    assert first.returncode == 2
    assert told == f"mrcascade: {tmp_path / 'none'} does not exist; check the name\n"
    assert other == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [0, 1])
def test_others_let_the_main_process_speak(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    """An error that only another process can report comes after a while, which launchers cut."""
    slept: list[float] = []
    monkeypatch.setattr(launch_module.time, "sleep", slept.append)
    monkeypatch.setenv("RANK", str(number))
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ["train", "--data", str(tmp_path), "-o", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*words, "--levels", "x"]) == 2
    assert capsys.readouterr().err == "mrcascade: --levels x: give numbers such as 1 or 2,3\n"
    with pytest.raises(SystemExit):
        main([*words, "--images", "none"])
    assert "argument --images" in capsys.readouterr().err
    assert slept == [launch_module.HEAD_START] * 2 * number

    def reported(*_: object, **__: object) -> None:
        raise ReportedElsewhere("scan.nii: not an image")

    monkeypatch.setattr("mrcascade.training.run.train_cascade", reported)
    assert main(words) == 2
    assert capsys.readouterr().err == ""


# ---- launchers ----


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4"}, (3, 4)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
        ({"WORLD_SIZE": "4"}, (0, 1)),
        ({"RANK": "4", "WORLD_SIZE": "4"}, (0, 1)),
        ({"RANK": "x", "WORLD_SIZE": "4"}, (0, 1)),
    ],
)
def test_place_among_the_processes(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: tuple[int, int]
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert launched() == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, "float32"), ("no", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")],
)
def test_precision_of_the_launcher(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str
) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if given is not None:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", given)
    assert launcher_precision() == expected


def test_one_process_needs_no_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delenv("RANK", raising=False)
    assert type(join("cpu")) is Processes
    for name in PLACE:
        monkeypatch.setenv(name, environment(0, 4, 29500)[name])
    with pytest.raises(
        MRCascadeError, match=r"4 processes needs Accelerate: pip install 'mrcascade\[distributed\]"
    ):
        join("cpu")


@pytest.mark.parametrize(
    ("given", "device", "reason"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "cpu", "ACCELERATE_USE_FSDP=true has no effect"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "cpu", "give --compile on instead"),
        ({"LOCAL_RANK": "", "MASTER_ADDR": ""}, "cpu", "but not LOCAL_RANK and MASTER_ADDR; start"),
        ({}, "cuda:1", "--device cuda:1: each of 2 processes takes its own GPU"),
        ({"LOCAL_RANK": "99"}, "cuda", "more processes than GPUs"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], device: str, reason: str
) -> None:
    place = {name: environment(0, 2, 29500)[name] for name in PLACE}
    for name, value in (place | given).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MRCascadeError, match=reason):
        LaunchedProcesses(device)
