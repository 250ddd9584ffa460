"""Complex images from end to end: a tiny prior trained on simulated phase, then used."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from training_data import TINY, cache, quick, smooth_image

from mrcascade import CascadePrior, MRCascadeError
from mrcascade.arrays.phase import with_simulated_phase
from mrcascade.cli import main
from mrcascade.training import run as run_module
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.slices import load_volumes, read_folder

AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


def images(slices: int, side: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([smooth_image(side, rng) for _ in range(slices)])


@pytest.fixture(scope="module")
def magnitudes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT/brain/<split>/<name>.npy, the slices last."""
    root = tmp_path_factory.mktemp("magnitudes")
    for number, split in enumerate(("train", "val", "test")):
        (root / "brain" / split).mkdir(parents=True)
        np.save(root / f"brain/{split}/a.npy", np.moveaxis(images(3, 64, number), 0, -1))
    return root


@pytest.fixture(scope="module")
def prior_folder(magnitudes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by the command, in seconds."""
    run = tmp_path_factory.mktemp("run") / "complex"
    small = {"images": 48, "batch": 8, "patch": 32, "coarse_patch": 16}
    settings = [f"--set={key}={value}" for key, value in small.items()]
    arguments = ["train", "--data", str(magnitudes), "-o", str(run), "--network", "tiny"]
    with quick(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "plot_losses", lambda folder, levels: None)
        assert main([*arguments, "--simulate-phase", "--device", "cpu", *settings]) == 0
    return run / "prior"


@pytest.fixture(scope="module")
def measured() -> np.ndarray:
    """(32, 32, 2) complex64, the last axis counts slices."""
    return np.moveaxis(with_simulated_phase(images(2, 32, 9), "measured"), 0, -1)


def restore(path: Path, output: Path, prior: Path, *more: str) -> int:
    given = ["sr", str(path), "-o", str(output), "--factor", "2", "--noise", "0"]
    return main([*given, "--prior", str(prior), "--device", "cpu", *more])


def save_pair(folder: Path, x: np.ndarray) -> tuple[Path, Path]:
    """In radians, as the sidecar says."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"sub-1_part-{part}_T2w.nii.gz" for part in ("mag", "phase"))
    for path, values in zip(paths, (np.abs(x), np.angle(x)), strict=True):
        nib.save(nib.Nifti1Image(values.astype(np.float32), AFFINE), path)
    (folder / "sub-1_part-phase_T2w.json").write_text('{"Units": "rad"}')
    return paths


def test_prior_says_what_it_is(prior_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prior = CascadePrior.from_pretrained(prior_folder)
    assert prior.channels == 2
    assert prior.provenance["phase"] == "simulated"
    assert prior.provenance["files"] == ["brain/train/a.npy"]
    statistics = prior.levels[0].spec.statistics
    assert (statistics.mean, statistics.condition_mean) == (0.0, 0.0)
    assert main(["info", str(prior_folder)]) == 0
    assert "complex (simulated phase)" in capsys.readouterr().out


def test_every_kind_of_file_gives_the_same_image(
    prior_folder: Path, measured: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", measured)
    nib.save(nib.Nifti1Image(measured, AFFINE), tmp_path / "x.nii.gz")
    magnitude, phase = save_pair(tmp_path / "pair", measured)
    out = tmp_path / "out"
    for number, path in enumerate((tmp_path / "x.npy", tmp_path / "x.nii.gz", phase)):
        assert restore(path, out / str(number), prior_folder) == 0
    npy = np.load(out / "0/x_desc-sr2x.npy")
    assert (npy.dtype, npy.shape) == (np.complex64, (64, 64, 2))
    nifti = nib.load(out / "1/x_desc-sr2x.nii.gz")
    assert nifti.get_data_dtype() == np.complex64
    scale = np.abs(npy).max()
    # Networks in float32, whose convolutions may add in another order: rounding of some dozen
    # layers. The pair's values are rounded to magnitude and phase besides.
    np.testing.assert_allclose(np.asarray(nifti.dataobj), npy, atol=2e-5 * scale)
    stem = "2/sub-1_part-{}_desc-sr2x_T2w"
    parts = [nib.load(out / f"{stem.format(part)}.nii.gz") for part in ("mag", "phase")]
    values = [np.asarray(part.dataobj) for part in parts]
    assert [part.get_data_dtype() for part in parts] == [np.float32, np.float32]
    np.testing.assert_allclose(values[0] * np.exp(1j * values[1]), npy, atol=2e-5 * scale)
    np.testing.assert_array_equal(parts[0].affine, nifti.affine)
    assert json.loads((out / f"{stem.format('phase')}.json").read_text())["Units"] == "rad"
    sidecar = json.loads((out / f"{stem.format('mag')}.json").read_text())
    assert sidecar["Sources"] == [magnitude.name, phase.name]
    assert sidecar["Residual"] < 1e-5
    # The result is a pair again.
    assert restore(out / f"{stem.format('mag')}.nii.gz", tmp_path / "more", prior_folder) == 0


def test_a_folder_of_pairs_and_its_resumption(
    prior_folder: Path, measured: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "pairs", tmp_path / "out"
    _, phase = save_pair(folder, measured)
    options = ("--mode", "paper", "--steps", "3", "--samples", "2")
    assert restore(folder, out, prior_folder, *options) == 0
    names = {p.name for p in out.iterdir()}
    stem = "sub-1_part-{}_desc-sr2x{}_T2w.{}"
    expected = {stem.format(p, s, "nii.gz") for p in ("mag", "phase") for s in ("", "sample")}
    expected |= {stem.format("mag", "std", "nii.gz"), stem.format("mag", "", "png")}
    expected |= {stem.format("mag", "", "json")}
    expected |= {stem.format("phase", s, "json") for s in ("", "sample")}
    assert names == expected
    assert restore(folder, out, prior_folder, *options) == 2
    assert "already exists" in capsys.readouterr().err
    assert restore(folder, out, prior_folder, *options, "--resume") == 0
    assert capsys.readouterr().out.startswith("already done\n")
    nib.save(nib.Nifti1Image(np.angle(measured.conj()), AFFINE), phase)
    assert restore(folder, out, prior_folder, *options, "--resume") == 2
    assert "come from other input" in capsys.readouterr().err
    assert restore(phase, out, prior_folder, *options, "--dry-run", "--overwrite") == 0
    assert "with sub-1_part-phase_T2w.nii.gz: 32 x 32 x 2 -> 64 x 64 x 2" in capsys.readouterr().out


def test_pairs_of_a_bids_dataset(prior_folder: Path, measured: np.ndarray, tmp_path: Path) -> None:
    """The derivative has a JSON file beside every image; that of a phase says the unit."""
    root, out = tmp_path / "raw", tmp_path / "derivative"
    save_pair(root / "sub-1" / "anat", measured)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    assert (
        restore(root, out, prior_folder, "--mode", "paper", "--steps", "3", "--samples", "2") == 0
    )
    images = sorted((out / "sub-1" / "anat").glob("*.nii.gz"))
    assert len(images) == 5  # two parts of result and sample, one standard deviation
    for path in images:
        facts = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        assert [s.rsplit("_", 2)[1] for s in facts["Sources"]] == ["part-mag", "part-phase"]
        assert ("Units" in facts) == ("part-phase" in path.name)


def test_priors_and_images_that_do_not_fit(
    prior_folder: Path, measured: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    magnitude, phase = save_pair(tmp_path / "pair", measured)
    np.save(tmp_path / "x.npy", measured)
    out = tmp_path / "out"

    def refused(path: Path, prior: Path | str) -> str:
        assert restore(path, out, Path(prior)) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert not out.exists()
        return message

    assert f"{tmp_path / 'x.npy'}: prior 'mr-small' models magnitude" in (
        refused(tmp_path / "x.npy", "mr-small")
    )
    phase_alone = refused(phase, "mr-small")
    assert f"{phase} is the phase of a complex image" in phase_alone
    np.save(tmp_path / "m.npy", np.abs(measured))
    assert "the measurement has no phase: use a magnitude prior" in (
        refused(tmp_path / "m.npy", prior_folder)
    )
    magnitude.unlink()
    assert "is the phase of a complex image" in refused(phase, prior_folder)
    given = ["-o", str(out), "--factor", "2"]
    evaluate = ["evaluate", "--data", str(phase.parent), "--methods"]
    for command in (["simulate", str(phase)], [*evaluate, "zero-fill"]):
        assert main([*command, *given]) == 2
        assert "is the phase of a complex image" in capsys.readouterr().err
    assert main([*evaluate, "mean", *given]) == 2
    assert "is a phase without its magnitude" in capsys.readouterr().err
    with pytest.raises(MRCascadeError, match="is the phase of a complex image"):
        load_volumes(phase.parent, 4, (2, 4))


def test_simulated_measurement_of_a_pair_is_a_pair(
    prior_folder: Path, measured: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    magnitude, phase = save_pair(tmp_path / "pair", measured)
    given = ["--factor", "2"]
    for source in (magnitude, phase):
        out = tmp_path / source.name.split(".")[0]  # with the ending it would name a file
        assert main(["simulate", str(source), "-o", str(out), "--complex", *given]) == 0
        stem = "sub-1_part-{}_desc-low2x_T2w.{}"
        assert {p.name for p in out.iterdir()} == {
            stem.format(part, ending) for part in ("mag", "phase") for ending in ("nii.gz", "json")
        }
        files = [out / stem.format(part, "nii.gz") for part in ("mag", "phase")]
        size, angle = (np.asarray(nib.load(path).dataobj) for path in files)
        # What `simulate` makes of the same image in one complex file, to float32 rounding of
        # magnitude and angle.
        nib.save(nib.Nifti1Image(measured, AFFINE), tmp_path / "x.nii.gz")
        whole = ["simulate", str(tmp_path / "x.nii.gz"), "-o", str(out / "whole"), *given]
        assert main(whole) == 0
        expected = np.asarray(nib.load(out / "whole" / "x_desc-low2x.nii.gz").dataobj)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(size * np.exp(1j * angle), expected, atol=2e-6 * scale)
        assert json.loads((out / stem.format("phase", "json")).read_text()) == {"Units": "rad"}
        sidecar = json.loads((out / stem.format("mag", "json")).read_text())
        assert sidecar["Sources"] == [magnitude.name, phase.name]
    assert restore(out / stem.format("mag", "nii.gz"), tmp_path / "sr", prior_folder) == 0
    phase.unlink()
    none = tmp_path / "none"
    assert main(["simulate", str(magnitude), "-o", str(none), "--complex", *given]) == 2
    assert "has no phase; --complex takes k-space" in capsys.readouterr().err
    assert not none.exists()


def test_a_magnitude_prior_takes_the_magnitudes(measured: np.ndarray, tmp_path: Path) -> None:
    save_pair(tmp_path / "pair", measured)
    assert restore(tmp_path / "pair", tmp_path / "out", Path("mr-small")) == 0
    stem = "sub-1_part-mag_desc-sr2x_T2w"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        f"{stem}.{ending}" for ending in ("nii.gz", "png", "json")
    }


@pytest.mark.slow
def test_evaluation_of_the_trained_prior(
    prior_folder: Path, magnitudes: Path, measured: np.ndarray, tmp_path: Path
) -> None:
    """On simulated phase, and on a test set of pairs."""
    save_pair(tmp_path / "pairs", measured)
    for root, more in ((magnitudes, ["--simulate-phase"]), (tmp_path / "pairs", [])):
        out = tmp_path / f"{root.name}-out"
        given = ["evaluate", "--data", str(root), "-o", str(out), "--prior", str(prior_folder)]
        options = ["--factor", "2", "--methods", "zero-fill,mean", "--device", "cpu"]
        options += ["--noise-handling", "known"]
        assert main([*given, *options, *more]) == 0
        with (out / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {r["method"] for r in rows} == {"zero-fill", "mean"}
        assert all(0 < float(r["nmse_complex"]) < 1 for r in rows)
        assert all(0 < float(r["phase_error"]) < np.pi for r in rows)
        assert all(float(r["residual"]) < 1e-5 for r in rows)


def test_training_on_pairs_and_on_a_cache(
    magnitudes: Path, measured: np.ndarray, tmp_path: Path
) -> None:
    """Pairs are complex images; the simulated phase is the same in a cache."""
    save_pair(tmp_path / "train", measured)
    (pair,) = read_folder(tmp_path, (2, 4))
    assert (pair.channels, pair.simulated) == (2, False)
    assert pair.file == "train/sub-1_part-mag_T2w.nii.gz"
    # float32 of magnitude and phase
    np.testing.assert_allclose(pair.slices, np.moveaxis(measured, -1, 0), rtol=1e-6)
    target = tmp_path / "c.hdf5"
    given = ["cache", "--data", str(magnitudes), "-o", str(target), "--simulate-phase"]
    assert main([*given, "--seed", "4"]) == 0
    cached = {v.file: v for v in load_volumes(target, 1, (2, 4))}
    for volume in read_folder(magnitudes, (2, 4), phase_seed=4):
        for stored, image in zip(cached[volume.file].slices, volume.slices, strict=True):
            # Half a step of 12 bits over at most twice the maximum, in both parts.
            assert np.abs(stored - image).max() < 2 * np.abs(image).max() / 4095


@pytest.mark.slow
def test_channels_follow_from_the_data(
    magnitudes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run on magnitudes cannot go on with complex images, and nothing else sets channels."""
    monkeypatch.setattr(run_module, "plot_losses", lambda folder, levels: None)
    run = tmp_path / "run"
    run_module.train_cascade(cache(tmp_path / "c.hdf5"), run, TINY, levels=[3])
    given = ["train", "--data", str(magnitudes), "--network", "tiny", "--levels", "3", "-o"]
    assert main([*given, str(run), "--simulate-phase", "--resume"]) == 2
    assert "made with other settings (channels" in capsys.readouterr().err
    assert main([*given, str(tmp_path / "other"), "--set", "channels=2"]) == 2
    assert "--set channels=2: known are" in capsys.readouterr().err


def test_spectrum_is_that_of_one_part(magnitudes: Path) -> None:
    """Turned by one angle, an image has the spectrum that it had, and half of it in each part on
    average. Float32 images and sums of some thousand terms."""
    volumes = list(read_folder(magnitudes, (2, 4)))
    turned = [replace(v, slices=v.slices * np.complex64(np.exp(0.4j))) for v in volumes]
    spectra = [CascadeData(v, TINY).spectrum() for v in (turned, volumes)]
    np.testing.assert_allclose(spectra[0], np.array(spectra[1]) / 2, rtol=1e-4)
