"""The public names: lazy, typed, short to print; what they do with a user's arrays and files."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import mrcascade
import mrcascade.operators
from mrcascade.jobs import Simulation, SuperResolution, simulate_file, super_resolve_file
from mrcascade.jobs.one_file import IsotropicOptions, Options
from mrcascade.messages.deprecation import with_former_names
from mrcascade.prior.cascade import CascadePrior
from mrcascade.restore import make_plan, resolve_settings
from tests.dicom.dicom_series import phantom, series


def ignore(line: str) -> None:
    pass


def random_image(*shape: int) -> np.ndarray:
    return 100 + np.random.default_rng(0).normal(size=shape).astype(np.float32)


# ---- names ----


def test_the_import_is_light() -> None:
    code = (
        "import sys, mrcascade; dir(mrcascade); mrcascade.MRCascadeError; mrcascade.list_priors();"
        " print([m for m in ('torch', 'numpy', 'nibabel') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_kernels_are_known_without_torch() -> None:
    code = "import sys, mrcascade; list(mrcascade.KERNELS); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("package", [mrcascade, mrcascade.operators])
def test_every_name_of_a_stub_exists(package: ModuleType) -> None:
    stub = Path(str(package.__file__)).with_suffix(".pyi").read_text()
    (listed,) = (n.value for n in ast.parse(stub).body if isinstance(n, ast.Assign))
    assert sorted(ast.literal_eval(listed)) == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="super_resolv"):
        mrcascade.super_resolv  # type: ignore[attr-defined]  # noqa: B018
    assert "super_resolve" in dir(mrcascade)


def test_a_former_name_works_and_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("toy")
    module.new_name = 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy", module)

    def otherwise(name: str) -> object:
        raise AttributeError(name)

    module.__getattr__ = with_former_names("toy", {"old_name": "new_name"}, otherwise)  # type: ignore[method-assign]
    with pytest.warns(DeprecationWarning, match=r"toy\.old_name is called toy\.new_name now") as w:
        assert module.old_name == 1
    assert w[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert module.old_name == 1
    with pytest.raises(AttributeError, match="no_name"):
        _ = module.no_name


def test_errors_are_value_errors_and_keep_their_message(tmp_path: Path) -> None:
    assert issubclass(mrcascade.MRCascadeError, ValueError)
    # Inside handlers of ValueError: settings out of range, a side file that is no file.
    with pytest.raises(mrcascade.MRCascadeError, match=r"zeta must be in \[0, 1\]"):
        resolve_settings(CascadePrior.from_pretrained("mr-small"), "paper:zeta=2")
    (tmp_path / "prior.json").write_bytes(b" " * (2**24 + 1))
    with pytest.raises(mrcascade.MRCascadeError, match="that such a file may have"):
        CascadePrior.from_pretrained(tmp_path)


# ---- printing ----


def test_objects_print_in_a_line_or_two(prior: CascadePrior) -> None:
    low, operator = mrcascade.simulate(random_image(32, 32), 2)
    settings = resolve_settings(prior, "sample")
    result = mrcascade.super_resolve(low, operator, prior, mode="mean", noise=0.0)
    for one in (prior, operator, operator.H, make_plan(prior, operator, 0.0, settings), result):
        assert len(repr(one)) < 200, one
        assert "\n" not in repr(one)
    assert "array(" not in repr(result)


def test_an_image_prints_in_a_line(tmp_path: Path) -> None:
    mrcascade.write_image(random_image(8, 6, 2), tmp_path / "a.nii", affine=np.diag([1, 1, 3, 1]))
    shown = repr(mrcascade.read_image(tmp_path / "a.nii"))
    assert shown.startswith("Image(float32 (8, 6, 2), (1.0, 1.0, 3.0) mm, ")
    assert "\n" not in shown


# ---- files of arrays ----


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".npy", ".tif"])
def test_arrays_are_written_and_read(ending: str, tmp_path: Path) -> None:
    pixels, path = random_image(12, 10), tmp_path / f"a{ending}"
    affine = np.diag([0.8, 0.9, 3.0, 1.0]) if ".nii" in ending else None
    mrcascade.write_image(pixels, path, affine=affine)
    image = mrcascade.read_image(path)
    np.testing.assert_array_equal(image.data, pixels)
    if affine is not None:
        np.testing.assert_allclose(image.affine, affine, atol=1e-7)
    before = path.read_bytes()
    with pytest.raises(mrcascade.MRCascadeError, match="exists"):
        mrcascade.write_image(pixels + 1, path, affine=affine)
    assert path.read_bytes() == before
    mrcascade.write_image(pixels + 1, path, affine=affine, overwrite=True)
    np.testing.assert_array_equal(mrcascade.read_image(path).data, pixels + 1)


@pytest.mark.parametrize(
    ("pixels", "name", "affine", "message"),
    [
        (np.ones((4, 4)), "a.nii", None, "needs a geometry that the array does not have"),
        (np.ones((4, 4)), "a.npy", np.eye(4), "would lose the geometry of the array"),
        (np.ones((4, 4)), "a.nii", np.zeros((4, 4)), "not an invertible 4 x 4 matrix"),
        (np.ones(4), "a.npy", None, "2 to 4 dimensions"),
        (np.array([["a", "b"]]), "a.npy", None, "an array of numbers"),
        (np.full((4, 4), np.nan), "a.npy", None, "16 NaN or infinite voxels"),
        (np.full((4, 4), 1e300), "a.npy", None, "16 NaN or infinite voxels"),
        (np.ones((4, 4)), "a.dicom", None, "DICOM series"),
        (np.ones((4, 4)), "a.mgz", None, "no supported ending"),
    ],
)
def test_arrays_that_cannot_be_written(
    pixels: np.ndarray, name: str, affine: np.ndarray | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(mrcascade.MRCascadeError, match=message):
        mrcascade.write_image(pixels, tmp_path / name, affine=affine)
    assert not list(tmp_path.iterdir())


def test_dicom_is_written_without_more_ado(tmp_path: Path) -> None:
    image = mrcascade.read_image(series(tmp_path / "in", phantom((3, 16, 20))))
    mrcascade.write_image(image.with_data(2 * image.data, image.affine), tmp_path / "out.dicom")
    doubled = mrcascade.read_image(tmp_path / "out.dicom")
    np.testing.assert_array_equal(doubled.data, 2 * image.data)  # integers, as DICOM stores them
    assert doubled.affine is not None
    np.testing.assert_allclose(doubled.affine, image.affine, atol=1e-4)


# ---- simulate and super_resolve_file ----


@pytest.mark.parametrize(("kernel", "noise"), [("fourier", 0.0), ("area", 0.02)])
def test_simulate_measures_as_the_command_does(kernel: str, noise: float, tmp_path: Path) -> None:
    from mrcascade.jobs.common import input_seed

    truth = random_image(32, 24)
    np.save(tmp_path / "a.npy", truth)
    job = Simulation((2.0, 1.0), kernel=kernel, noise=noise, seed=3)
    written = simulate_file(tmp_path / "a.npy", tmp_path / "out", job, say=ignore)
    digest = json.loads(written[1].read_text())["SourceSHA256"]
    low, operator = mrcascade.simulate(
        truth, (2, 1), kernel=kernel, noise=noise, seed=input_seed(3, digest)
    )
    np.testing.assert_array_equal(low, np.load(written[0]))
    assert operator.out_shape == low.shape == (16, 24)


def test_simulate_takes_stacks_integers_and_complex_images() -> None:
    stack = (random_image(3, 16, 16) * 10).astype(np.uint16)
    low, operator = mrcascade.simulate(stack, 2)
    assert low.shape == (3, 8, 8)
    np.testing.assert_allclose(low, operator @ stack.astype(np.float32), atol=1e-4)
    low, _ = mrcascade.simulate(random_image(16, 16) * np.complex64(1j), 2, noise=0.01)
    assert low.dtype == np.complex64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factor": 3}, "not divided by factor 3"),
        ({"kernel": "sinc"}, "unknown kernel 'sinc'"),
        ({"noise": -1.0}, "0 or more"),
        ({"image": np.zeros((16, 16))}, "zero almost everywhere"),
        ({"image": np.ones(16)}, r"expected numbers \(H, W\)"),
        ({"image": np.full((16, 16), np.inf)}, "NaN or infinite"),
    ],
)
def test_simulate_refuses(change: dict, message: str) -> None:
    with pytest.raises(mrcascade.MRCascadeError, match=message):
        mrcascade.simulate(**{"image": random_image(16, 16), "factor": 2} | change)


def test_files_by_name_and_keywords(prior_folder: Path, tmp_path: Path) -> None:
    """The same files as those of a job, byte for byte."""
    np.save(tmp_path / "low.npy", random_image(16, 16))
    said: list[str] = []
    by_name = mrcascade.super_resolve_file(
        str(tmp_path / "low.npy"),
        str(tmp_path / "a"),
        str(prior_folder),
        factor=2,
        mode="mean",
        noise=0.01,
        say=said.append,
    )
    job = SuperResolution((2.0, 2.0), mode="mean", noise=0.01)
    prior = CascadePrior.from_pretrained(prior_folder)
    by_job = super_resolve_file(tmp_path / "low.npy", tmp_path / "b", prior, job)
    assert [p.name for p in by_name] == [p.name for p in by_job]
    assert by_name[0].read_bytes() == by_job[0].read_bytes()
    assert any("relative residual" in line for line in said)


def test_files_of_wrong_keywords(prior_folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "low.npy", random_image(16, 16))
    low, out = tmp_path / "low.npy", tmp_path / "out"
    with pytest.raises(
        TypeError, match=r"^super_resolve_file\(\) .* 'kernle'; did you mean 'kernel'"
    ):
        mrcascade.super_resolve_file(low, out, prior_folder, factor=2, kernle="area")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"^super_resolve_file\(\) .* 'xyz'; known are kernel, n"):
        mrcascade.super_resolve_file(low, out, prior_folder, factor=2, xyz=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"^super_resolve_file\(\) needs a factor"):
        mrcascade.super_resolve_file(low, out, prior_folder, kernel="area")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"^make_isotropic_file\(\) .* mean 'spacing'"):
        mrcascade.make_isotropic_file(low, out, prior_folder, spacings=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="not both"):
        super_resolve_file(low, out, prior_folder, SuperResolution((2, 2)), samples=2)  # type: ignore[call-overload]
    assert not out.exists()


def test_keywords_are_those_of_a_job() -> None:
    secret = {"deidentify"}  # needs an object that holds a secret
    functions = {"isotropic", "combine"}  # have functions of their own
    names = {f.name for f in fields(SuperResolution)} - secret - functions
    assert set(Options.__annotations__) == names
    slices = {"spacing", "slice_thickness", "slice_profile"}
    assert set(IsotropicOptions.__annotations__) == names | slices
