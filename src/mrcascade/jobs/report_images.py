"""Images of a report: the files of a result, and the data that it was made from, slice by slice.

Slices lie in nameless temporary files beside the report. Volumes of thick slices are in memory, one
at a time, as in their restoration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrcascade.arrays.intensity import Intensity, RobustMaximum
from mrcascade.io import Axes, Named, SliceStore, Source, StackOrder, named_image, open_source
from mrcascade.jobs.common import operator_for
from mrcascade.operators import SeparableOperator
from mrcascade.operators.baselines import interpolated, interpolation_name
from mrcascade.operators.crop import fourier_crop
from mrcascade.operators.profile import SliceProfile
from mrcascade.restore.volume import ThickSlices, along, least_squares

#: Returns slice number i of a layer, (H, W) real.
ReadSlice = Callable[[int], np.ndarray]
# Titles of data that are derived from the result, where the input is not at hand.
_DERIVED = "as the result explains the data"


def load_slices(
    image: Named, axes: Axes, folder: Path, stack: ExitStack, complex_valued: bool = False
) -> tuple[Source, SliceStore]:
    """Read an image into a temporary file.

    Args:
        image: image to read.
        axes: its in-plane axes.
        folder: folder of the temporary file.
        stack: closes the file.
        complex_valued: as for `open_source`.

    Raises:
        MRCascadeError: the image cannot be read.
    """
    with open_source(image, complex_valued) as source:
        order = StackOrder(source.shape, source.layout, axes)
        store = stack.enter_context(SliceStore(folder, order, source.dtype))
        for block, values in source.stored_blocks():
            store.put(block, values)
    return source, store


def magnitude_reader(store: SliceStore) -> ReadSlice:
    """Return a function that gives a slice of a store, complex ones by magnitude."""

    def read(number: int) -> np.ndarray:
        (found,) = store.read(number, number + 1)
        return np.abs(found) if np.iscomplexobj(found) else found

    return read


class ResultImages:
    """The images of a result.

    Attributes:
        axes: in-plane axes (rows, columns).
        source: the result, whose header has been read.
        result: its slices.
        others: slices by "sample" and "std", where there are some.
    """

    def __init__(self, sidecar: Path, record: Mapping[str, Any], stack: ExitStack) -> None:
        """Read the files that a sidecar lists.

        Args:
            sidecar: path of the sidecar.
            record: its content.
            stack: closes the temporary files.

        Raises:
            MRCascadeError: a file is missing or damaged.
        """
        files, folder = record["Files"], sidecar.parent
        rows, columns = record["InPlaneAxes"]
        self.axes: Axes = (rows, columns)
        pair = named_image(folder / files["Result"], pairs="ResultPhase" in files)
        self.source, self.result = load_slices(pair, self.axes, folder, stack)
        self.others: dict[str, SliceStore] = {}
        for key in ("sample", "std"):
            if name := files.get(key.capitalize()):
                self.others[key] = load_slices(folder / name, self.axes, folder, stack)[1]

    def intensity(self, record: Mapping[str, Any]) -> Intensity:
        """Return the intensity that the sidecar states, else that of the result."""
        settings = record.get("Settings", {})
        zero = float(settings.get("Zero", 0.0))
        if scale := settings.get("Scale"):
            return Intensity(float(scale), zero)
        found = RobustMaximum(int(np.prod(self.result.order.shape)))
        for number in range(len(self.result)):
            found.add(self.result.read(number, number + 1) - zero)
        return Intensity(found.value() or 1.0, zero)


class DataImages:
    """The data of a result on its grid: what a report shows as "before".

    In plane they are interpolated as in the preview. Thick slices are shown as they are, each
    repeated, and as least squares without a prior.

    Attributes:
        layers: title and slices of each way to show them, by a short name.
    """

    def __init__(
        self, record: Mapping[str, Any], images: ResultImages, data: SliceStore | None
    ) -> None:
        """Prepare the layers.

        Args:
            record: content of the sidecar.
            images: the images of the result.
            data: slices of the input; None where it is not at hand. The data are then computed
                from the result, which differs from them by its residual.
        """
        self._images, self._data = images, data
        request = record["Request"]
        crop = record.get("AcquiredMatrix") if record.get("CroppedToAcquired") else None
        self._crop = None if crop is None else (int(crop[0]), int(crop[1]))
        self._kernel = str(request.get("Kernel", "fourier"))
        self._operator = self._in_plane(request.get("Factor", [1, 1]))
        self._thick = _thick_of(record)
        self._volume: tuple[int, np.ndarray] | None = None
        self.layers: dict[str, tuple[str, ReadSlice]] = {}
        note = "" if data is not None else f", {_DERIVED}"
        if self._thick is None:
            title = f"data, {interpolation_name(self._kernel)}{note}"
            self.layers["data"] = (title, self._slice)
            return
        thick = self._thick
        title = f"{thick.slices} thick slices{note}"
        nearest = (2 * np.arange(thick.samples) + 1) * thick.slices // (2 * thick.samples)
        self.layers["slices"] = (title, lambda i: self._through(np.eye(thick.slices)[nearest], i))
        if "Prior" in record or "Stacks" in record:
            alone = "first stack, least squares" if "Stacks" in record else "least squares"
            unit = np.eye(thick.slices)[:, :, None]
            matrix = least_squares(unit, thick)[..., 0]
            self.layers["lsq"] = (f"{alone}, no prior{note}", lambda i: self._through(matrix, i))

    def _in_plane(self, factor: Sequence[float]) -> SeparableOperator | None:
        """Return the operator that measured the planes; None where they are as they were."""
        if max(factor) <= 1:
            return None
        order = self._images.result.order
        rows, columns = (order.shape[axis] for axis in order.axes)
        down = SeparableOperator.from_kernel(
            self._kernel, (float(factor[0]), float(factor[1])), (rows, columns)
        )
        if self._data is None:
            return down
        stored = self._data.order
        shape = self._crop or [stored.shape[axis] for axis in stored.axes]
        return operator_for(shape, self._kernel, (float(factor[0]), float(factor[1])))

    def _planes(self, start: int, stop: int) -> np.ndarray:
        """Return slices (S, H, W) of the input on the in-plane grid of the result."""
        if self._data is not None:
            low = self._data.read(start, stop)
            low = low if self._crop is None else np.asarray(fourier_crop(low, self._crop))
        else:
            low = self._images.result.read(start, stop)
            if self._operator is not None:
                low = self._operator(torch.from_numpy(low)).numpy()
        if self._operator is None:
            return low
        return interpolated(low, self._operator, self._kernel)

    def _slice(self, number: int) -> np.ndarray:
        return _magnitude(self._planes(number, number + 1)[0])

    def _through(self, matrix: np.ndarray, number: int) -> np.ndarray:
        """Return new slice ``number``: rows of ``matrix`` (n, S) weigh the thick slices."""
        thick = self._thick
        assert thick is not None  # else there is no layer that calls this
        volume, place = divmod(number, thick.samples)
        if self._volume is None or self._volume[0] != volume:
            self._volume = volume, self._thick_volume(volume, thick)
        row = matrix[place : place + 1]
        used = np.flatnonzero(row[0])
        return _magnitude(along(row[:, used], self._volume[1][used])[0])

    def _thick_volume(self, volume: int, thick: ThickSlices) -> np.ndarray:
        if self._data is not None:
            return self._planes(volume * thick.slices, (volume + 1) * thick.slices)
        return along(
            thick.matrix(), self._planes(volume * thick.samples, (volume + 1) * thick.samples)
        )


def _thick_of(record: Mapping[str, Any]) -> ThickSlices | None:
    """Return how the slices of the input see those of the result; None where they are the same."""
    facts = record.get("ThickSlices")
    if facts is None:
        return None
    stated = record["Request"]["Isotropic"]["Profile"]
    positions = stated.get("Positions")
    profile = SliceProfile(
        stated["Name"],
        None if positions is None else tuple(positions),
        tuple(stated.get("Weights") or ()),
    )
    distance = float(facts["SpacingBetweenSlices"])
    samples = round(facts["Slices"] * distance / float(record["SpacingBetweenSlices"]))
    return ThickSlices(facts["Slices"], samples, profile, facts["SliceThickness"] / distance)


def _magnitude(image: np.ndarray) -> np.ndarray:
    return np.abs(image) if np.iscomplexobj(image) else image
