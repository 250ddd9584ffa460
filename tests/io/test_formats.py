"""The table of formats: a new one is a record and a module, and no format writes for another."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import write_random_prior
from toy_format import TOY, read_toy, write_toy

import mrcascade.io
from mrcascade import MRCascadeError
from mrcascade.cli import main
from mrcascade.io import (
    FORMATS,
    Image,
    codec_of,
    read_image,
    register_format,
    result_ending,
    write_image,
)


@pytest.fixture
def toy() -> Iterator[None]:
    register_format(TOY)
    yield
    del FORMATS["toy"]


def disc(*shape: int) -> np.ndarray:
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:2]), indexing="ij")
    noise = np.random.default_rng(0).normal(500, 100, shape)
    return ((rows**2 + columns**2 < 0.8)[..., None] * noise).astype(np.float32)


@pytest.mark.usefixtures("toy")
def test_a_new_format_goes_through_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gives what the same pixels as .npy give, from measuring to restoring."""
    prior = write_random_prior(tmp_path / "prior")
    truth = disc(32, 48, 3)
    source = write_toy(tmp_path / "t2.toy", truth)
    np.save(tmp_path / "t2.npy", truth)
    results = {}
    for ending in (".toy", ".npy"):
        path, out = tmp_path / f"t2{ending}", tmp_path / ending[1:]
        assert main(["info", str(path)]) == 0
        assert main(["simulate", str(path), "--factor", "2", "-o", str(out)]) == 0
        low = out / f"t2_desc-low2x{ending}"
        options = ["--factor", "2", "--prior", str(prior), "--noise", "0", "--mode", "mean"]
        assert main(["sr", str(low), *options, "-o", str(out)]) == 0
        results[ending] = low, out / f"t2_desc-sr2x{ending}"
    said = capsys.readouterr().out
    assert f"{source}: toy, 32 x 48 x 3, real" in said
    for toy, npy in zip(results[".toy"], results[".npy"], strict=True):
        np.testing.assert_array_equal(read_toy(toy), np.load(npy))
    assert read_toy(results[".toy"][1]).shape == truth.shape
    sidecar = json.loads((tmp_path / "toy" / "t2_desc-sr2x.json").read_text())
    assert sidecar["Files"]["Result"] == "t2_desc-sr2x.toy"


@pytest.mark.usefixtures("toy")
def test_a_new_format_is_found_named_and_requested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_toy(tmp_path / "t2.toy", disc(32, 48, 3))
    np.save(tmp_path / "t1.npy", disc(32, 48, 3))
    assert main(["info", str(tmp_path)]) == 0
    assert "t2.toy: 32 x 48 x 3" in capsys.readouterr().out
    named = tmp_path / "low.toy"
    arguments = ["simulate", str(tmp_path / "t1.npy"), "--factor", "2", "-o", str(named)]
    assert main(arguments) == 2
    assert "give a name that ends in .npy" in capsys.readouterr().err
    assert main([*arguments, "--format", "toy"]) == 0
    assert read_toy(named).shape == (16, 24, 3)
    (tmp_path / "notes.abc").write_text("no image")
    assert main(["info", str(tmp_path / "notes.abc")]) == 2
    assert ".toy" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["sr", "--help"])
    assert "toy" in capsys.readouterr().out
    path.write_text("boy 1\n")
    assert main(["info", str(path)]) == 2
    assert capsys.readouterr().err.strip() == f"mrcascade: {path} is no toy file; save it again"


@pytest.mark.usefixtures("toy")
def test_a_format_without_a_place_refuses_geometry(tmp_path: Path) -> None:
    image = Image(disc(8, 8, 3), np.eye(4), Path("scan.nii"), "nifti", None, "")
    with pytest.raises(MRCascadeError, match=r"b\.toy would lose the geometry of scan\.nii"):
        write_image(image, tmp_path / "b.toy")
    write_image(image.with_data(image.data, None), tmp_path / "b.toy")
    np.testing.assert_array_equal(read_image(tmp_path / "b.toy").data, image.data)


def test_an_unknown_format_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    image = Image(disc(8, 8, 3), None, Path("a.npy"), "npy", None, "")
    for name in ("b.toy", "b", "b.jpg", "b.nii.bz2"):
        with pytest.raises(MRCascadeError, match=r"no supported ending; supported are .*npy"):
            write_image(image, tmp_path / name)
    assert not list(tmp_path.iterdir())
    with pytest.raises(MRCascadeError, match="no file format is called 'mgz'; known are nifti"):
        result_ending(tmp_path / "a.npy", "mgz")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "npy"}, "'npy' is in the table already"),
        ({"endings": (".toy", ".tif")}, "'.tif' is in the table already"),
        ({"endings": ("toy",)}, "'toy': write it with a dot"),
        ({"endings": (".Toy",)}, "'.Toy': write it with a dot and in lower case"),
    ],
)
def test_a_format_takes_nothing_from_another(change: dict[str, Any], told: str) -> None:
    before = dict(FORMATS)
    with pytest.raises(MRCascadeError, match=re.escape(told)):
        register_format(replace(TOY, **change))
    assert before == FORMATS


def test_no_format_drops_a_phase(tmp_path: Path) -> None:
    image = Image(disc(8, 8, 1)[..., 0] * 1j, None, Path("a.npy"), "npy", None, "")
    with pytest.raises(MRCascadeError, match=r"a\.npy: grey TIFF cannot hold a complex result"):
        write_image(image, tmp_path / "b.tif")
    assert not list(tmp_path.iterdir())


def test_every_record_is_whole() -> None:
    endings = [ending for one in FORMATS.values() for ending in one.endings]
    assert len(set(endings)) == len(endings)
    for name, one in FORMATS.items():
        assert one.name == name
        assert codec_of(one)  # the module is there
        written = FORMATS[one.results or name]
        assert not written.read_only, name
        assert written.complex or not one.complex, name
        assert written.geometry or not one.geometry, name
    assert replace(TOY, last_axis_fastest=False).layout(3) == (2, 1, 0)


def test_public_names_are_there_and_the_table_waits_for_nothing() -> None:
    for name in mrcascade.io.__all__:
        assert getattr(mrcascade.io, name) is not None
    code = (
        "import sys, mrcascade.io.formats;"
        "print([m for m in ('numpy', 'nibabel', 'h5py', 'pydicom', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
