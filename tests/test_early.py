"""Early refusals, names of results, and lists of priors and of a folder's images."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from mrcascade.cli import build_parser, main
from mrcascade.errors import MRCascadeError
from mrcascade.io import choose_axes, open_source
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.format import list_priors
from mrcascade.recipes.modes import MODES
from mrcascade.recipes.settings import read_mode
from mrcascade.restore import resolve_settings

RNG = np.random.default_rng(5)


def scan(path: Path, shape: tuple[int, ...], spacing: tuple[float, float, float]) -> Path:
    voxels = RNG.random(shape).astype(np.float32) + 1
    nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)
    return path


def test_sides_beyond_memory_name_file_sides_and_remedy(
    tmp_path: Path, prior_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    np.save(tmp_path / "long.npy", np.tile(np.arange(64, dtype=np.uint8), (200_000, 1)))
    name, out = str(tmp_path / "long.npy"), ["--factor", "2", "-o", str(tmp_path / "o")]
    for call, sides in (
        (["sr", name, "--prior", str(prior_folder), *out], "400000 pixels over one of 200000"),
        (["simulate", name, *out], "200000 pixels over one of 100000"),
        (["sr", str(tmp_path / "l.txt"), "--prior", str(prior_folder), *out], "over one of 200000"),
    ):
        (tmp_path / "l.txt").write_text("long.npy\n")
        assert main(call) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert name in error
        assert sides in error
        assert "cut the image into parts" in error


@pytest.fixture
def files(tmp_path: Path, prior_folder: Path) -> dict[str, str]:
    """What stands for a word in capitals among the arguments of a command."""
    scan(tmp_path / "a.nii.gz", (64, 3, 64), (1, 3, 1))
    np.save(tmp_path / "b.npy", RNG.random((64, 60)).astype(np.float32))
    (tmp_path / "taken").write_text("precious")
    (tmp_path / "there.npy").write_text("precious")
    return {
        "A": str(tmp_path / "a.nii.gz"),
        "B": str(tmp_path / "b.npy"),
        "OUT": str(tmp_path / "out"),
        "TMP": str(tmp_path),
        "PRIOR": str(prior_folder),
    }


SR = ["sr", "A", "-o", "OUT", "--prior", "PRIOR", "--factor"]
SR_ARRAY = ["sr", "B", "--prior", "PRIOR", "--factor", "2", "-o"]
REFUSED = [
    ([*SR, "512"], "factor 512 is larger than prior 'random' can do (4x)"),
    ([*SR, "2.003"], "factor 2.003 is not a simple fraction"),
    ([*SR, "1"], "give factors above 1"),
    (
        [*SR, "1.01"],
        "64 pixels times factor 1.01 is not a whole number; choose another factor (the planes are"
        " axes 0,2 (coronal), by the spacing of its slices; --axes 0,1 or 1,2 chooses others)",
    ),
    (
        [*SR, "2", "--axes", "0,1"],
        "the result would be 128x6; prior 'random' needs at least 32 pixels per side (the planes"
        " are axes 0,1 (axial), by --axes; --axes 0,2 or 1,2 chooses others)",
    ),
    ([*SR, "2", "--mode", "foo"], "unknown mode 'foo': choose one of "),
    ([*SR, "2", "--mode", "mean:fun=1"], "no setting 'fun'"),
    (["sr", "A", "-o", "OUT", "--factor", "2", "--prior", "none"], "unknown prior 'none'"),
    (["sr", "TMP/c.nii", "-o", "OUT", "--factor", "2"], "c.nii does not exist"),
    ([*SR_ARRAY, "TMP/taken"], "taken is a file; give the name of a folder"),
    ([*SR_ARRAY, "TMP/taken/out"], "out: not a directory"),
    ([*SR_ARRAY, "TMP/c.png"], "c.png: the result of"),
    ([*SR_ARRAY, "TMP/c.dcm"], "is npy; give a name that ends in .npy, or a folder"),
    ([*SR_ARRAY, "TMP/there.npy"], "there.npy already exists"),
    (
        ["sr", "A", "B", "--factor", "2", "-o", "TMP/c.nii.gz"],
        "c.nii.gz is the name of one file, but 2 inputs have a result each",
    ),
    (
        ["sr", "A", "--isotropic", "--combine", "-o", "OUT"],
        "--combine makes one volume of two or more stacks, and ",
    ),
    (["sr", "A", "TMP/c.nii", "--isotropic", "--combine", "-o", "OUT"], "c.nii does not exist"),
    (
        ["sr", "A", "B", "--isotropic", "--combine", "--mode", "sample", "-o", "OUT"],
        "--combine restores by modes 'mean' and 'lsq' alone",
    ),
    (
        ["sr", "A", "B", "--isotropic", "--combine", "--factor", "2", "-o", "OUT"],
        "--combine takes its detail from the stacks; leave --factor out",
    ),
    (
        ["sr", "A", "--isotropic", "--factor", "2", "--mode", "balanced", "-o", "OUT"],
        "--isotropic with --factor restores by mode 'mean' alone",
    ),
    (["sr", "A", "--factor", "2", "--mode", "lsq"], "mode 'lsq' is one of --isotropic"),
    (["sr", "A", "--isotropic", "--mode", "lsq", "--steps", "3"], "has no use for --steps"),
    (["simulate", "A", "-o", "OUT", "--factor", "512"], "size 64 is too small for factor 512"),
    (["simulate", "A", "-o", "TMP/c.npy", "--factor", "2"], "c.npy: the result of"),
    (["evaluate", "--data", "TMP/no", "-o", "OUT", "--factor", "2"], "no does not exist"),
    (["evaluate", "--data", "TMP", "-o", "c.nii", "--factor", "2"], "c.nii is the name of a file"),
    (["reproduce", "--data", "TMP/no", "-o", "OUT"], "no does not exist"),
    (["train", "--data", "TMP/no", "-o", "OUT"], "no does not exist"),
    (["train", "--data", "TMP", "-o", "OUT", "--start", "none"], "unknown prior 'none'"),
]


def placed(arguments: list[str], files: dict[str, str]) -> list[str]:
    tmp = files["TMP"]
    return [files.get(a, a.replace("TMP/", f"{tmp}/")) for a in arguments]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_refused_at_once(
    arguments: list[str], message: str, files: dict[str, str], capsys: pytest.CaptureFixture
) -> None:
    before = sorted(Path(files["TMP"]).rglob("*"))
    assert main(placed(arguments, files)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(Path(files["TMP"]).rglob("*")) == before


def test_a_prior_loads_without_torch_s_compiler(prior_folder: Path) -> None:
    """Which takes longer to import than all the rest."""
    code = (
        "import sys\nfrom mrcascade import CascadePrior\n"
        f"CascadePrior.from_pretrained({str(prior_folder)!r})\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_none_of_that_needs_torch(files: dict[str, str]) -> None:
    """All in one process, as starting one takes longer than a refusal."""
    commands = [placed(arguments, files) for arguments, _ in REFUSED]
    code = (
        "import sys\nfrom mrcascade.cli import main\n"
        f"for command in {commands!r}:\n"
        "    assert main(command) == 2\n"
        "    assert 'torch' not in sys.modules, command\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--steps", "1000000000"),
        ("--samples", "1000000000"),
        ("--batch-size", "1000000000"),
        ("--num-parts", "1000000000"),
        ("--seed", "9223372036854775808"),
        ("--seed", "²"),
        ("--acquired-matrix", "²,2"),
        ("--acquired-matrix", "100000,2"),
        ("--axes", "0,0"),
        ("--axes", "0,3"),
        ("--axes", "0"),
    ],
)
def test_refused_by_the_parser(option: str, value: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["sr", "a.nii", "-o", "out", "--factor", "2", option, value])
    assert stop.value.code == 2
    assert f"argument {option}: {value!r} is" in capsys.readouterr().err


def test_help_and_errors_name_the_same_modes(prior: CascadePrior) -> None:
    (commands,) = (a for a in build_parser()._actions if a.dest == "==SUPPRESS==" or a.choices)
    (mode,) = (a for a in commands.choices["sr"]._actions if a.dest == "mode")
    assert all(f"{name} ({about})" in mode.help for name, about in MODES.items())
    with pytest.raises(MRCascadeError, match=f"choose one of {', '.join(MODES)} "):
        read_mode("foo")
    with pytest.raises(MRCascadeError, match=f"choose one of {', '.join(MODES)} "):
        resolve_settings(prior, "foo")


def test_evaluate_refuses_a_factor_before_any_file(
    tmp_path: Path, prior_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.nii").write_bytes(b"damaged")
    data = ["--data", str(tmp_path), "--prior", str(prior_folder), "-o", str(tmp_path / "out")]
    assert main(["evaluate", *data, "--methods", "mean", "--factor", "8"]) == 2
    assert "factor 8 is larger than prior 'random' can do (4x)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (SR_ARRAY, "b_desc-sr2x.npy"),
        (["simulate", "B", "--factor", "2,1", "-o"], "b_desc-low2by1x.npy"),
    ],
)
def test_a_result_that_exists_needs_no_torch(
    arguments: list[str], name: str, files: dict[str, str]
) -> None:
    out = Path(files["OUT"])
    out.mkdir()
    (out / name).write_text("precious")
    code = (
        "import sys\nfrom mrcascade.cli import main\n"
        f"assert main({placed([*arguments, str(out)], files)!r}) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{name} already exists" in done.stderr
    assert (out / name).read_text() == "precious"


# ---- outputs with a name ----


def test_a_result_with_a_name(files: dict[str, str], capsys: pytest.CaptureFixture) -> None:
    folder = Path(files["TMP"])
    named = folder / "new" / "r.nii.gz"
    command = ["sr", "A", "--prior", "PRIOR", "--factor", "2", "--noise", "0.02", "-o", str(named)]
    several = [*command, "--mode", "paper", "--steps", "6", "--samples", "2"]
    assert main(placed(several, files)) == 0
    names = ["r.json", "r.nii.gz", "r.png", "r_sample.nii.gz", "r_std.nii.gz"]
    assert sorted(path.name for path in named.parent.iterdir()) == names
    written = capsys.readouterr().out.splitlines()[-len(names) :]
    assert written[0] == str(named)
    assert written[-1] == str(named.parent / "r.json")
    listed = json.loads((named.parent / "r.json").read_text())["Files"]
    assert listed["Result"] == "r.nii.gz"
    assert listed["Std"] == "r_std.nii.gz"
    # The same bits as under the usual name.
    plain = [a if a != str(named) else files["OUT"] for a in several]
    assert main(placed(plain, files)) == 0
    usual = nib.load(Path(files["OUT"]) / "a_desc-sr2x.nii.gz")
    np.testing.assert_array_equal(nib.load(named).get_fdata(), usual.get_fdata())
    capsys.readouterr()
    assert main(placed([*several, "--resume"], files)) == 0
    assert "already done" in capsys.readouterr().out


def test_resume_leaves_a_file_of_that_name(files: dict[str, str], capsys) -> None:
    """Without a sidecar nothing says that it is a result."""
    taken = Path(files["TMP"]) / "there.npy"
    command = ["sr", "B", "--prior", "PRIOR", "--factor", "2", "--resume", "-o", str(taken)]
    assert main(placed(command, files)) == 2
    assert "already exists" in capsys.readouterr().err
    assert taken.read_text() == "precious"


def test_a_folder_of_that_name_stays_one(files: dict[str, str]) -> None:
    folder = Path(files["TMP"]) / "old.npy"
    folder.mkdir()
    assert main(placed(["simulate", "B", "--factor", "2", "-o", str(folder)], files)) == 0
    assert sorted(p.name for p in folder.iterdir()) == ["b_desc-low2x.json", "b_desc-low2x.npy"]


def test_a_folder_of_several_images_needs_a_folder(files: dict[str, str], capsys) -> None:
    (Path(files["TMP"]) / "there.npy").unlink()
    target = f"{files['TMP']}/new.npy"
    command = ["sr", "TMP/", "--prior", "PRIOR", "--factor", "2", "-o", target]
    assert main(placed(command, files)) == 2
    assert "2 inputs have a result each" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["low.nii.gz", "low.nii"])
def test_a_measurement_with_a_name_and_its_planes(files: dict[str, str], name: str) -> None:
    """Pixels of 4 mm with slices of 3 mm between: by the sidecar, and without it."""
    target = Path(files["TMP"]) / name
    command = ["simulate", "A", "--factor", "4", "-o", str(target)]
    assert main(placed(command, files)) == 0
    for _ in range(2):
        with open_source(target) as source:
            assert source.shape == (16, 3, 16)
            assert choose_axes(source) == (0, 2)
        target.with_name("low.json").unlink(missing_ok=True)


# ---- info ----


def test_the_priors(capsys: pytest.CaptureFixture) -> None:
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == list_priors()


def test_a_folder_of_images(files: dict[str, str], capsys: pytest.CaptureFixture) -> None:
    assert main(["info", files["TMP"]]) == 1  # there.npy is damaged
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "a.nii.gz: 64 x 3 x 64, 1 x 3 x 1 mm, axes 0,2 (coronal), 64 x 64 pixels of 1 x 1 mm,"
        " 3 slices, by the spacing of its slices",
        "b.npy: 64 x 60, axes 0,1 (unknown), 64 x 60 pixels, 1 slice",
    ]
    assert "there.npy" in captured.err
    assert captured.err.count("\n") == 1


def test_results_and_colour_pictures_are_no_faults_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    np.save(tmp_path / "b.npy", RNG.random((16, 16), np.float32))
    np.save(tmp_path / "b_desc-sr2x.npy", RNG.random((32, 32), np.float32))
    (tmp_path / "b_desc-sr2x.png").write_bytes(b"not looked at")
    Image.new("RGB", (8, 8)).save(tmp_path / "c.png")
    Image.new("P", (8, 8)).save(tmp_path / "d.png")
    Image.new("L", (8, 6)).save(tmp_path / "e.png")
    assert main(["info", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "b.npy: 16 x 16, axes 0,1 (unknown), 16 x 16 pixels, 1 slice",
        "b_desc-sr2x.npy: 32 x 32, axes 0,1 (unknown), 32 x 32 pixels, 1 slice, result of sr",
        "b_desc-sr2x.png: preview of a result of sr",
        "c.png: colour (RGB) picture, not grey: no image to restore",
        "d.png: palette picture, not grey: no image to restore",
        "e.png: 6 x 8, axes 0,1 (unknown), 6 x 8 pixels, 1 slice",
    ]
    assert captured.err == ""
    # A damaged picture stays an error, and a picture that is named itself as well.
    (tmp_path / "c.png").write_bytes((tmp_path / "c.png").read_bytes()[:40])
    assert main(["info", str(tmp_path)]) == 1
    assert "c.png" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "d.png")]) == 2
    assert "save it as grey" in capsys.readouterr().err


def test_the_acquired_matrix(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = scan(tmp_path / "a.nii.gz", (64, 80, 3), (1, 1, 3))
    assert main(["info", str(path)]) == 0
    assert "acquired matrix: 64 x 80 (all that is stored)" in capsys.readouterr().out
    (tmp_path / "a.json").write_text(json.dumps({"AcquisitionMatrix": [0, 40, 32, 0]}))
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"acquired matrix: 40 x 32 \(by the JSON file beside it\)", out)
