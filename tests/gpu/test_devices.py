"""Choice of device, precision and batch size, and their entries in a sidecar."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mrcascade import MRCascadeError
from mrcascade.cli import computing, main
from mrcascade.devices import timing
from mrcascade.devices.facts import device_facts, tf32
from mrcascade.devices.precision import computes_in_bfloat16
from mrcascade.jobs import memory

SECOND = torch.device("cuda", 1)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first without bfloat16, as a V100, the second with it."""
    majors = [7, 9]

    def properties(device: object) -> SimpleNamespace:
        return SimpleNamespace(major=majors[torch.device(device).index or 0])

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)


def test_bfloat16_is_asked_of_the_device_itself(two_gpus: None) -> None:
    assert [computes_in_bfloat16(d) for d in ("cuda", "cuda:0", "cuda:1", SECOND)] == [
        False,
        False,
        True,
        True,
    ]


def test_defaults_of_the_command(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = computing.choose_precision
    assert [resolve("auto", d) for d in ("cpu", "cuda", "cuda:1")] == [
        "float32",
        "float32",
        "bfloat16",
    ]
    assert resolve("float32", "cuda:1") == "float32"
    batch = computing.resolve_batch_size
    assert [batch(None, "cpu"), batch(None, "cuda:1"), batch(3, "cuda")] == [4, 64, 3]
    assert computing.CPU_BATCH == memory.CPU_BATCH  # a copy, as parsing must not wait for torch


def test_a_gpu_is_found_without_opening_it(two_gpus: None, monkeypatch) -> None:
    """A tensor there would, which fails on this machine or takes memory on others."""
    assert computing.resolve_device("auto") == "cuda"
    assert computing.resolve_device("cuda:1") == "cuda:1"
    for name in ("cuda:2", "nonsense"):
        with pytest.raises(MRCascadeError, match=f"--device {name}: not usable here"):
            computing.resolve_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert computing.resolve_device("auto") == "cpu"
    with pytest.raises(MRCascadeError, match="--device cuda: not usable here"):
        computing.resolve_device("cuda")


def test_what_a_sidecar_says(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_facts(torch.device("cpu")) == {"Device": "cpu"}
    assert device_facts(SECOND) == {
        "Device": "cuda:1",
        "DeviceName": "GPU cuda:1",
        "TF32": {"Convolutions": True, "MatrixProducts": False},
    }
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert device_facts(SECOND)["TF32"]["Convolutions"] is False


@pytest.mark.parametrize(("value", "expected"), [("0", False), ("1", True)])
def test_the_environment_decides_tf32(monkeypatch, value: str, expected: bool) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", value)
    assert tf32("cuda") == (expected, expected)
    assert tf32("cpu") == (False, False)


def test_tf32_by_the_switches_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    before = torch.get_float32_matmul_precision()
    try:
        for name, expected in (("highest", False), ("high", True), ("medium", True)):
            torch.set_float32_matmul_precision(name)
            assert tf32("cuda")[1] is expected
    finally:
        torch.set_float32_matmul_precision(before)


class _NewSwitch:
    """As torch 2.9 has it once `fp32_precision` was set."""

    fp32_precision = "tf32"

    @property
    def allow_tf32(self) -> bool:
        raise RuntimeError("PyTorch is checking whether allow_tf32 is enabled; mix of APIs")


def test_tf32_by_the_newer_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    monkeypatch.setattr(torch.backends.cuda, "matmul", _NewSwitch())
    assert tf32("cuda")[1] is True


def test_sidecars_on_a_cpu_name_it(tmp_path: Path, prior_folder: Path) -> None:
    pixels = np.random.default_rng(0).normal(60, 15, size=(16, 16, 2)).astype(np.float32)
    np.save(tmp_path / "a.npy", pixels)
    command = ["sr", str(tmp_path / "a.npy"), "-o", str(tmp_path / "o"), "--factor", "2"]
    assert main([*command, "--noise", "0", "--device", "cpu", "--prior", str(prior_folder)]) == 0
    sidecar = json.loads((tmp_path / "o" / "a_desc-sr2x.json").read_text())
    assert (sidecar["Device"], sidecar["Precision"]) == ("cpu", "float32")
    assert not {"DeviceName", "TF32"} & sidecar.keys()


def test_times_hold_nothing_that_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU returns before it is done: waiting comes before each start and before each end."""
    order = []
    monkeypatch.setattr(timing, "synchronize", lambda device: order.append("wait"))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: order.append("clock") or 0.0)
    timing.fastest_seconds(lambda: order.append("work"), SECOND)
    assert order == ["work", *["wait", "clock", "work", "wait", "clock"] * 3]
