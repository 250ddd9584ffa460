"""Labels and images on other grids, against exact answers and SimpleITK's resampler.

`SLACK` is how near to a tie or to an edge of the field of view this library takes a place for one,
because affines come from single precision. Translations are below 512 mm, other entries up to 3 mm,
indices up to 12 and voxels at least 0.4 mm: two times (256 + 3 * 12 * 3) units of 2^-24 over 0.4 mm
times sqrt(3) are below 2e-4 voxels. SimpleITK may decide otherwise there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import Image, Resampler, resample_onto, resampled_affine
from mrcascade.io.interpolation import METHODS

sitk = pytest.importorskip("SimpleITK")

SLACK = 2e-4
SHAPE, GRID = (9, 10, 7), (8, 7, 11)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TURNS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)
SKEWED = np.array([[0.7, 0.1, 0.3, 5], [-0.1, 0.9, 0.0, -7], [0.2, -0.2, 2.5, 3], [0, 0, 0, 1]])


def labels_of(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Regions of several voxels, of values with gaps and below 0."""
    coarse = rng.choice([-3, 0, 0, 2, 700], size=[-(-n // 2) for n in shape]).astype(np.int16)
    for axis in range(len(shape)):
        coarse = np.repeat(coarse, 2, axis)
    return coarse[tuple(slice(n) for n in shape)]


def itk(image: Image) -> object:
    """The image in SimpleITK, in the same place."""
    result = sitk.GetImageFromArray(image.data.transpose())
    affine = LPS @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    result.SetSpacing(spacing)
    result.SetDirection((affine[:3, :3] / spacing).ravel())
    result.SetOrigin(affine[:3, 3])
    return result


def itk_resampled(image: Image, like: Image, interpolator: int) -> np.ndarray:
    filter_ = sitk.ResampleImageFilter()
    filter_.SetReferenceImage(itk(like))
    filter_.SetInterpolator(interpolator)
    return sitk.GetArrayFromImage(filter_.Execute(itk(image))).transpose()


def places(image: Image, like: Image) -> np.ndarray:
    """Indices of the image at the voxels of the grid, (3, *grid)."""
    index = np.stack(np.meshgrid(*map(np.arange, like.shape[:3]), indexing="ij")).astype(float)
    transform = np.linalg.inv(image.affine) @ like.affine
    return np.tensordot(transform[:3, :3], index, 1) + transform[:3, 3, None, None, None]


def clear_of_edges(where: np.ndarray) -> np.ndarray:
    size = np.array(SHAPE)[:, None, None, None]
    return (np.minimum(abs(where + 0.5), abs(where - size + 0.5)) > SLACK).all(0)


@pytest.fixture(params=range(12))
def pair(request: pytest.FixtureRequest, random_affine: Callable, image_of: Callable) -> tuple:
    """Labels, and a grid of another affine about the same centre."""
    rng = np.random.default_rng(request.param)
    one, two = random_affine(rng), random_affine(rng)
    centre = one @ [*(np.array(SHAPE) / 2), 1] - two @ [*(np.array(GRID) / 2), 1]
    two[:3, 3] += centre[:3] + rng.normal(size=3)
    return image_of(labels_of(rng), one), image_of(np.zeros(GRID, np.float32), two)


def test_nearest_labels_are_simpleitks(pair: tuple) -> None:
    labels, like = pair
    where = places(labels, like)
    clear = clear_of_edges(where) & (abs(where - np.floor(where) - 0.5) > SLACK).all(0)
    assert clear.mean() > 0.9
    result = resample_onto(labels, like).data
    assert result.dtype == np.int16
    expected = itk_resampled(labels, like, sitk.sitkNearestNeighbor)
    assert len(np.unique(expected[clear])) > 1
    assert np.array_equal(result[clear], expected[clear])


def test_linear_labels_are_the_largest_of_simpleitks_indicators(
    pair: tuple, image_of: Callable
) -> None:
    labels, like = pair
    values = np.unique(labels.data)
    indicators = [image_of((labels.data == v).astype(np.float64), labels.affine) for v in values]
    shares = np.stack([itk_resampled(one, like, sitk.sitkLinear) for one in indicators])
    first, second = np.sort(shares, 0)[[-1, -2]]
    # A place moves by at most SLACK per axis, and a share by as much.
    clear = clear_of_edges(places(labels, like)) & ((first - second > 6 * SLACK) | (first == 0))
    assert clear.mean() > 0.8
    expected = np.where(first > 0, values[shares.argmax(0)], 0)
    assert np.array_equal(resample_onto(labels, like, "linear").data[clear], expected[clear])


def test_linear_images_are_simpleitks(pair: tuple, image_of: Callable) -> None:
    labels, like = pair
    image = image_of(np.random.default_rng(0).random(SHAPE).astype(np.float32), labels.affine)
    clear = clear_of_edges(places(image, like))
    result = resample_onto(image, like, "linear").data
    expected = itk_resampled(image, like, sitk.sitkLinear)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[clear], expected[clear], atol=1e-6)  # float32 of 0 to 1


def test_skewed_axes_count_as_they_are(image_of: Callable) -> None:
    rng = np.random.default_rng(3)
    labels = image_of(labels_of(rng), SKEWED)
    like = image_of(np.zeros(SHAPE, np.float32), SKEWED @ np.diag([0.9, 1.1, 1.0, 1.0]))
    where = places(labels, like)
    nearest = np.clip(np.rint(where).astype(int), 0, np.array(SHAPE)[:, None, None, None] - 1)
    inside = (where < np.array(SHAPE)[:, None, None, None] - 0.5).all(0)
    clear = clear_of_edges(where) & (abs(where - np.floor(where) - 0.5) > SLACK).all(0)
    expected = np.where(inside, labels.data[tuple(nearest)], 0)
    assert np.array_equal(resample_onto(labels, like).data[clear], expected[clear])


@pytest.mark.parametrize("method", METHODS)
def test_turned_and_shifted_grids_are_exact(
    method: str, random_affine: Callable, image_of: Callable
) -> None:
    rng = np.random.default_rng(1)
    affine = random_affine(rng).astype(np.float32).astype(np.float64)
    for data in (labels_of(rng), rng.normal(size=SHAPE).astype(np.float32)):
        data[2:5] = 0
        image = image_of(data, affine)
        for order, signs in TURNS:
            turn = np.eye(4)[:, [*order, 3]]
            step = tuple(slice(None, None, s) for s in signs)
            for axis, s in enumerate(signs):
                if s < 0:
                    turn[:3, 3] += turn[:3, axis] * (SHAPE[order[axis]] - 1)
                    turn[:3, axis] *= -1
            placed = (affine @ turn).astype(np.float32).astype(np.float64)  # as in a file
            expected = data.transpose(order)[step]
            like = image_of(np.zeros(expected.shape, np.float32), placed)
            assert np.array_equal(resample_onto(image, like, method).data, expected)
        moved = affine.copy()
        moved[:3, 3] += affine[:3, :3] @ [2, -1, 3]
        result = resample_onto(image, image_of(data, moved), method).data
        expected = np.zeros_like(data)
        expected[:-2, 1:, :-3] = data[2:, :-1, 3:]
        assert np.array_equal(result, expected)


@pytest.mark.parametrize("kernel", ["fourier", "area"])
@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("method", METHODS)
def test_labels_come_back_from_a_finer_grid(
    kernel: str, factor: int, method: str, random_affine: Callable, image_of: Callable
) -> None:
    """A voxel of the original holds `factor` fine ones with its label, or the middle of them."""
    rng = np.random.default_rng(factor)
    affine, axes = random_affine(rng), (2, 0)
    labels = image_of(labels_of(rng), affine)
    fine = [SHAPE[a] * factor for a in axes]
    shape = tuple(fine[axes.index(a)] if a in axes else n for a, n in enumerate(SHAPE))
    grid = resampled_affine(affine, axes, kernel, (SHAPE[2], SHAPE[0]), (fine[0], fine[1]))
    enlarged = resample_onto(labels, image_of(np.zeros(shape, np.float32), grid))
    assert enlarged.shape == shape
    if method == "nearest" or kernel == "area":
        assert np.array_equal(resample_onto(enlarged, labels, method).data, labels.data)
    if kernel == "area":  # whose edges meet
        repeated = labels.data.repeat(factor, 0).repeat(factor, 2)
        assert np.array_equal(enlarged.data, repeated)


def thick(data: np.ndarray, step: tuple[int, int, int]) -> np.ndarray:
    """(voxels of the thick grid, fine voxels in each)."""
    sizes = [s for n, f in zip(data.shape, step, strict=True) for s in (n // f, f)]
    split = data.reshape(sizes).transpose(0, 2, 4, 1, 3, 5)
    return split.reshape(*split.shape[:3], -1)


def test_the_mean_over_thick_slices(random_affine: Callable, image_of: Callable) -> None:
    rng = np.random.default_rng(7)
    step, shape = (1, 2, 4), (5, 8, 12)
    fine = random_affine(rng)
    coarse = fine @ np.diag([*step, 1.0])
    coarse[:3, 3] += fine[:3, :3] @ (np.array(step) - 1) / 2  # the edges meet
    like = image_of(np.zeros((5, 4, 3), np.float32), coarse)
    image = image_of(rng.random(shape).astype(np.float32), fine)
    expected = thick(image.data, step).astype(np.float64).mean(-1)
    np.testing.assert_allclose(resample_onto(image, like, "mean").data, expected, rtol=1e-6)
    labels = image_of(rng.integers(0, 4, shape), fine)
    counts = np.stack([(thick(labels.data, step) == v).sum(-1) for v in range(4)])
    assert (np.sort(counts, 0)[-1] == np.sort(counts, 0)[-2]).any()  # there are ties
    assert np.array_equal(resample_onto(labels, like, "mean").data, counts.argmax(0))


def test_ties_go_to_the_smaller_index_and_the_smaller_label(image_of: Callable) -> None:
    labels = image_of(np.array([5, 3, 3, 9], np.uint8).reshape(4, 1, 1), np.eye(4))
    between = np.eye(4)
    between[0, 3] = -0.5
    like = image_of(np.zeros((5, 1, 1), np.float32), between)
    assert resample_onto(labels, like).data.ravel().tolist() == [5, 5, 3, 3, 9]
    assert resample_onto(labels, like, "linear").data.ravel().tolist() == [5, 3, 3, 3, 9]


def test_large_labels_are_not_rounded(image_of: Callable) -> None:
    for kind, value in ((np.int32, 2**31 - 1), (np.int64, 2**53 + 1), (np.uint64, 2**64 - 1)):
        data = np.array([0, value, value - 1], kind).reshape(3, 1, 1)
        image = image_of(data, np.eye(4))
        for method in METHODS:
            result = resample_onto(image, image, method).data
            assert result.dtype == kind
            assert np.array_equal(result, data)


def test_a_fourth_axis_stays_and_windows_fit_together(image_of: Callable) -> None:
    rng = np.random.default_rng(5)
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    like = image_of(np.zeros((12, 11, 9), np.float32), np.diag([0.7, 1.0, 1.3, 1.0]))
    series = np.stack([labels_of(rng) for _ in range(3)], -1)
    for method in METHODS:
        whole = resample_onto(image_of(series, affine), like, method).data
        assert whole.shape == (12, 11, 9, 3)
        for volume in range(3):
            alone = resample_onto(image_of(series[..., volume], affine), like, method).data
            assert np.array_equal(whole[..., volume], alone)
        work = Resampler(image_of(series, affine), like, method)
        window = (slice(3, 12), slice(0, 7), slice(4, 5), slice(1, 3))
        assert np.array_equal(work.window(window), whole[window])


def test_slices_have_a_thickness(image_of: Callable) -> None:
    image = image_of(np.arange(1, 7, dtype=np.uint8).reshape(2, 3), np.diag([1.0, 1, 5, 1]))
    like = image_of(np.zeros((2, 3, 7), np.float32), np.eye(4))  # z from 0 to 6 mm
    result = resample_onto(image, like).data
    assert np.array_equal(result[..., :3], np.repeat(image.data[..., None], 3, 2))
    assert not result[..., 3:].any()
    back = resample_onto(image_of(result, np.eye(4)), image)
    assert back.shape == (2, 3)
    assert np.array_equal(back.data, image.data)


def test_what_is_lost_is_counted(image_of: Callable) -> None:
    data = np.zeros((4, 4, 4), np.uint8)
    data[0, 0, 0], data[3, 3, :] = 1, 2
    like = image_of(np.zeros((4, 4, 2), np.float32), np.diag([1.0, 1.0, 1.0, 1.0]))
    like.affine[2, 3] = 1.0
    work = Resampler(image_of(data, np.eye(4)), like)
    work.window((slice(0, 4), slice(0, 4), slice(0, 2)))
    assert work.regions == [1, 2]
    assert work.lost == [1]
    assert work.labelled_outside() == 3 / 5
    assert work.inside == 32


def test_refusals(image_of: Callable) -> None:
    data = np.zeros((4, 4, 4), np.float32)
    image, away = image_of(data, np.eye(4)), np.eye(4)
    away[0, 3] = 4.0
    many = image_of(np.arange(5000, dtype=np.int16).reshape(50, 100, 1), np.eye(4))
    for one, like, method, words in (
        (image_of(data), image, "linear", "memory does not say where its voxels lie"),
        (image, image_of(data), "linear", "memory does not say where its voxels lie"),
        (image_of(data + 1j, np.eye(4)), image, "linear", "is complex"),
        (image, image_of(data, away), "linear", "have no place in common"),
        (image, image, "cubic", "choose one of nearest, linear, mean"),
        (many, many, "linear", "5000 different values, which is no segmentation"),
    ):
        with pytest.raises(MRCascadeError, match=words):
            resample_onto(one, like, method)
    assert np.array_equal(resample_onto(many, many).data, many.data)
