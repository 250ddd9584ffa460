"""Volumes of every kind through the command: formats, slice order, several files, memory."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as Picture

from mrcascade import CascadePrior, super_resolve
from mrcascade.cli import main
from mrcascade.io import camel_keys, choose_axes, read_image, to_slices
from mrcascade.jobs import SuperResolution, super_resolve_file
from mrcascade.jobs.common import input_seed
from mrcascade.jobs.memory import IMAGES_OUTSIDE, fitting_batch, image_bytes
from mrcascade.jobs.slices import slices_per_chunk
from mrcascade.measurement.noise import MOST_SLICES, slices_for_noise
from mrcascade.operators import SeparableOperator
from mrcascade.restore import make_plan, resolve_settings
from mrcascade.sampling import Recipe
from tests.conftest import SINGLE, write_random_prior
from tests.processes import ended
from tests.quick import slow

AFFINE = np.array(
    [[-0.5, 0.02, 0.1, 80], [0.01, 0.6, -0.3, -70], [0.03, 0.05, 3, 20], [0, 0, 0, 1]]
)
SHORT = Recipe("short", steps=6)


def volume(shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (60 + 15 * rng.normal(size=shape)).clip(0, 127).round()


def nifti(path: Path, data: np.ndarray, order: str = "<") -> Path:
    header = nib.Nifti1Header(endianness=order)
    nib.Nifti1Image(data, AFFINE, header, dtype=data.dtype).to_filename(path)
    return path


def restore(path: Path, output: Path, prior: CascadePrior, **options: object) -> list[Path]:
    job = SuperResolution(**{"factor": (2, 2), "noise": 0.0, "mode": "mean", **options})
    return super_resolve_file(
        path, output, prior, job, say=lambda _: None, progress=lambda _: lambda _: None
    )


@pytest.fixture
def sr(tmp_path: Path, prior_folder: Path) -> Callable[..., int]:
    def call(*arguments: object) -> int:
        fixed = ["--factor", "2", "--noise", "0", "--device", "cpu", "--prior", str(prior_folder)]
        return main(["sr", *map(str, arguments), "-o", str(tmp_path / "out"), *fixed])

    return call


# ---- one file: values, orders, formats ----


def test_every_type_gives_the_same_result(tmp_path: Path, prior: CascadePrior) -> None:
    data = volume((16, 17, 2))  # whole numbers that every type holds
    reference = restore(nifti(tmp_path / "f.nii", data), tmp_path / "ref", prior)
    for order in "<>":
        for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
            path = nifti(tmp_path / f"{kind}.nii.gz", data.astype(order + kind), order)
            result = restore(path, tmp_path / order, prior)
            np.testing.assert_array_equal(
                read_image(result[0]).data, read_image(reference[0]).data, f"{order}{kind}"
            )


def test_scaled_and_negative_values(tmp_path: Path, prior: CascadePrior) -> None:
    stored = volume((16, 16, 2)).astype(np.int16) - 60
    path = nifti(tmp_path / "a.nii", stored)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<ff", raw, 112, 0.25, -3.0)  # scl_slope, scl_inter: exact in float32
    path.write_bytes(raw)
    plain = nifti(tmp_path / "b.nii", (stored * 0.25 - 3.0).astype(np.float32))
    scaled, direct = (restore(p, tmp_path / "out", prior)[0] for p in (path, plain))
    assert read_image(scaled).data.min() < 0
    np.testing.assert_array_equal(read_image(scaled).data, read_image(direct).data)


@pytest.mark.parametrize("axes", [slow("0,1"), "1,0", slow("0,2"), "2,1"])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("a.nii.gz", (16, 17, 18, 2)),
        slow("a.nii", (17, 20, 19)),
        slow("c.npy", (16, 17, 18, 2)),
        ("f.npy", (16, 17, 18, 2)),
    ],
)
def test_streamed_slices_are_those_restored_in_memory(
    tmp_path: Path,
    prior: CascadePrior,
    monkeypatch: pytest.MonkeyPatch,
    axes: str,
    name: str,
    shape: tuple[int, ...],
) -> None:
    monkeypatch.setattr("mrcascade.io.blocks.BLOCK_VOXELS", 999)  # many blocks, none of them even
    data = volume(shape).astype(np.float32)
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, np.asfortranarray(data) if name == "f.npy" else data)
    else:
        nifti(path, data)
    written = restore(path, tmp_path / "out", prior, axes=axes, batch_size=3)
    image = read_image(path)
    chosen = choose_axes(image, axes)
    stack = to_slices(image, chosen)
    operator = SeparableOperator.from_kernel("fourier", 2, (2 * stack.shape[1], 2 * stack.shape[2]))
    seed = input_seed(0, image.sha256)
    expected = super_resolve(stack, operator, prior, noise=0.0, batch_size=3, seed=seed)
    np.testing.assert_array_equal(to_slices(read_image(written[0]), chosen), expected.mean)
    sidecar = json.loads(written[-1].read_text())
    assert sidecar["Settings"] == camel_keys(json.loads(json.dumps(expected.settings)))
    assert sidecar["Residual"] == pytest.approx(expected.residual.max(), rel=1e-6)
    assert sidecar["SourceSHA256"] == image.sha256


def test_empty_slices_say_nothing_of_the_residual(tmp_path: Path, prior: CascadePrior) -> None:
    data = volume((16, 24, 3)).astype(np.float32)
    data[..., 1] = 0
    written = restore(nifti(tmp_path / "a.nii", data), tmp_path, prior, axes="0,1", noise=0.05)
    residual = json.loads(written[-1].read_text())["Residual"]
    assert 0 < residual < 1  # an estimate of zero would have 1


@pytest.mark.parametrize(("samples", "batch"), [(3, 2), slow(2, 4), slow(3, 3)])
def test_streamed_samples_fill_the_same_batches(
    tmp_path: Path, prior: CascadePrior, samples: int, batch: int
) -> None:
    data = volume((16, 16, 5)).astype(np.float32)
    options = {"mode": SHORT, "samples": samples, "batch_size": batch, "seed": 3, "noise": 0.0}
    path = nifti(tmp_path / "a.nii", data)
    written = restore(path, tmp_path / "out", prior, axes="0,1", **options)
    operator = SeparableOperator.from_kernel("fourier", 2, (32, 32))
    options["seed"] = input_seed(3, read_image(path).sha256)
    expected = super_resolve(np.moveaxis(data, 2, 0), operator, prior, **options)
    for file, stack in zip(written, (expected.mean, expected.sample, expected.std), strict=False):
        np.testing.assert_array_equal(np.moveaxis(read_image(file).data, 2, 0), stack)


def test_chunks_fill_whole_batches() -> None:
    for batch in range(1, 9):
        for samples in range(1, 9):
            slices = slices_per_chunk(batch, samples)
            assert slices * samples % batch == 0
            assert slices <= batch


@pytest.mark.parametrize("shape", [(17, 19), (33, 16), (16, 17, 1), (1, 16, 16)])
def test_odd_sizes_and_one_slice(tmp_path: Path, prior: CascadePrior, shape: tuple) -> None:
    result = restore(nifti(tmp_path / "a.nii", volume(shape)), tmp_path / "out", prior)[0]
    assert nib.load(result).shape == tuple(n if n == 1 else 2 * n for n in shape)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_pictures_become_float_tiff(tmp_path: Path, sr: Callable, name: str) -> None:
    data = (volume((16, 18)) * 500).astype(np.uint16)
    Picture.fromarray(data).save(tmp_path / name)
    assert sr(tmp_path / name) == 0
    names = ["a_desc-sr2x.json", "a_desc-sr2x.png", "a_desc-sr2x.tif"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    result = np.array(Picture.open(tmp_path / "out" / names[2]))
    assert (result.shape, result.dtype) == ((32, 36), np.float32)
    operator = SeparableOperator.from_kernel("fourier", 2, (32, 36))
    measured = operator(torch.from_numpy(result)).numpy()
    # The promise for noise-free data, on what was stored.
    assert np.linalg.norm(measured - data) < 1e-5 * np.linalg.norm(data)


# ---- several files ----


def test_a_failed_file_does_not_stop_the_others(tmp_path: Path, sr: Callable, capsys) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.npy", "deep/c.npy"):
        np.save(folder / name, volume((16, 16)))
    (folder / "a.nii").write_text("no image")
    np.save(folder / "b_desc-sr2x.npy", volume((16, 16)))  # an earlier result is no input
    assert sr(folder) == 1
    message = capsys.readouterr().err.splitlines()
    assert message[0] == (
        f"mrcascade: {folder / 'a.nii'} is no NIfTI image, despite its name; convert it"
    )
    assert message[-1] == f"mrcascade: 1 of 3 files failed: {folder / 'a.nii'}"
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.npy")}
    assert found == {"b_desc-sr2x.npy", "deep/c_desc-sr2x.npy"}
    assert sr(folder / "a.nii", tmp_path / "none.npy") == 2
    assert "2 of 2 files failed" in capsys.readouterr().err


def test_lists_and_repeated_names(tmp_path: Path, sr: Callable) -> None:
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, volume((16, 16)))
    (tmp_path / "list.txt").write_text("# two scans\na.npy\n\n  b.npy \n")
    assert sr(tmp_path / "list.txt", tmp_path / "a.npy") == 0
    assert len(list((tmp_path / "out").glob("*.npy"))) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\n# nothing\n", "names no file"), (b"\xff\xfe\x00", "not a readable list")],
)
def test_lists_without_a_file(
    tmp_path: Path, sr: Callable, capsys, content: bytes, words: str
) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    assert sr(tmp_path / "list.txt") == 2
    assert words in capsys.readouterr().err


def test_a_folder_of_results_only(tmp_path: Path, sr: Callable, capsys) -> None:
    np.save(tmp_path / "b_desc-sr2x.npy", volume((16, 16)))
    assert sr(tmp_path) == 2
    assert "every image in it is a result" in capsys.readouterr().err


def test_equal_names_are_refused_before_the_work(tmp_path: Path, sr: Callable, capsys) -> None:
    for name in ("x/t2.nii", "y/t2.nii.gz"):
        (tmp_path / name).parent.mkdir()
        nifti(tmp_path / name, volume((16, 16, 2)))
    np.save(tmp_path / "z.npy", volume((16, 16)))
    assert sr(tmp_path / "z.npy", tmp_path / "x", tmp_path / "y") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "t2.nii and" in message
    assert "would both write" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", [["--mode", "mean"], ["--mode", "paper", "--samples", "2"]])
def test_dry_run_writes_nothing(tmp_path: Path, sr: Callable, capsys, mode: list[str]) -> None:
    nifti(tmp_path / "a.nii", volume((16, 17, 5)))
    np.save(tmp_path / "b.npy", volume((16, 17)))
    before = sorted(tmp_path.rglob("*"))
    assert sr(tmp_path, "--dry-run", *mode) == 0
    first, second = capsys.readouterr().out.splitlines()
    # Noise-free 2x needs level 1 alone: one evaluation, or T = 200 for each of two samples.
    each = 1 if "mean" in mode else 400
    assert first.startswith(
        f"{tmp_path / 'a.nii'}: 16 x 17 x 5 -> 32 x 34 x 5, {5 * each} network evaluations, about "
    )
    assert f"16 x 17 -> 32 x 34, {each} network evaluations" in second
    assert re.search(r", about \S+ (s|min|h),", first)  # as busy as the machine is
    assert all(unit in first for unit in ("GiB of memory", "GiB of disk space"))
    assert "; axes 0,1 (" in first  # the planes
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("mode", ["multigrid", "multigrid-pnp"])
def test_dry_run_on_several_grids(tmp_path: Path, sr: Callable, capsys, mode: str) -> None:
    """A prior of one level is estimated; any other is refused before anything is read."""
    np.save(tmp_path / "a.npy", volume((16, 17)))
    assert sr(tmp_path / "a.npy", "--dry-run", "--mode", mode) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "multi-grid sampling needs a prior of one level" in message
    single = write_random_prior(tmp_path / "single", cascade=SINGLE)
    noisy = ["--prior", single, "--noise", "0.1", "--dry-run"]
    command = ["sr", tmp_path / "a.npy", "-o", tmp_path / "out", "--factor", "2", "--mode", mode]
    assert main([*map(str, [*command, *noisy])]) == 0
    assert "16 x 17 -> 32 x 34, 200 network evaluations" in capsys.readouterr().out


# ---- memory ----


def test_memory_does_not_grow_with_slices(
    tmp_path: Path, prior: CascadePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrcascade.io.blocks.BLOCK_VOXELS", 2**12)
    peaks = []
    for slices in (4, 4, 68):  # the first run also pays for imports
        path = nifti(tmp_path / "a.nii.gz", volume((32, 32, slices)).astype(np.float32))
        tracemalloc.start()
        restore(path, tmp_path / "out", prior, axes="0,1", overwrite=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 64 more slices are 1 MiB of results and 256 KiB of input in float32; what may grow is the
    # thousandth part of the input that the quantile keeps, and small objects.
    assert peaks[2] - peaks[1] < 64 * 64 * 64 * 4 / 8


def test_batches_shrink_to_fit(
    tmp_path: Path, prior: CascadePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = SeparableOperator.from_kernel("fourier", 2, (32, 32))
    large = SeparableOperator.from_kernel("fourier", 2, (64, 64))
    settings = resolve_settings(prior, "mean")
    need, more = (image_bytes(prior, make_plan(prior, o, 0.0, settings)) for o in (operator, large))
    assert more == pytest.approx(4 * need, rel=0.1)  # all but the attention grows with the area
    monkeypatch.setattr("mrcascade.jobs.memory.CPU_BYTES", int(2.5 * need))
    cpu = torch.device("cpu")
    assert [fitting_batch(n, need, cpu) for n in (1, 2, 8)] == [1, 2, 2]
    assert fitting_batch(8, 100 * need, cpu) == 1
    said: list[str] = []
    job = SuperResolution(factor=(2, 2), noise=0.0, batch_size=4)
    path = nifti(tmp_path / "a.nii", volume((16, 16, 5)))
    written = super_resolve_file(
        path, tmp_path / "out", prior, job, say=said.append, progress=lambda _: lambda _: None
    )
    assert any(line.startswith("batches of 2 instead of 4") for line in said)
    assert json.loads(written[-1].read_text())["BatchSize"] == 2


@pytest.mark.parametrize("computes", [True, False])
def test_a_batch_in_bfloat16_takes_half(
    prior_folder: Path, monkeypatch: pytest.MonkeyPatch, computes: bool
) -> None:
    """But for the images outside the networks, and on processors that compute in float32."""
    monkeypatch.setattr("mrcascade.jobs.memory.computes_in_bfloat16", lambda device: computes)
    operator = SeparableOperator.from_kernel("fourier", 2, (64, 64))
    networks = []
    for precision in ("float32", "bfloat16"):
        prior = CascadePrior.from_pretrained(prior_folder, precision=precision)
        plan = make_plan(prior, operator, 0.0, resolve_settings(prior, "mean"))
        outside = IMAGES_OUTSIDE * 4 * 64 * 64
        networks.append(image_bytes(prior, plan, scores=False) - outside)
    assert networks[1] == pytest.approx(networks[0] / (2 if computes else 1))


def test_slices_for_the_noise_estimate() -> None:
    assert slices_for_noise(1) == [0]
    assert slices_for_noise(MOST_SLICES) == list(range(MOST_SLICES))
    chosen = slices_for_noise(300)
    assert (len(chosen), chosen[0], chosen[-1]) == (MOST_SLICES, 0, 299)
    assert set(np.diff(chosen)) <= {9, 10}  # 299 / 31 = 9.6


# ---- a killed process ----

SLOW = """
import sys, time
from mrcascade.cli import main
from mrcascade.io import nifti_write

def half(stream, head, blocks, dtype):
    stream.write(head)
    stream.write(bytes(2**24))
    print("writing", flush=True)
    time.sleep(600)

if sys.argv[1] == "writing":
    nifti_write._write = half
else:
    sys.argv += ["--mode", "paper", "--steps", "100000"]
sys.stdout.reconfigure(line_buffering=True)
main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "line"), [("writing", "writing"), ("sampling", "axes")])
def test_sigkill_leaves_no_partial_output(
    tmp_path: Path, prior_folder: Path, sr: Callable, moment: str, line: str
) -> None:
    path = nifti(tmp_path / "a.nii.gz", volume((16, 16, 3)))
    out = tmp_path / "out"
    arguments = ["sr", str(path), "-o", str(out), "--factor", "2", "--noise", "0"]
    command = [sys.executable, "-c", SLOW, moment, *arguments, "--prior", str(prior_folder)]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as process:
        assert process.stdout is not None
        assert any(text.startswith(line) for text in process.stdout)
        if moment == "sampling":
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)  # into the chain, which takes minutes
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    left = [p.name for p in out.iterdir()] if out.exists() else []
    assert all(name.startswith(".") for name in left)
    temporaries = [name for name in left if not name.endswith(".lock")]
    assert bool(temporaries) == (moment == "writing")
    assert sr(path) == 0  # and what was left is in nobody's way
    names = {p.name for p in out.iterdir() if not p.name.startswith(".")}
    assert names == {"a_desc-sr2x.nii.gz", "a_desc-sr2x.png", "a_desc-sr2x.json"}
