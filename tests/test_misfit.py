"""Results that miss noisy data by more than the noise: the figure, its limit, and who is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mrcascade.cli import main
from mrcascade.measurement import misfit
from mrcascade.measurement.misfit import Misfit

SIGMA = 0.05


@pytest.mark.parametrize("shape", [(16, 16), (3, 40, 32)])
@pytest.mark.parametrize("kind", [np.float32, np.complex64])
def test_noise_alone_has_a_misfit_of_one(shape: tuple[int, ...], kind: type) -> None:
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(2, *shape))
    noise = SIGMA * (parts[0] + 1j * parts[1] if kind is np.complex64 else parts[0])
    y = (5 + noise).astype(kind)
    residual = float(np.linalg.norm(noise) / np.linalg.norm(y))
    found = Misfit.of(residual, y, SIGMA)
    assert found is not None
    count = y.size * (2 if kind is np.complex64 else 1)
    expected = np.linalg.norm(noise) / (SIGMA * np.sqrt(count))
    assert found.ratio == pytest.approx(expected, rel=1e-6)  # y is rounded to float32
    assert abs(found.ratio - 1) < 5 / np.sqrt(2 * count)  # of a chi distribution
    assert found.limit == pytest.approx(2 * (1 + 5 / np.sqrt(2 * count)))
    assert not found.excessive
    assert Misfit(1.01 * found.limit, count).excessive


def test_the_limit_has_room_for_magnitudes_of_air_and_an_estimated_level() -> None:
    """Rayleigh's second moment is 2 sigma^2, and the level may be wrong by sqrt(2)."""
    rng = np.random.default_rng(1)
    air = SIGMA * np.abs(rng.normal(size=(64, 64)) + 1j * rng.normal(size=(64, 64)))
    found = Misfit.of(1.0, air, SIGMA / np.sqrt(2))  # a result of zeros
    assert found is not None
    assert found.ratio == pytest.approx(2, rel=5 / np.sqrt(2 * air.size))
    assert not found.excessive


def test_data_without_noise_have_none() -> None:
    assert Misfit.of(1e-6, np.ones((8, 8)), 0.0) is None


@pytest.mark.parametrize("options", [["--factor", "2"], ["--isotropic"]])
def test_file_report_and_terminal_warn(
    options: list[str],
    tmp_path: Path,
    prior_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mrcascade import write_image

    rng = np.random.default_rng(2)
    image = 100 + rng.normal(size=(36, 32, 7)).astype(np.float32)
    write_image(image, tmp_path / "a.nii", affine=np.diag([1.0, 1.0, 3.0, 1.0]))
    options = [*options, "--prior", str(prior_folder), "--device", "cpu", "--mode", "mean"]

    def run(name: str, noise: str) -> tuple[dict, str, str]:
        out = tmp_path / name
        words = ["sr", str(tmp_path / "a.nii"), "-o", str(out), "--noise", noise, "--report"]
        assert main([*words, *options]) == 0
        (sidecar,), (report,) = out.glob("*.json"), out.glob("*.html")
        return json.loads(sidecar.read_text()), report.read_text(), capsys.readouterr().out

    for name, margin, noise in (("quiet", 1e6, "0.01"), ("exact", 1e-6, "0")):
        monkeypatch.setattr(misfit, "_MARGIN", margin)
        record, report, printed = run(name, noise)
        assert "Warnings" not in record
        assert "what the noise explains" not in report + printed
    record, report, printed = run("warned", "0.01")
    (line,) = record["Warnings"]
    assert line.startswith("the residual is ")
    assert f"warning: {line}" in printed
    assert line in report
    # The sidecar's own numbers give the ratio; volumes and slices differ in what they count.
    ratio = float(line.split(" times ")[0].removeprefix("the residual is "))
    size = np.linalg.norm(image) if "--isotropic" in options else np.linalg.norm(image[..., 0])
    count = image.size if "--isotropic" in options else image[..., 0].size
    scale = record["Settings"]["Scale"]
    # Slices differ in their norms by a per mille, and the ratio is printed with one decimal.
    expected = record["Residual"] * size / (0.01 * scale * np.sqrt(count))
    assert ratio == pytest.approx(expected, rel=0.01, abs=0.05)
