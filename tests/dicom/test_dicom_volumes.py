"""Four-dimensional series: frames of a volume stay together, whatever their instance numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_series import classic, enhanced, phantom
from pydicom import Dataset
from pydicom.uid import generate_uid
from tests.quick import slow_but

from mrcascade.errors import MRCascadeError
from mrcascade.io import read_image

SLICES, VOLUMES = 3, 4
PIXELS = phantom((SLICES * VOLUMES, 12, 10)).reshape(VOLUMES, SLICES, 12, 10)
EXPECTED = PIXELS.transpose(3, 2, 1, 0)
RANDOM = np.random.default_rng(3).permutation(SLICES * VOLUMES) + 1
SIEMENS, PHILIPS, UIH = "SIEMENS MR HEADER", "Philips Imaging DD 001", "Image Private Header"
DIRECTIONS = [[0, 0, 1], [0, 1, 0], [0.6, 0.8, 0], [1, 0, 0]]


def write(folder: Path, told: Sequence[dict[Any, Any]], numbers: Sequence[int | None]) -> Path:
    """A series of VOLUMES times SLICES images. told: elements per volume, or per image; their keys
    are keywords, or (group, element, creator, VR)."""
    folder.mkdir()
    uid = generate_uid()
    for v in range(VOLUMES):
        for k, dataset in enumerate(classic(PIXELS[v])):
            place = v * SLICES + k
            dataset.SeriesInstanceUID, dataset.InstanceNumber = uid, numbers[place]
            for key, value in told[v if len(told) == VOLUMES else place].items():
                if isinstance(key, str):
                    setattr(dataset, key, value)
                else:
                    group, element, creator, kind = key
                    block = dataset.private_block(group, creator, create=True)
                    block.add_new(element, kind, value)
            dataset.save_as(folder / f"IM{place * 7 % 101:03d}.dcm", enforce_file_format=True)
    return folder


def each(key: Any, values: Sequence[Any]) -> list[dict[Any, Any]]:
    return [{key: value} for value in values]


# What the images of each volume say, in the order that is expected.
MARKS = {
    "echo time": each("EchoTime", ["4.6", "9.2", "13.8", "18.4"]),
    "time": each("TemporalPositionIdentifier", [1, 2, 3, 4]),
    "trigger time": each("TriggerTime", ["0", "120.5", "250", "1000"]),
    "acquisition number": each("AcquisitionNumber", [1, 2, 3, 12]),
    "acquisition time": each("AcquisitionTime", ["095959.9", "100000", "100001.25", "100002"]),
    "across midnight": each(
        "AcquisitionDateTime",
        ["20200101235959", "20200102000001", "20200102000002.5", "20200102000003"],
    ),
    "inversion time": each("InversionTime", ["50", "400", "1100", "2500"]),
    "flip angle": each("FlipAngle", ["2", "5", "10", "20"]),
    "b-value": each("DiffusionBValue", [0.0, 500.0, 1000.0, 3000.0]),
    "gradient": each("DiffusionGradientOrientation", DIRECTIONS),
    "Siemens b-value": each((0x19, 0x0C, SIEMENS, "IS"), [0, 500, 1000, 3000]),
    "Siemens gradient": each((0x19, 0x0E, SIEMENS, "FD"), DIRECTIONS),
    "GE b-value": each(
        (0x43, 0x39, "GEMS_PARM_01", "IS"), [[b, 8, 0, 0] for b in (0, 500, 1000000800, 1000)]
    ),
    "GE gradient": [
        {(0x19, 0xBB + i, "GEMS_ACQU_01", "DS"): str(v) for i, v in enumerate(vector)}
        for vector in DIRECTIONS
    ],
    "Philips b-value": each((0x2001, 0x03, PHILIPS, "FL"), [0.0, 500.0, 1000.0, 3000.0]),
    "Philips phase number": each((0x2001, 0x08, PHILIPS, "IS"), [1, 2, 3, 4]),
    "UIH b-value": each((0x65, 0x09, UIH, "FD"), [0.0, 500.0, 1000.0, 3000.0]),
    "UIH gradient": each((0x65, 0x37, UIH, "FD"), DIRECTIONS),
    "echoes x times": [
        {"EchoTime": str(echo), "TemporalPositionIdentifier": time}
        for echo in (5, 10)
        for time in (1, 2)
    ],
    "b-values x directions": [
        {"DiffusionBValue": b, "DiffusionGradientOrientation": d}
        for b in (700.0, 2000.0)
        for d in DIRECTIONS[:2]
    ],
    # Times of slices differ, those of one slice run forwards.
    "trigger time by slice": [
        {"TriggerTime": str(100 * v + 7 * k)} for v in range(VOLUMES) for k in (2, 0, 1)
    ],
}


QUICK = ("echo time", "across midnight", "GE b-value", "gradient", "b-values x directions")


@pytest.mark.parametrize("mark", slow_but(MARKS, *QUICK))
def test_numbers_without_meaning(tmp_path: Path, mark: str) -> None:
    image = read_image(write(tmp_path / "s", MARKS[mark], RANDOM))
    np.testing.assert_array_equal(image.data, EXPECTED)


def test_numbers_that_agree_order_the_volumes(tmp_path: Path) -> None:
    """Diffusion volumes keep the order of acquisition, which lists of gradients are in."""
    directions = [DIRECTIONS[i] for i in (2, 0, 3, 1)]
    numbers = range(1, SLICES * VOLUMES + 1)
    told = each("DiffusionGradientOrientation", directions)
    np.testing.assert_array_equal(read_image(write(tmp_path / "s", told, numbers)).data, EXPECTED)


def test_time_goes_before_numbers(tmp_path: Path) -> None:
    numbers = range(SLICES * VOLUMES, 0, -1)
    told = MARKS["time"]
    np.testing.assert_array_equal(read_image(write(tmp_path / "s", told, numbers)).data, EXPECTED)


BY_VOLUME = list(range(1, SLICES * VOLUMES + 1))
BY_SLICE = [1 + v + VOLUMES * k for v in range(VOLUMES) for k in range(SLICES)]
INTERLEAVED = [1 + v * SLICES + k for v in range(VOLUMES) for k in (0, 2, 1)]


@pytest.mark.parametrize("numbers", [BY_VOLUME, BY_SLICE, INTERLEAVED])
def test_numbers_alone_in_an_order(tmp_path: Path, numbers: list[int]) -> None:
    image = read_image(write(tmp_path / "s", [{}] * VOLUMES, numbers))
    np.testing.assert_array_equal(image.data, EXPECTED)


UNTOLD = {
    "at random": RANDOM,
    "by slice position": [1 + k for _ in range(VOLUMES) for k in range(SLICES)],
    "all the same": [1] * SLICES * VOLUMES,
    "none": [None] * SLICES * VOLUMES,
}


@pytest.mark.parametrize("numbers", UNTOLD)
def test_what_nothing_tells_apart_is_refused(tmp_path: Path, numbers: str) -> None:
    folder = write(tmp_path / "s", [{}] * VOLUMES, UNTOLD[numbers])
    with pytest.raises(MRCascadeError, match=r"4 images at each slice position, and nothing tells"):
        read_image(folder)


def test_an_echo_that_is_twice_at_one_position(tmp_path: Path) -> None:
    told = [{"EchoTime": str(5 + 5 * v)} for v in range(VOLUMES) for _ in range(SLICES)]
    told[0]["EchoTime"] = "10"
    with pytest.raises(MRCascadeError, match="different echo times at different slice positions"):
        read_image(write(tmp_path / "s", told, BY_VOLUME))


# ---- enhanced ----


def multi_frame(marks: Sequence[Dataset], order: Sequence[int]) -> Dataset:
    """Every slice once per volume, stored in ``order``; its dimension values name the slice alone.
    marks: macros of each volume."""
    places = [place % SLICES for place in order]
    dataset = enhanced(PIXELS.reshape(-1, 12, 10)[:SLICES], order=places)
    frames = PIXELS.reshape(-1, 12, 10)[list(order)]
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = frames.tobytes()
    for place, group in zip(order, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        for element in marks[place // SLICES]:
            group[element.tag] = element
    return dataset


def macro(keyword: str, **elements: Any) -> Dataset:
    group, inner = Dataset(), Dataset()
    for name, value in elements.items():
        setattr(inner, name, value)
    setattr(group, keyword, [inner])
    return group


def direction(vector: list[float]) -> Dataset:
    inner = Dataset()
    inner.DiffusionGradientOrientation = vector
    elements = {"DiffusionBValue": 1000.0, "DiffusionGradientDirectionSequence": [inner]}
    return macro("MRDiffusionSequence", **elements)


TRIGGER = "NominalCardiacTriggerDelayTime"
MACROS = {
    "echo": [macro("MREchoSequence", EffectiveEchoTime=float(t)) for t in (5, 10, 15, 20)],
    "b-value": [macro("MRDiffusionSequence", DiffusionBValue=b) for b in (0.0, 500.0, 800.0, 1e3)],
    "direction": [direction(vector) for vector in DIRECTIONS],
    "trigger": [
        macro("CardiacSynchronizationSequence", **{TRIGGER: t}) for t in (0.0, 50.0, 90.0, 400.0)
    ],
    "offset": [
        macro("TemporalPositionSequence", TemporalPositionTimeOffset=t)
        for t in (0.0, 2.0, 4.0, 6.0)
    ],
}


@pytest.mark.parametrize("kind", MACROS)
def test_frames_in_no_order(tmp_path: Path, kind: str) -> None:
    dataset = multi_frame(MACROS[kind], (RANDOM - 1).tolist())
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").data, 2.0 * EXPECTED - 10)


def test_frames_in_no_order_that_nothing_tells_apart(tmp_path: Path) -> None:
    dataset = multi_frame([Dataset()] * VOLUMES, (RANDOM - 1).tolist())
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(MRCascadeError, match="nothing tells which belong together"):
        read_image(tmp_path / "a.dcm")
    dataset = multi_frame([Dataset()] * VOLUMES, range(SLICES * VOLUMES))
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").data, 2.0 * EXPECTED - 10)
