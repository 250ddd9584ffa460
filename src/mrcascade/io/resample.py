"""Images and labels on the grid of another image, interpolated by scipy.ndimage.

Both grids are placed by their affines, so that spacing, order and sign of axes, oblique directions
and shears count as they are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io.affine_precision import check_precision
from mrcascade.io.blocks import Block
from mrcascade.io.image import Image
from mrcascade.io.interpolation import METHODS
from mrcascade.io.new_pixels import Grid
from mrcascade.io.nifti import header_on_grid

# An image that is taken for labels has thousands of values; each costs an interpolation.
_MOST_LABELS = 4096
_TILE = 32  # voxels per axis
# Share of a voxel by which a coarser voxel may exceed whole numbers of finer ones.
_WHOLE = 1e-3


def resample_onto(image: Image, like: Grid, method: str = "nearest") -> Image:
    """Return an image or labels on the grid of another image.

    Values of an integer type are labels, others an image. A voxel whose centre lies outside the
    field of view of `image` (up to the outer edges of its voxels) gets 0.

    Args:
        image: image of real values, or labels (`read_labels`), with an affine.
        like: image that gives the grid; its pixels do not matter.
        method: "nearest" takes the value at the voxel's centre; half-way between two voxels that
            of the smaller index. "linear" interpolates between the voxel centres. "mean" averages
            that over the new voxel, in as many places per axis as voxels of the image fit into it;
            where the new voxels are not larger, it equals "linear". For labels, both act on the
            indicator of each label (0 is one of them), and the largest share wins; of equal ones
            the smaller label.

    Returns:
        The image, of the grid of `like` and the type of `image`. A fourth axis stays.

    Raises:
        MRCascadeError: one of them has no affine, `image` is complex or has more than 4096 labels
            to interpolate, the grids have no place in common, or the method is unknown.

    Example:
        >>> import numpy as np
        >>> import mrcascade
        >>> thick, thin = np.diag([1.0, 1.0, 4.0, 1.0]), np.eye(4)
        >>> thin[2, 3] = -1.5  # both begin at the edge z = -2 mm
        >>> mrcascade.write_image(np.ones((4, 4, 2)) * [1, 2], "thick.nii", affine=thick)
        >>> mrcascade.write_image(np.ones((4, 4, 8)) * np.arange(8), "thin.nii", affine=thin)
        >>> labels, like = mrcascade.read_labels("thick.nii"), mrcascade.read_image("thin.nii")
        >>> mrcascade.resample_onto(labels, like).data[0, 0]
        array([1, 1, 1, 1, 2, 2, 2, 2], dtype=uint8)
        >>> mrcascade.resample_onto(like, labels, "mean").data[0, 0]
        array([1.5, 5.5], dtype=float32)
    """
    work = Resampler(image, like, method)
    return work.on_grid(work.window(tuple(slice(0, n) for n in work.shape)))


class Resampler:
    """The map from an image to the grid of another one, for any window on the result.

    Attributes:
        shape: shape of the result.
        dtype: type of the result, that of the image.
        method: how values are interpolated.
        labels: whether the values are labels.
        coarser: size of a new voxel in voxels of the image, the largest over the axes.
        inside: number of voxels of the windows so far that lie in the image's field of view.
    """

    def __init__(self, image: Image, like: Grid, method: str = "nearest") -> None:
        """See `resample_onto`, also for the errors."""
        self._affine, self._like_affine = _affine_of(image), _affine_of(like)
        if method not in METHODS:
            raise MRCascadeError(f"method {method!r}: choose one of {', '.join(METHODS)}")
        if np.iscomplexobj(image.data):
            raise MRCascadeError(
                f"{image.source} is complex; resample its real and imaginary part one by one"
            )
        self._image, self._like, self.method = image, like, method
        self.dtype, self.labels = image.data.dtype, image.data.dtype.kind in "iu"
        self._size, self._grid = _spatial(image.shape), _spatial(like.shape)
        self.shape = (*self._grid, image.shape[3]) if len(image.shape) == 4 else like.shape[:3]
        # From an index of the new grid to one of the image.
        self._map = np.linalg.solve(self._affine, self._like_affine)
        precision = _precision(self._affine, self._like_affine)
        self._slack = precision @ [*self._grid, 1]
        whole = np.rint(self._map[:3])
        self._map[:3] = np.where(abs(self._map[:3] - whole) <= precision, whole, self._map[:3])
        extents = np.abs(self._map[:3, :3]).max(0)
        self.coarser = float(extents.max())
        self._points = _points_within(extents) if method == "mean" else [np.zeros(3)]
        self.inside = 0
        self._volumes = image.data.reshape(*self._size, -1)
        if self.labels:
            self._read_labels()
        self._check_overlap()

    def window(self, window: Block) -> np.ndarray:
        """Return the result in a window; slices along the axes of `shape`."""
        spatial = (*window, slice(0, 1))[:3]
        start, size = [s.start for s in spatial], tuple(s.stop - s.start for s in spatial)
        transform = self._map @ _shift(start)
        inside = _within(transform, np.ogrid[tuple(map(slice, size))], self._size, self._slack)
        volumes = range(window[3].start, window[3].stop) if len(window) == 4 else range(1)
        result = np.zeros((*size, len(volumes)), self.dtype)
        for place, number in enumerate(volumes):
            result[inside, place] = self._volume(number, transform, size)[inside]
        self.inside += int(inside.sum()) * len(volumes)
        if self.labels:
            self._found[np.searchsorted(self._values, np.unique(result))] = True
        return result.reshape([s.stop - s.start for s in window])

    def on_grid(self, data: np.ndarray) -> Image:
        """Return an `Image` with pixels of the result and the geometry of the grid."""
        image = self._image
        header = header_on_grid(self._like, image)
        return Image(
            data,
            self._like_affine,
            image.source,
            "nifti",
            header,
            image.sha256,
            off_grid=self._like.off_grid,
            volume_seconds=image.volume_seconds,
        )

    @property
    def regions(self) -> list[int]:
        """Labels of the image other than 0."""
        return [int(value) for value in self._values if value]

    @property
    def lost(self) -> list[int]:
        """Labels that no window so far has."""
        return [
            int(v) for v, found in zip(self._values, self._found, strict=True) if v and not found
        ]

    def labelled_outside(self) -> float:
        """Share of the image's labelled voxels (not 0) that lie outside the new grid."""
        inverse = np.linalg.inv(self._map)
        slack = _precision(self._like_affine, self._affine) @ [*self._size, 1]
        labelled = kept = 0
        for number, plane in itertools.product(range(self._volumes.shape[3]), range(self._size[2])):
            i, j = np.nonzero(self._volumes[:, :, plane, number])
            labelled += len(i)
            kept += int(np.sum(_within(inverse, (i, j, plane), self._grid, slack)))
        return 1 - kept / labelled if labelled else 0.0

    # ---- one volume ----

    def _volume(self, number: int, transform: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        """Return one volume of the result without regard to the field of view.

        transform: (4, 4), from an index of the window to one of the image.
        """
        if not self.labels:
            volume = self._volumes[..., number]
            if self.method == "nearest":
                return self._nearest(volume, transform, size)
            return self._interpolated(volume, transform, size).astype(self.dtype)
        codes = self._codes[..., number]
        if self.method == "nearest":
            return self._values[self._nearest(codes, transform, size)]
        return self._values[self._largest_share(codes, transform, size)]

    def _nearest(
        self, volume: np.ndarray, transform: np.ndarray, size: tuple[int, ...]
    ) -> np.ndarray:
        from scipy.ndimage import affine_transform

        # scipy rounds halves up. The shift sends them down, also where single precision moved them.
        offset = transform[:3, 3] - self._slack
        result: np.ndarray = affine_transform(
            volume, transform[:3, :3], offset, size, order=0, mode="nearest"
        )
        return result

    def _interpolated(
        self, volume: np.ndarray, transform: np.ndarray, size: tuple[int, ...]
    ) -> np.ndarray:
        """Return the mean over `_points` of the linear interpolation, float64.

        Beyond the outer voxel centres the last values go on.
        """
        from scipy.ndimage import affine_transform

        matrix, total = transform[:3, :3], np.zeros(size)
        for point in self._points:
            offset = transform[:3, 3] + matrix @ point
            total += affine_transform(
                volume, matrix, offset, size, output=np.float64, order=1, mode="nearest"
            )
        return total / len(self._points)

    def _largest_share(
        self, codes: np.ndarray, transform: np.ndarray, size: tuple[int, ...]
    ) -> np.ndarray:
        """Return the code of the label with the largest share of each voxel.

        In small tiles, as most of them lie within one label and the others meet a few.
        """
        result = np.empty(size, np.int32)
        for corner in itertools.product(*(range(0, n, _TILE) for n in size)):
            tile = tuple(slice(at, min(at + _TILE, n)) for at, n in zip(corner, size, strict=True))
            local = transform @ _shift(corner)
            extent = tuple(s.stop - s.start for s in tile)
            crop = self._crop(local, extent)
            local[:3, 3] -= [s.start for s in crop]
            result[tile] = self._winner(codes[crop], local, extent)
        return result

    def _winner(
        self, codes: np.ndarray, transform: np.ndarray, size: tuple[int, ...]
    ) -> np.ndarray | int:
        first, *others = np.unique(codes)
        if not others:
            return int(first)
        share, winner = self._interpolated(_indicator(codes, first), transform, size), first
        # Shares are equal if they differ by less than the precision of places makes of them.
        least = 2 * float(self._slack.sum())
        for code in others:
            here = self._interpolated(_indicator(codes, code), transform, size)
            more = here > share + least
            share, winner = np.where(more, here, share), np.where(more, code, winner)
        return winner

    def _crop(self, transform: np.ndarray, size: tuple[int, ...]) -> Block:
        """Return the part of the image between whose voxels those of a tile are interpolated."""
        reach = np.max(np.abs(self._points), 0)
        ends = [(-r, n - 1 + r) for r, n in zip(reach, size, strict=True)]
        places = np.array(list(itertools.product(*ends))) @ transform[:3, :3].T + transform[:3, 3]
        most = np.array(self._size) - 1
        low = np.clip(np.floor(places.min(0)).astype(int), 0, most)
        high = np.clip(np.ceil(places.max(0)).astype(int), 0, most)
        return tuple(slice(first, last + 1) for first, last in zip(low, high, strict=True))

    # ---- preparation ----

    def _read_labels(self) -> None:
        """Number the labels in rising order; scipy computes with float64, not int64."""
        self._values = np.union1d(np.unique(self._volumes), np.zeros(1, self.dtype))
        self._found = np.zeros(len(self._values), bool)
        if self.method != "nearest" and len(self._values) > _MOST_LABELS:
            raise MRCascadeError(
                f"{self._image.source} has {len(self._values)} different values, which is no"
                " segmentation; use --kind image, or the method nearest"
            )
        self._codes = np.empty(self._volumes.shape, np.int32)
        for plane in range(self._size[2]):
            self._codes[:, :, plane] = np.searchsorted(self._values, self._volumes[:, :, plane])

    def _check_overlap(self) -> None:
        rows, columns, planes = self._grid
        i, j = np.ogrid[:rows, :columns]
        for plane in range(planes):
            if np.any(_within(self._map, (i, j, plane), self._size, self._slack)):
                return
        raise MRCascadeError(
            f"{self._image.source} and {self._like.source} have no place in common by their"
            " headers; give images of one subject in one space"
        )


def _affine_of(image: Grid) -> np.ndarray:
    """Return the affine. Raises MRCascadeError where there is none, or it is not precise."""
    if image.affine is None:
        raise MRCascadeError(
            f"{image.source} does not say where its voxels lie; give NIfTI or DICOM"
        )
    if image.off_grid:
        raise MRCascadeError(f"{image.source}{image.off_grid}")
    check_precision(image.affine, image.shape, image.source)
    return image.affine


def _spatial(shape: Sequence[int]) -> tuple[int, int, int]:
    first, second, third = (*shape, 1)[:3]
    return first, second, third


def _indicator(codes: np.ndarray, code: int) -> np.ndarray:
    """Return 1 where a label is, else 0."""
    return (codes == code).view(np.uint8)


def _shift(start: Sequence[float]) -> np.ndarray:
    """Return the (4, 4) translation by an index."""
    result = np.eye(4)
    result[:3, 3] = start
    return result


def _precision(affine: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the precision of the map from an index of ``other`` to one of ``affine``, (3, 4).

    Affines come from files with float32 entries: each is known to half a unit in the last place.
    """
    halves = (np.spacing(np.abs(a[:3]).astype(np.float32)) / 2 for a in (affine, other))
    own, others = (half.astype(np.float64) for half in halves)
    size = np.abs(np.linalg.solve(affine, other))
    return np.asarray(np.abs(np.linalg.inv(affine[:3, :3])) @ (others + own @ size))


def _points_within(extents: np.ndarray) -> list[np.ndarray]:
    """Return places in a new voxel, from -1/2 to 1/2 per axis, at equal distances.

    extents: size of the voxel along each axis, in voxels of the image; places are at most one of
    these apart, so that those of a whole number fall on their centres where the edges meet.
    """
    counts = [max(1, math.ceil(extent - _WHOLE)) for extent in extents]
    steps = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
    return [np.array(point) for point in itertools.product(*steps)]


def _within(
    transform: np.ndarray,
    index: Sequence[np.ndarray | int],
    shape: Sequence[int],
    slack: np.ndarray,
) -> np.ndarray:
    """Return whether voxels lie in the field of view of a grid, up to its outer edges.

    Args:
        transform: (4, 4), from an index to one of the grid.
        index: three arrays that broadcast.
        shape: size of the grid.
        slack: precision of a place on the grid, per axis.
    """
    inside = np.True_
    for row, n, most in zip(transform[:3], shape, slack, strict=True):
        place = row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]
        inside = inside & (place >= -0.5 - most) & (place <= n - 0.5 + most)
    return np.asarray(inside)
