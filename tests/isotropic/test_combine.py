"""`sr --isotropic --combine`: results, sidecars, resumption and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation
from stack_images import Anatomy, stack_affine
from tests.dicom.dicom_series import series
from tests.quick import slow
from thick_images import thick_file

import mrcascade
from mrcascade.arrays.intensity import Intensity
from mrcascade.errors import MRCascadeError
from mrcascade.jobs import Request, SuperResolution, combined_input
from mrcascade.measurement.thick import Isotropic, result_label
from mrcascade.prior.cascade import CascadePrior

LSQ = ("--mode", "lsq", "--noise", "0")
LABEL = "axial_desc-srisostacks"


@pytest.fixture
def stacks(tmp_path: Path) -> list[Path]:
    """An axial, a coronal and a sagittal stack of one anatomy."""
    anatomy = Anatomy()
    return [
        anatomy.save(tmp_path / f"{plane}.nii.gz", plane, SliceThickness=4.0)
        for plane in ("axial", "coronal", "sagittal")
    ]


@pytest.fixture
def combine(sr: Callable[..., int]) -> Callable[..., int]:
    def call(*arguments: object) -> int:
        return sr(*arguments, "--isotropic", "--combine")

    return call


def sidecar(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / f"{LABEL}.json").read_text())
    return found


def truth(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The anatomy at points, as slices last."""
    rng = np.random.default_rng(0)
    centres, widths = rng.uniform(-11, 11, (40, 3)), rng.uniform(1.5, 4, 40)
    heights = rng.uniform(100, 500, 40)
    places = nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    apart = [((places - centre) ** 2).sum(-1) for centre in centres]
    blobs = zip(apart, widths, heights, strict=True)
    return np.asarray(sum(h * np.exp(-a / (2 * w**2)) for a, w, h in blobs))


def test_stacks_become_one_volume(
    tmp_path: Path, stacks: list[Path], combine: Callable, sr: Callable, capsys
) -> None:
    before = [path.read_bytes() for path in stacks]
    assert combine(*stacks, *LSQ) == 0
    printed = capsys.readouterr().out
    assert "coronal.nii.gz: 10 slices of 4 mm (by the JSON file beside it)" in printed
    assert "coronal.nii.gz: its anatomy lies 0.0" in printed
    assert "sagittal.nii.gz: relative residual " in printed
    assert [path.read_bytes() for path in stacks] == before
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} == {f"{LABEL}{e}" for e in (".nii.gz", ".png", ".json")}
    told = sidecar(tmp_path)
    assert told["Sources"] == [path.name for path in stacks]
    assert len(told["OtherSourcesSHA256"]) == 2
    assert [one["Sources"] for one in told["Stacks"]] == [[path.name] for path in stacks]
    assert told["Request"]["Combine"] == "headers"
    assert told["Settings"]["Stacks"] == 3
    # Lanczos interpolation is not used here, as pixels lie on voxels; the second differences cost
    # a thousandth of the blobs' finest ones, whose width is 1.5 voxels.
    for one in told["Stacks"]:
        assert one["Residual"] < 2e-3
    assert told["Residual"] == max(one["Residual"] for one in told["Stacks"])
    assert told["ResidualStored"] == pytest.approx(told["Residual"], rel=1e-2)
    for one in told["Stacks"][1:]:
        assert one["Displacement"] < 0.04  # 1 % of a slice
        assert one["Gain"] == pytest.approx(1, abs=0.01)
    # The grid is that of the first stack alone, and the volume is closer to the anatomy.
    assert sr(stacks[0], "--isotropic", "--mode", "lsq") == 0
    alone, made = (nib.load(out / f"axial_desc-sriso{e}.nii.gz") for e in ("", "stacks"))
    np.testing.assert_array_equal(made.affine, alone.affine)
    assert made.shape == alone.shape == (40, 40, 40)
    inner, expected = (slice(4, -4),) * 3, truth(made.affine, made.shape)
    missed, single = (np.std((x.get_fdata() - expected)[inner]) for x in (made, alone))
    assert missed < 0.25 * single


@pytest.mark.parametrize("noise", [0.0, slow(0.02)])
def test_the_mean_meets_all_stacks(
    noise: float, tmp_path: Path, stacks: list[Path], prior: CascadePrior
) -> None:
    said: list[str] = []
    tells: list[int] = []

    def progress(planes: int) -> Callable[[int], None]:
        tells.append(planes)
        return tells.append

    options: dict[str, Any] = {"mode": "mean", "noise": noise, "spacing": 1.25}
    made = mrcascade.combine_stack_files(
        stacks[:2], tmp_path / "out", prior, say=said.append, progress=progress, **options
    )
    assert made[0].name == "axial_desc-sriso1p25mmstacks.nii.gz"
    volume = nib.load(made[0])
    assert volume.shape == (40, 40, 32)
    told = json.loads(made[-1].read_text())
    # With noise, slices are met within it; a random prior adds what it may.
    assert told["Residual"] < (0.01 if noise == 0 else 0.1)
    assert set(told["EvaluationsPerPlane"]) == {"1", "2", "3"}
    assert told["Settings"]["Tau"] == (noise / prior.levels[0].std) ** 2
    total = tells[0]
    assert max(tells) == total
    assert sum("relative residual" in line for line in said) == 3  # and the last line


@pytest.mark.parametrize("plane", [slow("coronal"), "oblique"])
def test_motion_is_told_and_refused_or_undone(
    plane: str, tmp_path: Path, stacks: list[Path], combine: Callable, sr: Callable, capsys
) -> None:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", (1, -1, 2), degrees=True).as_matrix()
    motion[:3, 3] = 1.5, -1.0, 2.0
    moved = Anatomy(motion=motion).save(tmp_path / "moved.nii.gz", plane, gain=1.7)
    assert combine(stacks[0], moved, *LSQ) == 2
    printed = capsys.readouterr()
    found = float(printed.out.split("its anatomy lies ")[1].split(" mm")[0])
    # The centre of the blobs moves by 2.7 mm, and the rotation adds some at their distance.
    assert found == pytest.approx(2.7, abs=0.3)
    assert printed.err.count("\n") == 1
    assert f"{moved}: its anatomy lies {found:.3g} mm from that of {stacks[0]}" in printed.err
    assert "--combine rigid undoes that motion" in printed.err
    assert not (tmp_path / "out").exists()
    assert sr(stacks[0], moved, *LSQ, "--isotropic", "--combine", "rigid") == 0
    told = sidecar(tmp_path)
    assert told["Stacks"][1]["Displacement"] == pytest.approx(found, abs=0.01)
    assert told["Stacks"][1]["Gain"] == pytest.approx(1.7, rel=0.02)
    back = np.array(told["Stacks"][1]["Motion"]) @ motion
    corners = np.array([[x, y, z, 1.0] for x in (-8, 8) for y in (-8, 8) for z in (-8, 8)])
    np.testing.assert_allclose(corners @ back.T, corners, atol=0.12)  # 3 % of a slice
    assert told["Residual"] < 0.02


def test_finished_results_are_not_made_again(
    tmp_path: Path, stacks: list[Path], combine: Callable, sr: Callable, capsys
) -> None:
    assert combine(*stacks[:2], *LSQ) == 0
    capsys.readouterr()
    assert combine(*stacks[:2], *LSQ) == 2
    assert "exists" in capsys.readouterr().err
    assert combine(*stacks[:2], *LSQ, "--resume") == 0
    assert "already done" in capsys.readouterr().out
    assert combine(*stacks, *LSQ, "--resume") == 2
    assert "come from other input" in capsys.readouterr().err
    assert sr(*stacks[:2], *LSQ, "--resume", "--isotropic", "--combine", "rigid") == 2
    assert "come from other combine" in capsys.readouterr().err
    assert combine(*stacks, *LSQ, "--resume", "--overwrite") == 0
    assert len(sidecar(tmp_path)["Stacks"]) == 3


def test_a_dry_run_counts_all_stacks(
    tmp_path: Path, stacks: list[Path], combine: Callable, capsys
) -> None:
    counts = []
    for some in (stacks[:2], stacks):
        assert combine(*some, "--dry-run", "--mode", "mean") == 0
        printed = capsys.readouterr().out
        assert "40 x 40 x 10 -> 40 x 40 x 40" in printed
        counts.append(int(printed.split(" network evaluations")[0].split()[-1]))
    assert counts[1] == counts[0] * 3 / 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--isotropic", "--combine", "--mode", "sample"), "by modes 'mean' and 'lsq' alone"),
        (("--isotropic", "--combine", "--samples", "2"), "by modes 'mean' and 'lsq' alone"),
        (("--isotropic", "--combine", "--factor", "2"), "leave --factor out"),
        (("--factor", "2", "--combine"), "--combine: of --isotropic alone; add that"),
        (("--isotropic", "--combine", "--num-parts", "2"), "leave --num-parts out"),
    ],
)
def test_options_that_do_not_fit(
    options: tuple[str, ...], message: str, tmp_path: Path, stacks: list[Path], sr: Callable, capsys
) -> None:
    assert sr(*stacks, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_value_of_no_signal_is_that_of_the_first_stack(
    tmp_path: Path, stacks: list[Path], combine: Callable, capsys, monkeypatch
) -> None:
    """A stack without air, whose darkest tissue is taken for no signal, gets no gain by that."""
    assert combine(*stacks, *LSQ) == 0
    plain = nib.load(tmp_path / "out" / f"{LABEL}.nii.gz").get_fdata()
    capsys.readouterr()
    found = iter((0.0, 50.0, 0.0))

    def intensity_of(measured: object, maximum: float) -> Intensity:
        zero = next(found)
        return Intensity(maximum - zero, zero)

    monkeypatch.setattr("mrcascade.jobs.measured.intensity_of", intensity_of)
    assert combine(*stacks, *LSQ, "--overwrite") == 0
    assert "coronal.nii.gz: 0 counts as no signal, as in axial.nii.gz" in capsys.readouterr().out
    assert np.array_equal(nib.load(tmp_path / "out" / f"{LABEL}.nii.gz").get_fdata(), plain)
    assert [one["Gain"] for one in sidecar(tmp_path)["Stacks"][1:]] == pytest.approx(
        [1, 1], abs=0.02
    )


def refused(stacks: list[Path], tmp_path: Path, combine: Callable, capsys, message: str) -> None:
    assert combine(*stacks, *LSQ) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_stacks_that_do_not_belong_together(
    tmp_path: Path, stacks: list[Path], combine: Callable, capsys
) -> None:
    axial = stacks[0]
    both = "--combine makes one volume of two or more stacks, and"
    refused([axial], tmp_path, combine, capsys, f"{both} {axial} is the only one given")
    refused([axial, axial], tmp_path, combine, capsys, f"{both} {axial} is the only one given")
    affine, shape = stack_affine("coronal")
    slices = Anatomy().slices(affine, shape).astype(np.float32)

    def saved(name: str, data: np.ndarray, grid: np.ndarray) -> Path:
        order = [2, 1, 0, *range(3, data.ndim)]
        return thick_file(tmp_path / f"{name}.nii.gz", data.transpose(order), grid[:, [2, 1, 0, 3]])

    far, turned = affine.copy(), affine.copy()
    far[:3, 3] += 300
    apart = saved("far", slices, far)
    refused([axial, apart], tmp_path, combine, capsys, "have no place in common by their headers")
    turned[:3, 3] -= 36 * affine[:3, 1]  # 4 mm of the field of view are in common
    edge = saved("edge", slices, turned)
    refused([axial, edge], tmp_path, combine, capsys, "have too little anatomy in common")
    other = saved("other", slices.max() - slices, affine)
    refused([axial, other], tmp_path, combine, capsys, "takes stacks of one contrast")
    series = saved("series", np.stack([slices, slices], -1), affine)
    refused([axial, series], tmp_path, combine, capsys, f"{series} has 2 volumes")
    complex_ = saved("complex", slices.astype(np.complex64), affine)
    refused([axial, complex_], tmp_path, combine, capsys, f"{complex_}")
    few = saved("few", slices[4:6], affine)
    refused([axial, few], tmp_path, combine, capsys, f"{few} has 2 slices")


def test_a_job_knows_its_stacks(prior: CascadePrior, stacks: list[Path], tmp_path: Path) -> None:
    with pytest.raises(MRCascadeError, match="choose headers or rigid"):
        mrcascade.combine_stack_files(stacks, tmp_path / "out", prior, placement="soft")
    with pytest.raises(MRCascadeError, match="two or more stacks, and none is given"):
        combined_input([])
    job = SuperResolution(isotropic=Isotropic(), combine="headers", mode="lsq")
    with pytest.raises(MRCascadeError, match="--combine needs two or more stacks"):
        mrcascade.super_resolve_file(stacks[0], tmp_path / "out", prior, job)
    assert Request.of(prior, job).document["combine"] == "headers"
    assert "combine" not in Request.of(prior, SuperResolution(isotropic=Isotropic())).document
    assert result_label((1, 1), Isotropic(0.8), True) == "sriso0p8mmstacks"


@pytest.mark.slow
def test_stacks_may_be_dicom_series(tmp_path: Path, combine: Callable) -> None:
    """The first one is a series, and so is the result; the other is a NIfTI file."""
    shape = (12, 56, 32)
    folder = series(tmp_path / "empty", np.indices(shape)[0].astype(np.int16), "oblique")
    image = mrcascade.read_image(folder)
    affine = image.affine
    assert affine is not None
    centre = nib.affines.apply_affine(affine, (np.array(image.shape) - 1) / 2)
    motion = np.eye(4)
    motion[:3, 3] = centre
    anatomy = Anatomy(motion=motion)
    slices = anatomy.slices(affine[:, [2, 1, 0, 3]], shape).round().astype(np.int16)
    first = series(tmp_path / "s", slices, "oblique")
    grid, size = stack_affine("coronal")
    grid[:3, 3] += centre
    other = anatomy.slices(grid, size).astype(np.float32)
    nifti = thick_file(tmp_path / "b.nii", other.transpose(2, 1, 0), grid[:, [2, 1, 0, 3]])
    assert combine(first, nifti, *LSQ, "--slice-thickness", "4") == 0
    made = tmp_path / "out" / "s_desc-srisostacks.dicom"
    files = [pydicom.dcmread(path) for path in made.iterdir()]
    told = json.loads(made.with_suffix(".json").read_text())
    assert len(files) == round(12 * 3.5 / 0.7)
    assert all("several stacks" in one.DerivationDescription for one in files)
    assert told["Sources"] == [*sorted(told["Stacks"][0]["Sources"]), "b.nii"]
    # Along rows of 0.7 mm, and across an oblique stack, blobs are interpolated three times.
    assert told["Residual"] < 0.02
    assert told["Stacks"][1]["Displacement"] < 0.08


def test_stacks_of_a_bids_dataset(
    tmp_path: Path, stacks: list[Path], combine: Callable, capsys
) -> None:
    root = tmp_path / "raw"
    described = {"Name": "N", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    for person in ("01", "02"):
        anat = root / f"sub-{person}" / "anat"
        anat.mkdir(parents=True)
        for name, path in zip(("ax", "cor"), stacks, strict=False):
            anat.joinpath(f"sub-{person}_acq-{name}_T2w.nii.gz").write_bytes(path.read_bytes())
    (root / "dataset_description.json").write_text(json.dumps(described))
    refused([root], tmp_path, combine, capsys, "the images are those of sub-01/anat, sub-02/anat;")
    assert combine(root, *LSQ, "--bids-filter", "subject=01") == 0
    name = "sub-01/anat/sub-01_acq-ax_desc-srisostacks_T2w.json"
    told = json.loads((tmp_path / "out" / name).read_text())
    names = [f"bids:raw:sub-01/anat/sub-01_acq-{one}_T2w.nii.gz" for one in ("ax", "cor")]
    assert told["Sources"] == names


@pytest.mark.slow
def test_a_patient_who_moved_is_told(
    data_folder: Path, tmp_path: Path, combine: Callable, capsys
) -> None:
    """Coronal slices of a prostate lie 3.5 mm higher than the axial ones, by their headers."""
    folder = data_folder / "prostate" / "test"
    planes = [folder / f"prostatex0001_t2w_{plane}.nii.gz" for plane in ("tra", "cor")]
    if not planes[0].exists():
        pytest.skip("no prostate images")
    refused(planes, tmp_path, combine, capsys, "more than a voxel (0.5 mm)")
