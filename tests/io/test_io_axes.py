"""Which axes are in-plane, their names, and volumes as stacks of slices."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from mrcascade.errors import MRCascadeError
from mrcascade.io import choose_axes, from_slices, plane_name, to_slices


def rotation(axis: int, degrees: float) -> np.ndarray:
    """Right-handed turn about a world axis, as a (4, 4) matrix."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(4)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def spaced(*spacing: float) -> np.ndarray:
    return np.diag([*spacing, 1.0])


# Array axes along the world's (right, anterior, superior) in some order: a permutation matrix.
ORDERS = [np.eye(4)[:, [*order, 3]] for order in permutations(range(3))]


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize("order", ORDERS)
def test_the_two_finest_axes_of_an_anisotropic_volume(
    slice_axis: int, order: np.ndarray, image_of: Callable, ramp: Callable
) -> None:
    spacing = [0.7, 0.7, 0.7]
    spacing[slice_axis] = 3.0
    image = image_of(ramp(4, 5, 6), order @ spaced(*spacing))
    expected = tuple(a for a in range(3) if a != slice_axis)
    assert choose_axes(image) == expected
    along = int(np.argmax(order[:3, slice_axis]))  # the world axis that the slices follow
    assert plane_name(image, expected) == ("sagittal", "coronal", "axial")[along]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.09, 1.05), (1.09, 1.0, 1.0)])
@pytest.mark.parametrize("turn", [(0, 20.0), (1, -35.0), (2, 70.0)])
@pytest.mark.parametrize("flip", [1, -1])
def test_isotropic_volumes_are_cut_into_axial_slices(
    order: np.ndarray,
    spacing: tuple[float, float, float],
    turn: tuple[int, float],
    flip: int,
    image_of: Callable,
    ramp: Callable,
) -> None:
    affine = rotation(*turn) @ np.diag([1, 1, flip, 1]) @ order @ spaced(*spacing)
    image = image_of(ramp(4, 5, 6), affine)
    superior = int(np.argmax(order[2, :3]))  # turns below 45 degrees do not change the nearest
    assert choose_axes(image) == tuple(a for a in range(3) if a != superior)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        # Array axes are R, A, S. 10 % is the line between isotropic (axial) and anisotropic.
        ((1.09, 1.0, 1.0), (0, 1)),
        ((1.11, 1.0, 1.0), (1, 2)),
        ((1.0, 1.11, 1.0), (0, 2)),
        ((1.0, 2.0, 2.0), (1, 2)),  # square pixels, thinner slices
        ((2.0, 2.0, 1.0), (0, 1)),
        ((1.0, 3.0, 1.5), (0, 2)),  # no square pixels: the coarsest axis
    ],
)
def test_spacing_decides(
    spacing: tuple, expected: tuple, image_of: Callable, ramp: Callable
) -> None:
    assert choose_axes(image_of(ramp(4, 5, 6), spaced(*spacing))) == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 5), (0, 1)),
        ((6, 5, 4), (0, 1)),
        ((3, 6, 5), (0, 1)),
        ((1, 6, 5), (1, 2)),
        ((6, 1, 5), (0, 2)),
        ((6, 5, 1), (0, 1)),
        ((6, 5, 4, 3), (0, 1)),
        ((6, 5, 1, 3), (0, 1)),
    ],
)
def test_without_geometry_slices_are_axis_2(
    shape: tuple[int, ...], expected: tuple[int, int], image_of: Callable, ramp: Callable
) -> None:
    image = image_of(ramp(*shape))
    assert choose_axes(image) == expected
    assert plane_name(image, expected) == "unknown"
    assert image.spacing == (1.0,) * min(len(shape), 3)


def test_size_one_axes_are_never_in_plane(image_of: Callable, ramp: Callable) -> None:
    image = image_of(ramp(1, 6, 5), spaced(0.5, 1.0, 4.0))  # the finest axis has one sample
    assert choose_axes(image) == (1, 2)


@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (1, 6, 1), (1, 1, 6, 4)])
def test_a_line_of_voxels_has_no_plane(
    shape: tuple[int, ...], image_of: Callable, ramp: Callable
) -> None:
    with pytest.raises(MRCascadeError, match=r"^memory .*single line of voxels.*at least two axes"):
        choose_axes(image_of(ramp(*shape)))


@pytest.mark.parametrize(
    ("override", "expected"),
    [("0,2", (0, 2)), (" 1, 2 ", (1, 2)), ((0, 2), (0, 2)), ("2,0", (2, 0)), ((2, 1), (2, 1))],
)
def test_the_user_can_override(
    override: str | tuple[int, int], expected: tuple[int, int], image_of: Callable, ramp: Callable
) -> None:
    assert choose_axes(image_of(ramp(4, 5, 6), spaced(1, 1, 5)), override) == expected


@pytest.mark.parametrize(
    ("override", "shape", "problem"),
    [
        ("rows", (4, 5, 6), "are not two different axis numbers"),
        ("", (4, 5, 6), "are not two different axis numbers"),
        ("1", (4, 5, 6), "are not two different axis numbers"),
        ("0,1,2", (4, 5, 6), "are not two different axis numbers"),
        ("1,1", (4, 5, 6), "are not two different axis numbers"),
        ((1,), (4, 5, 6), "are not two different axis numbers"),
        ("0,3", (4, 5, 6), "are not both spatial axes"),
        ("-1,0", (4, 5, 6), "are not both spatial axes"),
        ((0, 3), (4, 5, 6, 7), "are not both spatial axes"),
        ("0,2", (4, 5), "are not both spatial axes"),
        ("0,1", (4, 1, 6), "name an axis of size 1"),
    ],
)
def test_bad_overrides(
    override: str | tuple[int, ...],
    shape: tuple[int, ...],
    problem: str,
    image_of: Callable,
    ramp: Callable,
) -> None:
    with pytest.raises(MRCascadeError, match=problem) as caught:
        choose_axes(image_of(ramp(*shape)), override)
    message = str(caught.value)
    assert "memory" in message
    assert "give two of" in message
    assert "\n" not in message


@pytest.mark.parametrize(("degrees", "name"), [(0, "axial"), (29, "axial"), (31, "oblique")])
def test_plane_names_up_to_30_degrees(
    degrees: float, name: str, image_of: Callable, ramp: Callable
) -> None:
    image = image_of(ramp(4, 5, 6), rotation(0, degrees) @ spaced(0.5, 0.9, 5.0))
    assert choose_axes(image) == (0, 1)
    assert plane_name(image, (0, 1)) == name


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6), (4, 5, 6, 3)])
def test_slices_and_back(shape: tuple[int, ...], image_of: Callable, ramp: Callable) -> None:
    image = image_of(ramp(*shape))
    for axes in permutations(range(min(len(shape), 3)), 2):
        stack = to_slices(image, axes)
        assert stack.shape[1:] == (shape[axes[0]], shape[axes[1]])
        assert stack.flags.c_contiguous
        assert stack.dtype == image.data.dtype
        assert not np.shares_memory(stack, image.data)
        np.testing.assert_array_equal(from_slices(stack, image, axes), image.data)


def test_which_slice_is_which(image_of: Callable, ramp: Callable) -> None:
    image = image_of(ramp(4, 5, 6, 3))
    stack = to_slices(image, (0, 1))
    for t in range(3):
        for s in range(6):
            np.testing.assert_array_equal(stack[t * 6 + s], image.data[:, :, s, t])
    swapped = to_slices(image, (2, 0))
    np.testing.assert_array_equal(swapped[1 * 5 + 4], image.data[:, 4, :, 1].T)


@pytest.mark.parametrize("axes", list(permutations(range(3), 2)))
def test_new_in_plane_sizes_go_to_the_right_axes(
    axes: tuple[int, int], image_of: Callable, ramp: Callable
) -> None:
    image = image_of(ramp(4, 5, 6, 3))
    grown = np.repeat(np.repeat(to_slices(image, axes), 2, axis=1), 3, axis=2)
    expected = np.repeat(np.repeat(image.data, 2, axis=axes[0]), 3, axis=axes[1])
    np.testing.assert_array_equal(from_slices(grown, image, axes), expected)


def test_complex_slices_stay_complex(image_of: Callable, ramp: Callable) -> None:
    image = image_of((ramp(4, 5, 6) * (1 + 2j)).astype(np.complex64))
    stack = to_slices(image, (0, 2))
    assert stack.dtype == np.complex64
    np.testing.assert_array_equal(from_slices(stack, image, (0, 2)), image.data)


@pytest.mark.parametrize("shape", [(5, 4, 5), (6, 4, 5, 1), (4, 5)])
def test_a_stack_of_another_length_is_refused(
    shape: tuple[int, ...], image_of: Callable, ramp: Callable
) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        from_slices(np.zeros(shape, np.float32), image_of(ramp(4, 5, 6)), (0, 1))
