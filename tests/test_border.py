"""Fields of view that were cut in the image: detection, effect, and what must not change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mrcascade import CascadePrior, MRCascadeError, Recipe, SeparableOperator
from mrcascade.arrays.intensity import Intensity, robust_maximum
from mrcascade.data.folder import list_data, read_slices
from mrcascade.evaluation.methods import METHODS, Context
from mrcascade.io import read_image
from mrcascade.jobs import SuperResolution, super_resolve_file
from mrcascade.jobs.common import input_seed
from mrcascade.measurement.border import MARGIN, NO_MARGINS, Margins, find_margins
from mrcascade.operators import KERNELS, CallableOperator
from mrcascade.operators.crop import centre_crop, fourier_crop
from mrcascade.prior.named import as_prior
from mrcascade.restore import Plan, Restorer, relative_residual, resolve_settings, super_resolve
from tests.conftest import write_random_prior
from tests.quick import slow

SHORT = Recipe("short", steps=6)
SIDES = (48, 56)
STRIP = 16


def scene(factor: tuple[int, int], sides: tuple[int, int] = SIDES, slices: int = 4) -> np.ndarray:
    """Slices of a sum of waves that goes on beyond the field of view, `factor` samples per unit.

    No wave exceeds 0.13 cycles per unit, so that one sample per unit says all about it.
    """
    rng = np.random.default_rng(0)
    rows, cols = (np.arange(n * f)[:, None] / f for n, f in zip(sides, factor, strict=True))
    stack = np.ones((slices, len(rows), len(cols)))
    for image in stack:
        image *= 1 + 0.4 * np.sin(1.9 * rows / sides[0] + 1.3 * cols.T / sides[1])
        for fr, fc in rng.uniform(-0.12, 0.12, (12, 2)):
            turn = rng.uniform(0, 2 * np.pi)
            image += 0.1 * np.cos(2 * np.pi * (fr * rows + fc * cols.T) + turn)
    return stack.astype(np.float32)


def operator_of(
    factor: tuple[int, int], sides: tuple[int, int] = SIDES, kernel: str = "fourier"
) -> SeparableOperator:
    fine = sides[0] * factor[0], sides[1] * factor[1]
    return SeparableOperator.from_kernel(kernel, factor, fine)


def border_error(images: np.ndarray, truth: np.ndarray) -> float:
    square = np.abs(images - truth) ** 2
    square[:, STRIP:-STRIP, STRIP:-STRIP] = np.nan
    return float(np.sqrt(np.nanmean(square)))


def filled(stack: np.ndarray, operator: SeparableOperator) -> np.ndarray:
    return operator.pinv(torch.from_numpy(stack)).numpy()


# ---- what is found ----


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.04])
def test_steps_that_lie_in_periodic_data_are_kept(
    prior: CascadePrior, factor: int, noise: float
) -> None:
    truth, operator = scene((factor, factor)), operator_of((factor, factor))
    y = operator(torch.from_numpy(truth)).numpy()
    y += noise * np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    scale = robust_maximum(y)
    assert np.sqrt(np.mean((y[:, 0] - y[:, -1]) ** 2)) > 0.12 * scale  # there is a step
    assert find_margins(y, operator, scale) == NO_MARGINS
    assert all(find_margins(y[i : i + 1], operator, scale) == NO_MARGINS for i in range(len(y)))
    found = super_resolve(y, operator, prior, noise=noise)
    plan = Plan.of(prior, operator, noise, resolve_settings(prior, "mean"))
    plain = Restorer(prior, plan)(y, Intensity(scale))
    assert np.array_equal(found.mean, plain.mean)
    assert found.extended is None
    assert "margins" not in found.settings


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.04])
def test_cuts_are_found_axis_by_axis(noise: float) -> None:
    y = scene((1, 1), slices=12)
    y += noise * np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    scale = robust_maximum(y)
    assert find_margins(y, operator_of((2, 2)), scale) == Margins((4, 4), (4, 4))
    assert find_margins(y, operator_of((2, 1)), scale) == Margins((4, 4), (0, 0))
    assert find_margins(y, operator_of((1, 4)), scale) == Margins((0, 0), (4, 4))
    place = np.arange(SIDES[0])[:, None]
    faded = y * np.minimum(np.minimum(place, place[::-1]) / 6, 1)  # to nothing at both ends
    assert find_margins(faded, operator_of((2, 2)), scale) == Margins((0, 0), (4, 4))
    turned = y * np.exp(1j * y)  # a step of the phase counts
    assert find_margins(turned, operator_of((2, 2)), scale) == Margins((4, 4), (4, 4))


def test_what_has_no_periodic_model_is_left_alone() -> None:
    y = scene((1, 1))
    scale = robust_maximum(y)
    for kernel in set(KERNELS) - {"fourier"}:
        assert find_margins(y, operator_of((2, 2), kernel=kernel), scale) == NO_MARGINS
    operator = operator_of((2, 2))
    function = CallableOperator(
        operator, operator.adjoint, operator.in_shape, operator.out_shape, name="f"
    )
    assert find_margins(y, function, scale) == NO_MARGINS
    small = y[:, :23, :23]  # too few samples on each side of the border
    assert find_margins(small, operator_of((2, 2), (23, 23)), scale) == NO_MARGINS
    noise = np.random.default_rng(0).standard_normal(y.shape)  # steps everywhere
    assert find_margins(noise, operator, robust_maximum(noise)) == NO_MARGINS


# ---- margins ----


def test_margins_lead_from_edge_to_edge() -> None:
    y, margins = scene((1, 1)), Margins((4, 4), (3, 8))
    whole = margins.extend(y)
    assert whole.shape == (4, 56, 67)
    assert whole.dtype == y.dtype
    rows, columns = margins.measured(SIDES)
    assert np.array_equal(whole[:, rows, columns], y)
    for axis in (1, 2):
        inside = np.abs(np.diff(y, axis=axis)).max()
        everywhere = np.abs(np.diff(np.concatenate([whole, whole], axis), axis=axis)).max()
        before = np.abs(np.take(y, 0, axis) - np.take(y, -1, axis)).max()
        assert everywhere < 2 * inside < before
    assert NO_MARGINS.extend(y) is y


@pytest.mark.parametrize("factor", [2, 4, 1.5, 4 / 3])
@pytest.mark.parametrize("side", [48, 60, 84])
def test_margins_are_whole_pixels_of_the_result(factor: float, side: int) -> None:
    y = scene((1, 1), (side, side))
    fine = round(side * factor)
    operator = SeparableOperator.from_kernel("fourier", factor, (fine, fine))
    margins = find_margins(y, operator, robust_maximum(y))
    assert sum(margins.rows) >= MARGIN
    larger = margins.operator(operator)
    whole = margins.extend(y)
    assert larger.out_shape == whole.shape[1:]
    assert larger.out_shape[0] % 8 == 0
    assert larger.in_shape[0] * side == larger.out_shape[0] * fine
    rows, columns = margins.inside(operator)
    assert rows.stop - rows.start == columns.stop - columns.start == fine
    assert rows.start * side == margins.rows[0] * fine
    assert NO_MARGINS.operator(operator) is operator


# ---- what it changes ----


@pytest.mark.parametrize("factor", [(2, 2), slow((4, 4)), slow((2, 1))])
def test_a_cut_field_of_view_rings_less(factor: tuple[int, int]) -> None:
    """The error near the border falls to a quarter at most; measured: 0.16, 0.18 and 0.15 of it."""
    truth, operator, y = scene(factor), operator_of(factor), scene((1, 1))
    margins = find_margins(y, operator, robust_maximum(y))
    larger = margins.operator(operator)
    own = (slice(None), *margins.inside(operator))
    sinc = filled(margins.extend(y), larger)[own]
    assert border_error(sinc, truth) < border_error(filled(y, operator), truth) / 4
    prior = as_prior("mr-small")
    plan = Plan.of(prior, operator, 0.0, resolve_settings(prior, "mean"))
    before = Restorer(prior, plan)(y, Intensity.of(y))
    after = super_resolve(y, operator, prior, noise=0.0)
    assert border_error(after.mean, truth) < border_error(before.mean, truth) / 4
    assert after.mean.shape == truth.shape
    assert after.settings["margins"] == (margins.rows, margins.columns)


@pytest.mark.parametrize("mode", ["mean", "sample", slow("balanced"), slow("paper")])
@pytest.mark.parametrize("factor", [(2, 2), slow((4, 4)), (2, 1)])
def test_noise_free_data_are_met_and_parts_are_the_whole(
    prior: CascadePrior, mode: str, factor: tuple[int, int]
) -> None:
    operator, y = operator_of(factor), scene((1, 1))
    scale = robust_maximum(y)
    margins = find_margins(y, operator, scale)
    steps = None if mode == "mean" else 6
    intensity = Intensity(scale)
    options = {"noise": 0.0, "mode": mode, "steps": steps, "intensity": intensity}
    whole = super_resolve(y, operator, prior, **options)
    assert whole.extended is not None
    assert whole.residual.max() < 1e-6
    larger = margins.operator(operator)
    assert relative_residual(whole.extended, y, larger, margins).max() < 1e-6
    own = (slice(None), *margins.inside(operator))
    assert np.array_equal(whole.extended[own], whole.mean)
    restorer = Restorer(
        prior, Plan.of(prior, operator, 0.0, resolve_settings(prior, mode, steps), margins)
    )
    for i in range(len(y)):
        part = restorer(y[i : i + 1], intensity, numbers=[i])
        assert np.array_equal(part.mean, whole.mean[i : i + 1])
    one = restorer(y[0], intensity)
    assert np.array_equal(one.mean, whole.mean[0])
    assert one.extended is not None
    assert np.array_equal(one.extended, whole.extended[0])


def test_samples_and_complex_slices(tmp_path: Path, prior: CascadePrior) -> None:
    operator, y = operator_of((2, 2)), scene((1, 1))
    result = super_resolve(y, operator, prior, noise=0.05, mode=SHORT, samples=2, batch_size=3)
    assert result.std is not None
    assert result.std.shape == result.sample.shape == (4, 96, 112)
    complex_prior = CascadePrior.from_pretrained(write_random_prior(tmp_path, channels=2))
    turned = (y * np.exp(0.5j * y)).astype(np.complex64)
    result = super_resolve(turned, operator, complex_prior, noise=0.0)
    assert "margins" in result.settings
    assert result.residual.max() < 1e-6
    assert result.mean.dtype == np.complex64


def test_a_measurement_of_another_grid_is_refused(prior: CascadePrior) -> None:
    operator, y = operator_of((2, 2)), scene((1, 1))
    settings = resolve_settings(prior, "mean")
    restorer = Restorer(prior, Plan.of(prior, operator, 0.0, settings, Margins((4, 4))))
    assert restorer(y, Intensity.of(y)).mean.shape == (4, 96, 112)
    with pytest.raises(MRCascadeError, match=r"expected .*48, 56.*got .*56, 56"):
        restorer(Margins((4, 4)).extend(y), Intensity.of(y))


# ---- files ----


@pytest.mark.parametrize("kind", [np.float32, slow(np.int16)])
@pytest.mark.parametrize("samples", [1, 2])
def test_a_file_is_restored_as_its_slices_are(
    tmp_path: Path, prior: CascadePrior, kind: type, samples: int
) -> None:
    y = scene((1, 1), slices=5)
    data = np.moveaxis(1000 * y, 0, -1).astype(kind)
    path = tmp_path / "a.nii.gz"
    nib.Nifti1Image(data, np.diag([1, 1, 4, 1])).to_filename(path)
    said: list[str] = []
    mode = "mean" if samples == 1 else SHORT
    job = SuperResolution((2, 2), noise=0.0, mode=mode, samples=samples, axes="0,1", batch_size=2)
    written = super_resolve_file(
        path, tmp_path / "out", prior, job, say=said.append, progress=lambda _: lambda _: None
    )
    line = "the field of view cuts the anatomy; extended smoothly along axis 0 by 8 samples and"
    assert [line in text for text in said].count(True) == 1
    sidecar = json.loads(written[-1].read_text())
    assert sidecar["FieldOfView"].startswith(line)
    assert sidecar["Residual"] < 1e-6
    # Whole numbers between 500 and 2300 are off by 0.29 at the root mean square.
    assert sidecar["ResidualStored"] < (1e-6 if kind is np.float32 else 1e-3)
    stack = np.moveaxis(data, -1, 0).astype(np.float32)
    seed = input_seed(0, sidecar["SourceSHA256"])
    options = {"noise": 0.0, "mode": mode, "samples": samples, "batch_size": 2, "seed": seed}
    expected = super_resolve(stack, operator_of((2, 2)), prior, **options)
    result = np.moveaxis(read_image(written[0]).data, -1, 0)
    if kind is np.float32:
        assert np.array_equal(result, expected.mean)
    else:
        assert np.abs(result - expected.mean).max() <= 0.51


def test_evaluations_restore_with_the_margins_of_the_file(prior: CascadePrior) -> None:
    operator, y = operator_of((2, 2)), scene((1, 1))
    scale = robust_maximum(y)
    margins = find_margins(y, operator, scale)
    context = Context(
        y[1:3], (1, 2), operator, "fourier", scale, margins=margins, prior=prior, seed=3
    )
    expected = super_resolve(y, operator, prior, noise=0.0, seed=3)
    scored = METHODS["mean"].run(context)
    assert np.array_equal(scored.images, expected.mean[1:3])
    assert scored.residual is not None
    assert np.array_equal(scored.residual, expected.residual[1:3])
    plain = METHODS["mean"].run(replace(context, margins=NO_MARGINS))
    assert plain.residual is None


# ---- real images ----


@pytest.mark.slow
def test_real_images_cropped_in_k_space_and_in_the_image(data_folder: Path) -> None:
    """All steps of periodic data are kept, and mean gains where anatomy was cut in the image."""
    gains = []
    prior = as_prior("mr-small")
    settings = resolve_settings(prior, "mean")
    files = list_data(data_folder, pairs=False, complex_kspace=False)
    for file in [f for f in files if f.split == "test" and f.group in ("prostate", "abdomen")]:
        _, _, stack, acquired = read_slices(file)
        stack = centre_crop(fourier_crop(stack, file.matrix or acquired), (2, 2))
        operator = SeparableOperator.from_kernel("fourier", 2, stack.shape[1:])
        low = operator(torch.from_numpy(np.ascontiguousarray(stack))).numpy()
        scale = robust_maximum(low)
        assert find_margins(low, operator, scale) == NO_MARGINS, file.name
        sides = tuple(n // 4 for n in low.shape[1:])
        y, truth = (
            np.ascontiguousarray(
                s[:, k * sides[0] : 3 * k * sides[0], k * sides[1] : 3 * k * sides[1]]
            )
            for k, s in ((1, low), (2, stack))
        )
        cut = SeparableOperator.from_kernel("fourier", 2, truth.shape[1:])
        if not find_margins(y, cut, scale):
            continue
        middle = slice(len(y) // 2, len(y) // 2 + 1)
        found = find_margins(y, cut, scale)
        errors = [
            border_error(
                Restorer(prior, Plan.of(prior, cut, 0.0, settings, m))(
                    y[middle], Intensity(scale)
                ).mean,
                truth[middle],
            )
            for m in (NO_MARGINS, found)
        ]
        gains.append(20 * np.log10(errors[0] / errors[1]))
    assert len(gains) >= 3
    assert np.mean(gains) > 2
    assert min(gains) > 0
