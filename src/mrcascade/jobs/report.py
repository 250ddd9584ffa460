"""Report of a result, made from its files: the sidecar, the images, and the input if it is there.

The report knows nothing of the run besides these files, so it can be made at any time. It lies
beside the preview and has its name, with the ending ``.html`` (`report_beside`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.io import (
    NOTICE,
    ImageFile,
    SliceStore,
    Source,
    atomic_output,
    display_of,
    make_folder,
    plane_name,
    remove_leftovers,
)
from mrcascade.jobs.preview import ARBITRARY_UNIT, NO_UNIT, shown_slice, slice_place
from mrcascade.jobs.report_images import (
    DataImages,
    ReadSlice,
    ResultImages,
    load_slices,
    magnitude_reader,
)
from mrcascade.messages.faults import naming
from mrcascade.pictures.preview import intensity_window, largest_deviation
from mrcascade.pictures.report.facts import sections_of, warnings_of
from mrcascade.pictures.report.head import check_report, is_own_report
from mrcascade.pictures.report.methods import methods_of
from mrcascade.pictures.report.page import (
    ReportContent,
    ReportLayer,
    ReportView,
    write_report_page,
)
from mrcascade.storage.outputs import only_writer, read_record

ENDING = ".html"
BATCH_NAME = f"report{ENDING}"  # the table of a batch, in its output folder
# Results named "report", "report_result" and so on; their reports have one "_result" more, so that
# no two results share a name and none takes that of the table, whatever the case of letters.
_LIKE_THE_TABLE = re.compile(r"report(?:_result)*", re.IGNORECASE)
# A file in the sidecar's folder, or a preview in the folder of figures of a BIDS subject.
_NEAR = re.compile(r"(?:(?:\.\./){1,2}figures/)?(?!\.\.?$)[^/\\\0]+")
_LOOKED_AT = 9  # slices that set the grey scale
_REFORMATTED = 48  # planes of each kind that contain the slice axis


def report_beside(preview: Path) -> Path:
    """Return the path of the report of a result whose preview lies at ``preview``.

    It has the preview's name, but never that of a batch's table.
    """
    stem = preview.stem
    more = "_result" if _LIKE_THE_TABLE.fullmatch(stem) else ""
    return preview.with_name(f"{stem}{more}{ENDING}")


def report_of(sidecar: Path, record: Mapping[str, Any]) -> Path:
    """Return the path of the report of a result by its sidecar and the content of that."""
    return report_beside(sidecar.parent / record["Files"]["Preview"])


def result_record(sidecar: Path) -> dict[str, Any] | None:
    """Return the content of the sidecar of a result of ``sr``; None for any other file.

    A sidecar that lists files elsewhere is none of ours: a report is written beside the preview.
    """
    record = read_record(sidecar)
    if record is None or "InPlaneAxes" not in record:
        return None
    files = record.get("Files")
    if not isinstance(files, dict) or not {"Result", "Preview"} <= set(files):
        return None
    if not all(isinstance(record.get(key), dict) for key in ("Request", "Settings")):
        return None
    near = all(isinstance(name, str) and _NEAR.fullmatch(name) for name in files.values())
    return record if near else None


def write_result_report(
    sidecar: Path,
    inputs: Iterable[ImageFile] = (),
    *,
    path: Path | None = None,
    others: Mapping[str, np.ndarray] | None = None,
    seconds: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the report of a result.

    Args:
        sidecar: the result's JSON file.
        inputs: images of which one may be the input, by its hash. Without it, the "before" of the
            report is computed from the result, and says so.
        path: the HTML file; by default it has the preview's name.
        others: more images to compare with, by title, such as the truth: slices (S, H, W) of the
            result's shape, or one slice (H, W).
        seconds: time of the work, where it is known.
        overwrite: whether an earlier report is replaced. No other file ever is.

    Returns:
        The path of the report.

    Raises:
        MRCascadeError: the sidecar is none, a file of the result is missing or damaged, or the
            report's name is taken.

    Example:
        >>> import numpy as np
        >>> import mrcascade
        >>> from mrcascade.jobs.report import write_result_report
        >>> np.save("low.npy", np.random.default_rng(0).random((16, 16)))
        >>> *_, sidecar = mrcascade.super_resolve_file("low.npy", "out", factor=2)
        >>> write_result_report(sidecar).name
        'low_desc-sr2x.html'
    """
    record = result_record(sidecar)
    if record is None:
        raise MRCascadeError(f"{sidecar} is no JSON file of a result of sr; name its folder")
    path = report_of(sidecar, record) if path is None else path
    check_report(path, overwrite)
    make_folder(path.parent)
    with naming(str(sidecar)), only_writer(path), ExitStack() as stack:
        try:
            content = _content(sidecar, record, inputs, others or {}, seconds, stack)
        except MRCascadeError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MRCascadeError(
                f"{sidecar}: its entries do not fit its files; restore the input again"
            ) from error
        with atomic_output(path, overwrite) as temporary:
            write_report_page(temporary, content)
        remove_leftovers([path])
    return path


def renew_report(
    sidecar: Path, wanted: bool, inputs: Iterable[ImageFile], seconds: float | None = None
) -> list[Path]:
    """Write the report of a new result, if it is wanted; else remove that of the result before.

    The arguments are those of `write_result_report`. Returns the report's path, if it was written.
    """
    if wanted:
        return [write_result_report(sidecar, inputs, seconds=seconds, overwrite=True)]
    record = result_record(sidecar)
    path = None if record is None else report_of(sidecar, record)
    if path is not None and is_own_report(path):
        path.unlink()
    return []


def add_report(sidecar: Path, inputs: Iterable[ImageFile]) -> None:
    """Write the report of a result that is there already, unless it has one."""
    record = result_record(sidecar)
    if record is not None and not is_own_report(report_of(sidecar, record)):
        write_result_report(sidecar, inputs)


def _content(
    sidecar: Path,
    record: Mapping[str, Any],
    inputs: Iterable[ImageFile],
    others: Mapping[str, np.ndarray],
    seconds: float | None,
    stack: ExitStack,
) -> ReportContent:
    images = ResultImages(sidecar, record, stack)
    found = _input(record, images, inputs, sidecar.parent, stack)
    grid, data = (images.source, None) if found is None else found
    intensity = images.intensity(record)
    before = DataImages(record, images, data)
    samples = int(record["Settings"].get("Samples", 1))
    readers: dict[str, ReadSlice] = {key: read for key, (_, read) in before.layers.items()}
    layers = [ReportLayer(key, title, "before") for key, (title, _) in before.layers.items()]
    title = "result" if samples == 1 else f"result, mean of {samples} samples"
    layers.append(ReportLayer("result", title, "after"))
    readers["result"] = magnitude_reader(images.result)
    if "sample" in images.others:
        layers.append(ReportLayer("sample", "one of the samples", "after"))
    for number, (words, image) in enumerate(others.items()):
        layers.append(ReportLayer(f"other{number}", words, "after"))
        readers[f"other{number}"] = _reader_of(image, images.result)
    if "std" in images.others:
        layers.append(ReportLayer("std", f"standard deviation of {samples} samples", "std"))
    readers |= {key: magnitude_reader(store) for key, store in images.others.items()}
    count = len(images.result)
    looked_at = np.unique(np.linspace(0, count - 1, _LOOKED_AT + 2)[1:-1].round().astype(int))
    baseline = readers[layers[0].key]
    shown = np.stack([baseline(int(n)) for n in looked_at]) - intensity.zero
    low, high = (end + intensity.zero for end in intensity_window(shown))
    spread = 0.0
    if "std" in readers:
        spread = largest_deviation(np.stack([readers["std"](int(n)) for n in looked_at]))
    unit = str(record.get("Units", ARBITRARY_UNIT))
    start = shown_slice(images.result, intensity)
    return ReportContent(
        title=Path(record["Files"]["Result"]).name,
        subtitle=str(record.get("Description", "")).replace(NOTICE, "").strip(),
        layers=layers,
        views=_views(record, images, grid, readers, start),
        window=(low, high),
        most_std=spread,
        unit=ARBITRARY_UNIT if unit in NO_UNIT else unit,
        warnings=warnings_of(record),
        sections=sections_of(record, seconds),
        methods=methods_of(record),
    )


def _reader_of(image: np.ndarray, result: SliceStore) -> ReadSlice:
    """Return a reader of slices in memory. Raises MRCascadeError where their shape is another."""
    pixels = np.abs(image) if np.iscomplexobj(image) else image
    slices = pixels[None] if pixels.ndim == 2 else pixels
    shape = (len(result), *result.read(0, 1).shape[1:])
    if slices.shape != shape:
        raise MRCascadeError(f"images to compare with are {slices.shape}; the result is {shape}")
    return lambda number: slices[number]


def _input(
    record: Mapping[str, Any],
    images: ResultImages,
    inputs: Iterable[ImageFile],
    folder: Path,
    stack: ExitStack,
) -> tuple[Source, SliceStore] | None:
    """Return the input of a result and its slices; None where it is not among ``inputs``."""
    complex_valued = images.source.dtype.kind == "c"
    for image in inputs:
        try:
            source, slices = load_slices(image, images.axes, folder, stack, complex_valued)
        except MRCascadeError:  # another file by now
            continue
        if source.sha256 == record.get("SourceSHA256", source.sha256):
            return source, slices
    return None


def _views(
    record: Mapping[str, Any],
    images: ResultImages,
    grid: Source,
    readers: Mapping[str, ReadSlice],
    start: int,
) -> list[ReportView]:
    """Return the slices, and the planes that contain the slice axis where slices became thinner.

    ``grid`` says how planes lie on the screen: the input where it is there, as results of k-space
    have a geometry that only looks like a patient's.
    """
    order, affine = images.result.order, images.source.affine
    plane = plane_name(images.source, images.axes) if _oriented(grid) else "unknown"
    views = [
        ReportView(
            "slices" if plane == "unknown" else f"{plane} slices",
            [slice_place(order, n, plane) for n in range(len(images.result))],
            lambda key, number: readers[key](number),
            display_of(grid, images.axes, affine),
            start,
        )
    ]
    if "ThickSlices" not in record:
        return views
    axis = next(a for a in range(3) if a not in images.axes)
    samples = order.shape[axis]
    for across in (1, 0):  # columns, rows: the plane holds the slice axis and the other one
        along = images.axes[1 - across]
        kept = order.shape[images.axes[across]]
        numbers = np.unique(np.linspace(0, kept - 1, min(kept, _REFORMATTED)).round().astype(int))
        planes = _Reformatted(readers, samples, across, numbers)
        known = plane_name(images.source, (axis, along)) if _oriented(grid) else "unknown"
        name = ("planes across the columns", "planes across the rows")[1 - across]
        name = name if known == "unknown" else f"{known} planes"
        labels = [f"{name[:-1]} {n + 1} of {kept}" for n in numbers]
        display = display_of(grid, (axis, along), affine)
        middle = int(np.abs(numbers - kept / 2).argmin())
        views.append(ReportView(name, labels, planes, display, middle))
    return views


def _oriented(grid: Source) -> bool:
    return grid.file.format.oriented


class _Reformatted:
    """Planes that contain the slice axis, of the first volume; one layer is in memory at a time."""

    def __init__(
        self, readers: Mapping[str, ReadSlice], samples: int, across: int, numbers: np.ndarray
    ) -> None:
        self._readers, self._samples = readers, samples
        self._across, self._numbers = across, numbers
        self._key, self._planes = "", np.empty(0)

    def __call__(self, key: str, number: int) -> np.ndarray:
        if key != self._key:
            read: Callable[[int], np.ndarray] = self._readers[key]
            lines = [np.take(read(i), self._numbers, self._across) for i in range(self._samples)]
            self._key, self._planes = key, np.stack(lines)
        return np.asarray(np.take(self._planes, number, 1 + self._across))
