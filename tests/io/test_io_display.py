"""Radiological display: the orientation of a drawn slice, by hand and by nibabel."""

from collections.abc import Callable
from functools import partial
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from tests.quick import each

from mrcascade.io import AS_STORED, Display, Image, choose_axes, display_of, plane_steps

DICOM_AXIAL = np.diag([-0.5, -0.5, 3.0, 1.0])  # index (column, row, slice) of LPS directions


def affine_of(codes: str, spacing: tuple[float, float, float] = (1, 1, 1)) -> np.ndarray:
    """Affine whose array axes run towards the sides that ``codes`` name, such as "LPI"."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(codes):
        world = next(w for w, pair in enumerate(("LR", "PA", "IS")) if code in pair)
        affine[world, axis] = spacing[axis] * (1 if code in "RAS" else -1)
    return affine


def turned(affine: np.ndarray, degrees: float, axis: int) -> np.ndarray:
    """``affine`` after a right-handed turn about a world axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(4)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix @ affine


# The corner of the array that lies at the patient's left, anterior and superior, and the planes,
# written down by hand.
@pytest.mark.parametrize(
    ("codes", "corner"),
    [
        ("RAS", (0, -1, -1)),
        ("LAS", (-1, -1, -1)),
        ("LPI", (-1, 0, 0)),
        ("RPI", (0, 0, 0)),
        ("PSR", (0, -1, 0)),
        ("SLA", (-1, -1, -1)),
        ("AIL", (-1, 0, -1)),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_left_anterior_superior_corner_is_where_radiologists_look_for_it(
    codes: str, corner: tuple[int, int, int], swapped: bool, image_of: Callable
) -> None:
    data = np.zeros((4, 5, 6), np.float32)
    data[corner] = 1
    image = image_of(data, affine_of(codes))
    for through in range(3):
        rows, columns = (a for a in range(3) if a != through)
        axes = (columns, rows) if swapped else (rows, columns)
        plane = np.take(data, corner[through], axis=through)
        display = display_of(image, axes)
        shown = display.turn(plane.T if swapped else plane)
        sides = display.left, display.right, display.top, display.bottom
        if codes[through] in "SI":  # axial: left on the right, anterior at the top
            assert shown[0, -1] == 1
            assert sides == ("R", "L", "A", "P")
        elif codes[through] in "AP":  # coronal: left on the right, superior at the top
            assert shown[0, -1] == 1
            assert sides == ("R", "L", "S", "I")
        else:  # sagittal: anterior on the left, superior at the top
            assert shown[0, 0] == 1
            assert sides == ("A", "P", "S", "I")
        assert shown.sum() == 1


def test_rows_and_columns_of_dicom_are_shown_as_they_are(image_of: Callable) -> None:
    """An axial series, whose array is (columns, rows, slices), is stored the way it is read."""
    image = image_of(np.zeros((4, 5, 6), np.float32), DICOM_AXIAL)
    display = display_of(image, (1, 0))
    assert display == Display(((0, 1), (1, 1)), "R", "L", "A", "P", 1.0)
    across = display_of(image, (0, 1))
    assert across.orientation == ((1, 1), (0, 1))
    plane = np.arange(20).reshape(4, 5)
    np.testing.assert_array_equal(across.turn(plane), plane.T)
    np.testing.assert_array_equal(display.turn(plane.T), plane.T)


def test_las_by_hand(image_of: Callable) -> None:
    """x index runs to the left, y index to the front: the picture is the transpose, upside down."""
    display = display_of(image_of(np.zeros((2, 3, 4), np.float32), affine_of("LAS")), (0, 1))
    assert display.orientation == ((1, 1), (0, -1))
    np.testing.assert_array_equal(
        display.turn(np.array([[1, 2, 3], [4, 5, 6]])), [[3, 6], [2, 5], [1, 4]]
    )


STORED = {
    f"{order} {signs}": partial(np.matmul, affine_of("".join(order)), np.diag([*signs, 1.0]))
    for order, signs in product(permutations("RAS"), product([1, -1], repeat=3))
}


@each("stored", STORED)
@pytest.mark.parametrize("turn", [(0, 0.0), (0, 25.0), (1, -30.0), (2, 40.0)])
def test_agrees_with_nibabel(
    stored: np.ndarray, turn: tuple[int, float], image_of: Callable
) -> None:
    """`aff2axcodes` looks at all three axes at once; below 45 degrees both must say the same."""
    affine = turned(stored, turn[1], turn[0])
    image = image_of(np.zeros((4, 5, 6), np.float32), affine)
    codes = nib.aff2axcodes(affine)
    for axes in permutations(range(3), 2):
        display = display_of(image, axes)
        ends = {0: (display.top, display.bottom), 1: (display.left, display.right)}
        for axis, (picture, direction) in zip(axes, display.orientation, strict=True):
            assert ends[picture][direction > 0] == codes[axis]
        # And the picture itself, with an affine made by nibabel.
        through = 3 - sum(axes)
        ornt = np.zeros((3, 2))
        ornt[list(axes)] = display.orientation
        ornt[through] = 2, 1
        shown = affine @ nib.orientations.inv_ornt_aff(ornt, image.shape)
        expected = {"S": "PL", "I": "PL", "A": "IL", "P": "IL", "R": "IP", "L": "IP"}
        assert "".join(nib.aff2axcodes(shown)[:2]) == expected[codes[through]]


@pytest.mark.parametrize(
    ("degrees", "top", "bottom"), [(0, "A", "P"), (40, "A", "P"), (50, "S", "I"), (130, "S", "I")]
)
def test_an_oblique_plane_counts_as_the_nearest(
    degrees: float, top: str, bottom: str, image_of: Callable
) -> None:
    """Axial slices tilted about the left-right axis are coronal beyond 45 degrees."""
    affine = turned(affine_of("RAS"), degrees, 0)
    display = display_of(image_of(np.zeros((4, 5, 6), np.float32), affine), (0, 1))
    assert (display.left, display.right, display.top, display.bottom) == ("R", "L", top, bottom)
    z = np.broadcast_to(affine[2, 1] * np.arange(5), (4, 5))  # superior coordinate of the plane
    if top == "S":
        assert (np.diff(display.turn(z), axis=0) < 0).all()


@pytest.mark.parametrize("codes", ["RAS", "LPI", "ASR", "SRA"])
def test_aspect_is_that_of_the_picture(codes: str, image_of: Callable) -> None:
    spacing = (0.7, 1.3, 2.0)
    image = image_of(np.zeros((4, 5, 6), np.float32), affine_of(codes, spacing))
    for axes in permutations(range(3), 2):
        display = display_of(image, axes)
        # The axis whose letter stands at the top or bottom is the vertical one.
        vertical = next(a for a in axes if codes[a] in display.top + display.bottom)
        horizontal = next(a for a in axes if a != vertical)
        assert display.aspect == pytest.approx(spacing[vertical] / spacing[horizontal])


def test_without_a_place_in_the_patient_slices_are_as_stored(image_of: Callable) -> None:
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert display_of(image_of(data), (0, 1)) == AS_STORED
    assert plane_steps(image_of(data), (0, 1), (2, 3)) is None
    np.testing.assert_array_equal(AS_STORED.turn(data[..., 0]), data[..., 0])
    centred = image_of(data, np.diag([0.5, 0.75, 3.0, 1.0]))
    kspace = Image(data, centred.affine, centred.source, "fastmri", None, "")
    assert display_of(kspace, (0, 1)) == Display(aspect=0.5 / 0.75)
    assert plane_steps(kspace, (0, 1), (2, 3)) is None


def test_another_grid_of_the_same_image(image_of: Callable) -> None:
    """A result is drawn by its own affine; slices resampled to half the rows have steps twice as
    long."""
    image = image_of(np.zeros((8, 6, 2), np.float32), affine_of("LAS", (1, 1, 5)))
    fine = image.affine @ np.diag([0.5, 0.25, 1, 1])
    assert display_of(image, (0, 1), fine).aspect == pytest.approx(0.5)
    steps = plane_steps(image, choose_axes(image), (4, 6))
    np.testing.assert_array_equal(steps, [[-2, 0], [0, 1], [0, 0]])
