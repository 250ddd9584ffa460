"""The matrix of results whose bits a change of structure must keep.

It contains every value of every dimension, and each pair of (kernel, factor) and (mode, noise).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcascade import SeparableOperator, super_resolve
from mrcascade.cli import main
from tests.fingerprints.sources import SOURCES, head, waves

STEPS = "--steps 4"
KERNELS = ("fourier", "area", "bicubic", "gaussian")
FACTORS = ("2", "4", "1.5", "2,1")
NOISES = ("0", "0.02", "estimated")
PRIORS = resources.files("mrcascade") / "weights"
SINGLE = PRIORS / "mr-small-baselines" / "single-scale"
MODES = {
    "mean": "--mode mean",
    "balanced": f"--mode balanced {STEPS}",
    "sample": f"--mode sample {STEPS}",
    "samples": f"--samples 3 --batch-size 2 {STEPS}",
    "paper": f"--mode paper {STEPS}",
    "dps": f"--mode dps {STEPS}",
    "multigrid": f"--mode multigrid {STEPS} --prior {SINGLE}",
}


@dataclass(frozen=True)
class Case:
    """A command, or with ``memory`` a call of `super_resolve`, and the input that it is given."""

    name: str
    command: str = ""
    source: str = ""
    options: str = ""
    memory: dict[str, Any] = field(default_factory=dict)

    def run(self, folder: Path) -> dict[str, Any]:
        """Write outputs below ``folder / "out"``; return those that stay in memory, by name."""
        if self.memory:
            return _in_memory(**self.memory)
        source = SOURCES[self.source](folder / self.source)
        given = ["--data", str(source)] if self.command == "evaluate" else [str(source)]
        output = ["-o", str(folder / "out")]
        with _machine_left_out(folder):
            code = main([self.command, *given, *output, *self.options.split()])
        if code:
            raise AssertionError(f"{self.name}: exit code {code}")
        if source.is_dir():
            shutil.rmtree(source)
        return {}


@contextmanager
def _machine_left_out(folder: Path) -> Iterator[None]:
    """Weights of LPIPS and measured speeds that a machine has change nothing."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
            patch.setenv(name, str(folder / "cache"))
        patch.delenv("MRCASCADE_LPIPS", raising=False)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


def _in_memory(kernel: str, prior: str, noise: float | None, **options: Any) -> dict[str, Any]:
    operator = SeparableOperator.from_kernel(kernel, 2, (64, 48))
    image = waves if "complex" in prior else head
    measurement = image(32, 24, 2).transpose(2, 0, 1)
    found = super_resolve(measurement, operator, prior, noise=noise, **options)
    facts = {"Settings": found.settings, "Residual": found.residual.tolist()}
    arrays = {"mean": found.mean, "sample": found.sample, "std": found.std}
    return {**{k: v for k, v in arrays.items() if isinstance(v, np.ndarray)}, "facts": facts}


def _noise(noise: str) -> str:
    return "" if noise == "estimated" else f"--noise {noise}"


def _grid() -> Iterator[Case]:
    """All pairs of (mode, noise), and along them all of (kernel, factor)."""
    restored = list(product(KERNELS, FACTORS))
    for place, (mode, noise) in enumerate(product(MODES, NOISES)):
        kernel, factor = restored[place % len(restored)]
        source = {"4": "lower.nii", "2,1": "wide.nii"}.get(factor, "low.nii")
        yield Case(
            f"{mode} noise-{noise} {kernel} {factor}x",
            "sr",
            source,
            f"--factor {factor} --kernel {kernel} {_noise(noise)} {MODES[mode]}",
        )


def _sr(name: str, source: str, options: str, factor: str = "2") -> Case:
    return Case(name, "sr", source, f"--factor {factor} {options}")


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        *_grid(),
        *(
            Case(
                f"memory multigrid-pnp noise-{noise} {kernel}",
                memory={
                    "kernel": kernel,
                    "prior": str(SINGLE),
                    "noise": noise,
                    "mode": "multigrid-pnp",
                    "steps": 4,
                },
            )
            for kernel, noise in (("fourier", 0.0), ("area", 0.02), ("bicubic", None))
        ),
        Case(
            "memory samples",
            memory={
                "kernel": "fourier",
                "prior": "mr-small",
                "noise": 0.02,
                "samples": 2,
                "steps": 4,
                "seed": 5,
            },
        ),
        Case(
            "memory complex mean",
            memory={"kernel": "area", "prior": "mr-small-complex", "noise": None, "mode": "mean"},
        ),
        _sr("settings of mean", "low.nii", "--mode mean:orientations=8 --noise 0.02"),
        _sr("settings of sample", "low.nii", f"--mode sample:eta=0.5 --noise 0 {STEPS}"),
        _sr("another seed", "low.nii", f"--mode sample --noise 0.02 --seed 7 {STEPS}"),
        _sr("one slice at a time", "low.nii", "--mode mean --batch-size 1"),
        _sr("volumes in time", "series.nii", "--mode mean --noise 0.02"),
        _sr("cut field of view", "cut.nii", "--mode mean --noise 0.02"),
        _sr("cut field of view drawn", "cut.nii", f"--mode paper --kernel area {STEPS}"),
        _sr("zero level", "zero.nii", "--mode mean"),
        _sr("acquired matrix", "full.nii", "--mode mean --acquired-matrix 26,22"),
        _sr("axes of the header", "front.nii", "--mode mean --noise 0"),
        _sr("axes 1,2", "front.nii", "--mode mean --noise 0 --axes 1,2"),
        _sr("axes 0,2", "middle.nii", f"--mode paper --noise 0.02 --axes 0,2 {STEPS}"),
        _sr("axes 0,2 2,1x", "middle.nii", "--mode mean --noise 0 --axes 0,2", "2,1"),
        _sr("dicom mean", "dicom", "--mode mean"),
        _sr("dicom samples", "dicom", f"--samples 3 --kernel bicubic --noise 0 {STEPS}"),
        _sr("dicom to nifti", "dicom", "--mode mean --format nifti --kernel area", "1.5"),
        _sr("npy", "low.npy", f"--mode balanced --noise 0.02 {STEPS}"),
        _sr("png", "low.png", "--mode mean --noise 0"),
        _sr("tiff", "wide.tif", "--mode mean --kernel bicubic", "2,1"),
        *(
            _sr(f"complex {name}", "waves.npy", f"--prior mr-small-complex {options}")
            for name, options in (
                ("mean", "--mode mean"),
                ("balanced", f"--mode balanced --noise 0 {STEPS}"),
                ("samples", f"--samples 3 --noise 0.02 {STEPS}"),
                ("paper area", f"--mode paper --kernel area --noise 0 {STEPS}"),
                ("dps", f"--mode dps --noise 0.02 {STEPS}"),
            )
        ),
        _sr("complex nifti", "waves.nii", "--prior mr-small-complex --mode mean", "1.5"),
        _sr(
            "magnitude and phase",
            "sub-01_part-mag_T2w.nii",
            f"--prior mr-small-complex --mode paper --noise 0 {STEPS}",
        ),
        *(
            Case(f"simulate {name}", "simulate", source, options)
            for name, source, options in (
                ("fourier", "full.nii", "--factor 2 --noise 0.02"),
                ("area 1.5x", "full.nii", "--factor 1.5 --kernel area"),
                ("gaussian 4,2x", "full.nii", "--factor 4,2 --kernel gaussian --seed 3"),
                ("bicubic", "full.nii", "--factor 2 --kernel bicubic --noise 0.1 --seed 3"),
                ("dicom", "dicom", "--factor 2 --noise 0.02"),
                ("complex", "waves.npy", "--factor 2 --noise 0.02 --complex"),
            )
        ),
        Case(
            "evaluate estimated",
            "evaluate",
            "subjects",
            "--factor 2 --workers 1 --methods bicubic,zero-fill,mean,posterior-mean"
            f" --samples 2 {STEPS}",
        ),
        Case(
            "evaluate known area",
            "evaluate",
            "subjects",
            "--factor 2 --kernel area --noise 0.02 --noise-handling known --max-slices 1"
            f" --workers 1 --methods bicubic,balanced,multigrid {STEPS}",
        ),
        Case(
            "evaluate complex",
            "evaluate",
            "scans",
            f"--factor 2 --prior mr-small-complex --methods zero-fill,paper --workers 1 {STEPS}",
        ),
    )
}
