"""The output's geometry, against independent resamplers in world coordinates.

A blob of known world position is put on a low-resolution grid of a random affine: in every one of
three equal slices a Gaussian of SIGMA = 2 voxels, at least 6.3 SIGMA from every border, so that
nothing is lost at the edges (exp(-6.3^2 / 2) = 2e-9). Its spectrum at the sampling frequency is
exp(-2 pi^2 SIGMA^2) = 5e-35 and at the Nyquist limit exp(-pi^2 SIGMA^2 / 2) = 3e-9: sums over
samples equal integrals, and the grid carries it whole. Every kernel resamples with weights that
sum to one and that lie symmetrically about the new sample, so the centroid must not move in the
world. All errors together stay below TOLERANCE = 1e-6 voxels, 1e5 times less than the shift from
mixed-up rules.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from affines import random_affine
from scipy import ndimage, signal
from tests.quick import each, slow_but

from mrcascade.io import resampled_affine, write_image
from mrcascade.operators import KERNELS, down_matrix, up_matrix

SIGMA = 2.0
ROWS, COLUMNS, SLICES = 32, 28, 3
CENTRE = (15.3, 13.4, 1.0)  # voxels along rows, columns and slices of the low-resolution grid
TOLERANCE = 1e-6
SEEDS = range(30)
PLANES = list(itertools.permutations(range(3), 2))
FACTORS = [(2.0, 2.0), (4.0, 2.0), (1.5, 1.0)]

LAS = np.diag([-1.0, 1.0, 1.0, 1.0])
NAMED_AFFINES = {
    "identity": np.eye(4),
    "LAS": LAS,
    "LAS, unequal spacing": LAS @ np.diag([0.5, 0.9, 5.0, 1.0]),
    "axes out of order": np.eye(4)[[2, 0, 1, 3]] @ np.diag([1.0, 2.0, 0.7, 1.0]),
}


@dataclass(frozen=True)
class Case:
    """A low-resolution grid, which two of its axes are resampled, and by how much."""

    affine: np.ndarray
    axes: tuple[int, int]
    factors: tuple[float, float]

    @property
    def before(self) -> tuple[int, int]:
        return ROWS, COLUMNS

    @property
    def after(self) -> tuple[int, int]:
        return round(ROWS * self.factors[0]), round(COLUMNS * self.factors[1])

    def in_array_order(self, rows: float, columns: float, slices: float) -> np.ndarray:
        result = np.full(3, slices)
        result[list(self.axes)] = rows, columns
        return result

    @property
    def truth(self) -> np.ndarray:
        """World position of the blob's centre."""
        return self.affine[:3, :3] @ self.in_array_order(*CENTRE) + self.affine[:3, 3]

    def blob(self, in_plane: tuple[int, int], grid: np.ndarray) -> np.ndarray:
        """The continuous blob, a function of world position, on the grid of affine `grid`."""
        shape = self.in_array_order(*in_plane, SLICES).astype(int)
        index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
        to_coarse = np.linalg.inv(self.affine) @ grid
        voxel = np.tensordot(to_coarse[:3, :3], index, 1) + to_coarse[:3, 3, None, None, None]
        distances = [voxel[axis] - c for axis, c in zip(self.axes, CENTRE, strict=False)]
        return np.exp(-0.5 * (distances[0] ** 2 + distances[1] ** 2) / SIGMA**2)

    def resample(self, method: Callable, data: np.ndarray, sizes: tuple[int, int]) -> np.ndarray:
        """`method(data, axis, size)` along both in-plane axes."""
        for axis, size in zip(self.axes, sizes, strict=True):
            data = method(data, axis, size)
        return data

    def in_voxels(self, displacement: np.ndarray) -> np.ndarray:
        """A world displacement in voxels of the low-resolution grid."""
        return np.linalg.solve(self.affine[:3, :3], displacement)


def random_case(seed: int) -> Case:
    axes = PLANES[seed % len(PLANES)]
    factors = FACTORS[seed // len(PLANES) % len(FACTORS)]
    return Case(random_affine(np.random.default_rng(seed)), axes, factors)


every_case = each(
    "case",
    {f"seed {seed}": partial(random_case, seed) for seed in SEEDS}
    | {name: partial(Case, a, (0, 1), (2.0, 2.0)) for name, a in NAMED_AFFINES.items()},
)


def centroid(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """World position of the centre of mass."""
    index = np.stack(np.meshgrid(*map(np.arange, data.shape), indexing="ij"))
    voxel = (index * data).sum((1, 2, 3)) / data.sum()
    return affine[:3, :3] @ voxel + affine[:3, 3]


def fourier(data: np.ndarray, axis: int, size: int) -> np.ndarray:
    return signal.resample(data, size, axis=axis)


def zoom(order: int) -> Callable:
    """scipy's splines on the grid of the same field-of-view edges."""

    def method(data: np.ndarray, axis: int, size: int) -> np.ndarray:
        factors = np.ones(data.ndim)
        factors[axis] = size / data.shape[axis]
        return ndimage.zoom(data, factors, order=order, mode="nearest", grid_mode=True)

    return method


def matrices(make: Callable, kernel: str) -> Callable:
    """The project's own operator along one axis."""

    def method(data: np.ndarray, axis: int, size: int) -> np.ndarray:
        fine, coarse = max(size, data.shape[axis]), min(size, data.shape[axis])
        matrix = make(kernel, fine, coarse)
        return np.moveaxis(np.tensordot(matrix, data, (1, axis)), 0, axis)

    return method


UPSAMPLERS = {"fourier": fourier, "area": zoom(order=1), "bicubic": zoom(order=3)}


@pytest.mark.parametrize("kernel", UPSAMPLERS)
@every_case
def test_scipy_upsampling_keeps_the_blob_in_place(case: Case, kernel: str) -> None:
    coarse = case.blob(case.before, case.affine)
    fine = case.resample(UPSAMPLERS[kernel], coarse, case.after)
    grid = resampled_affine(case.affine, case.axes, kernel, case.before, case.after)
    assert np.abs(case.in_voxels(centroid(fine, grid) - case.truth)).max() < TOLERANCE


@pytest.mark.parametrize("kernel", KERNELS)
@every_case
def test_the_up_operators_keep_the_blob_in_place(case: Case, kernel: str) -> None:
    coarse = case.blob(case.before, case.affine)
    fine = case.resample(matrices(up_matrix, kernel), coarse, case.after)
    grid = resampled_affine(case.affine, case.axes, kernel, case.before, case.after)
    assert np.abs(case.in_voxels(centroid(fine, grid) - case.truth)).max() < TOLERANCE


@pytest.mark.parametrize("kernel", KERNELS)
@every_case
def test_the_down_operators_keep_the_blob_in_place(case: Case, kernel: str) -> None:
    fine_grid = resampled_affine(case.affine, case.axes, "fourier", case.before, case.after)
    fine = case.blob(case.after, fine_grid)
    coarse = case.resample(matrices(down_matrix, kernel), fine, case.before)
    grid = resampled_affine(fine_grid, case.axes, kernel, case.after, case.before)
    assert np.abs(case.in_voxels(centroid(coarse, grid) - case.truth)).max() < TOLERANCE


@every_case
def test_fourier_values_agree_at_world_points(case: Case) -> None:
    """Both grids, read at the same random world positions, give the same values.

    Quintic splines: error <= 2.3e-5 * max|sixth derivative| per axis in L2 (15 / SIGMA^6 = 0.23
    for the Gaussian): 5.4e-6 per axis, 1.1e-5 for both axes, twice that for two grids. The
    maximum norm's constant is larger, by less than a factor of 3.
    """
    coarse = case.blob(case.before, case.affine)
    fine = case.resample(fourier, coarse, case.after)
    offsets = np.random.default_rng(7).normal(0, SIGMA, (2, 200))
    points = [case.in_array_order(*(CENTRE[:2] + o), CENTRE[2]) for o in offsets.T]
    world = case.affine[:3, :3] @ np.transpose(points) + case.affine[:3, 3:]

    def read(data: np.ndarray, grid: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(grid)
        return ndimage.map_coordinates(
            data, inverse[:3, :3] @ world + inverse[:3, 3:], order=5, mode="mirror"
        )

    right, wrong = (
        resampled_affine(case.affine, case.axes, kernel, case.before, case.after)
        for kernel in ("fourier", "area")
    )
    assert np.abs(read(coarse, case.affine) - read(fine, right)).max() < 7e-5
    # A quarter of a voxel (a sixth at f = 1.5) times the steepest slope, exp(-1/2) / SIGMA = 0.3.
    assert np.abs(read(coarse, case.affine) - read(fine, wrong)).max() > 0.02


@every_case
def test_fourier_values_are_the_blob_on_the_new_grid(case: Case) -> None:
    """Zero filling of a band-limited, periodic function is that function on the finer grid."""
    fine = case.resample(fourier, case.blob(case.before, case.affine), case.after)
    grid = resampled_affine(case.affine, case.axes, "fourier", case.before, case.after)
    # What lies beyond the Nyquist limit, 3e-9 of the peak at its edge, is aliased and missing,
    # on both sides and along two axes; what the borders cut off (7e-10) is smaller.
    assert np.abs(fine - case.blob(case.after, grid)).max() < 1e-7


@every_case
def test_area_values_are_means_over_the_new_voxels(case: Case) -> None:
    """Downsampling: each new value is the mean of the samples inside its voxel's world extent."""
    fine = case.blob(case.before, case.affine)

    def halve(data: np.ndarray, axis: int, size: int) -> np.ndarray:
        return data.reshape(*data.shape[:axis], size, 2, *data.shape[axis + 1 :]).mean(axis + 1)

    half = ROWS // 2, COLUMNS // 2
    coarse = case.resample(halve, fine, half)
    grid = resampled_affine(case.affine, case.axes, "area", case.before, half)
    # The four fine samples of a coarse voxel lie a quarter of its side from its centre.
    expected = np.zeros_like(coarse)
    for offset in itertools.product((-0.25, 0.25), repeat=2):
        shifted = grid.copy()
        shifted[:3, 3] += grid[:3, list(case.axes)] @ offset
        expected += case.blob(half, shifted) / 4
    np.testing.assert_allclose(coarse, expected, rtol=0, atol=1e-12)  # float64 rounding alone


@every_case
def test_mixing_the_rules_shifts_the_image(case: Case) -> None:
    """By (f - 1) / (2 f) low-resolution voxels along each in-plane axis."""
    edge, origin = (
        resampled_affine(case.affine, case.axes, kernel, case.before, case.after)
        for kernel in ("area", "fourier")
    )
    expected = case.in_array_order(*((f - 1) / (2 * f) for f in case.factors), 0.0)
    # The blob, upsampled by the one rule and placed by the other, is seen to be off by as much.
    fine = case.resample(fourier, case.blob(case.before, case.affine), case.after)
    seen = case.in_voxels(centroid(fine, edge) - case.truth)
    np.testing.assert_allclose(seen, -expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(
        case.in_voxels(edge[:3, 3] - origin[:3, 3]), -expected, rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(edge[:3, :3], origin[:3, :3])


@pytest.mark.parametrize("kernel", ["area", "bicubic"])
@every_case
def test_edge_kernels_keep_the_corners_of_the_field_of_view(case: Case, kernel: str) -> None:
    grid = resampled_affine(case.affine, case.axes, kernel, case.before, case.after)
    for corner in itertools.product((0, 1), repeat=3):
        old = case.in_array_order(*(np.array(corner) * (*case.before, SLICES) - 0.5))
        new = case.in_array_order(*(np.array(corner) * (*case.after, SLICES) - 0.5))
        np.testing.assert_allclose(
            case.affine[:3, :3] @ old + case.affine[:3, 3],
            grid[:3, :3] @ new + grid[:3, 3],
            rtol=0,
            atol=1e-11,  # millimetres; float64 rounding of positions up to 400 mm
        )


@pytest.mark.parametrize("kernel", KERNELS)
@every_case
def test_up_after_down_is_the_original_grid(case: Case, kernel: str) -> None:
    shapes = (30, 28), (13, 14)  # a factor that is not whole: sizes, not factors, decide
    down = resampled_affine(case.affine, case.axes, kernel, *shapes)
    up = resampled_affine(down, case.axes, kernel, *reversed(shapes))
    np.testing.assert_allclose(up, case.affine, rtol=0, atol=1e-11)


def test_the_input_is_left_alone_and_unknown_kernels_are_refused() -> None:
    affine = np.eye(4)
    resampled_affine(affine, (0, 1), "area", (4, 4), (8, 8))
    np.testing.assert_array_equal(affine, np.eye(4))
    with pytest.raises(ValueError, match="lanczos"):
        resampled_affine(affine, (0, 1), "lanczos", (4, 4), (8, 8))


@pytest.mark.parametrize("kernel", slow_but(KERNELS, "fourier", "area"))
def test_another_library_sees_the_blob_in_place(
    kernel: str, image_of: Callable, tmp_path: Path
) -> None:
    """50 grids and planes, enlarged, written and read by SimpleITK, which knows LPS positions.

    SimpleITK reads NIfTI's quaternion, whose float32 numbers tell an angle to 6e-8 / sin(angle / 2)
    and, near half a turn, to sqrt(2 * 6e-8) = 3.5e-4 only: 0.006 voxels at the blob, 18 voxels away
    in plane, as one of 200 shows. Elsewhere positions are rounded by 2e-5 mm in 0.4 mm voxels.
    """
    sitk = pytest.importorskip("SimpleITK")
    to_lps = np.diag([-1.0, -1.0, 1.0])
    path, number = tmp_path / "result.nii", sorted(KERNELS).index(kernel)
    worst = []
    for seed in range(1000 + 50 * number, 1050 + 50 * number):
        case = Case(
            random_affine(np.random.default_rng(seed)),
            PLANES[seed % len(PLANES)],
            FACTORS[seed % len(FACTORS)],
        )
        coarse = case.blob(case.before, case.affine)
        fine = case.resample(matrices(up_matrix, kernel), coarse, case.after)
        grid = resampled_affine(case.affine, case.axes, kernel, case.before, case.after)
        write_image(image_of(fine.astype(np.float32), grid), path, overwrite=True)
        image = sitk.ReadImage(str(path))
        pixels = sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float64)
        index = np.stack(np.meshgrid(*map(np.arange, pixels.shape), indexing="ij"))
        centre = (index * pixels).sum((1, 2, 3)) / pixels.sum()
        seen = np.array(image.TransformContinuousIndexToPhysicalPoint(centre.tolist()))
        worst.append(np.abs(case.in_voxels(to_lps @ seen - case.truth)).max())
    assert max(worst) < 0.01
    assert sorted(worst)[-2] < 1e-3
