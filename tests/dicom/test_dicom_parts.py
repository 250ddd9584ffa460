"""Parts of complex images, maps and mosaics by the conventions of the manufacturers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_series import classic, enhanced, phantom, volume
from pydicom import Dataset
from pydicom.sequence import Sequence

from mrcascade.errors import MRCascadeError
from mrcascade.io import read_image

GE, PHILIPS = (0x43, 0x2F, "GEMS_PARM_01", "SS"), (0x2005, 0x11, "Philips MR Imaging DD 001", "CS")
SIEMENS = (0x51, 0x16, "SIEMENS MR HEADER", "LO")
OTHER = ["ORIGINAL", "PRIMARY", "OTHER"]


def written(
    folder: Path, private: tuple[tuple[int, int, str, str], Any] | None, **elements: Any
) -> Path:
    folder.mkdir()
    for place, dataset in enumerate(classic(phantom((3, 12, 10)), **elements)):
        if private is not None:
            (group, element, creator, kind), value = private
            dataset.private_block(group, creator, create=True).add_new(element, kind, value)
        dataset.save_as(folder / f"{place}.dcm", enforce_file_format=True)
    return folder


REFUSED = {
    "Siemens P": (["P", "ND"], None, {}, "phases"),
    "Siemens R": (["R", "ND"], None, {}, "real parts"),
    "Siemens I": (["I", "ND"], None, {}, "imaginary parts"),
    "Siemens text": (["OTHER"], (SIEMENS, "P/ND"), {}, "phases"),
    "Philips phase": (["PHASE MAP", "P", "FFE"], None, {}, "phases"),
    "Philips real": (["R_FFE", "R", "FFE"], None, {}, "real parts"),
    "Philips imaginary": (["I_IR", "I", "IR"], None, {}, "imaginary parts"),
    "Philips velocity": (["VELOCITY MAP", "P", "PCA"], None, {}, "velocities"),
    "Philips B0": (["B0", "B0", "UNSPECIFIED"], None, {}, "B0 maps"),
    "Philips B0 map": (["B0 MAP", "B0", "UNSPECIFIED"], None, {}, "B0 maps"),
    "Philips, private alone": (["OTHER"], (PHILIPS, "I"), {}, "imaginary parts"),
    "Philips, fourth value alone": (["FFE", "P"], None, {}, "phases"),
    "GE phase": (["OTHER"], (GE, 1), {}, "phases"),
    "GE real": (["OTHER"], (GE, 2), {}, "real parts"),
    "GE imaginary": (["OTHER"], (GE, 3), {}, "imaginary parts"),
    "Canon": (["OTHER", "PHASE"], None, {}, "phases"),
    "UIH": (["REAL", "ND"], None, {}, "real parts"),
    "Bruker": (["IMAGINARY_IMAGE"], None, {}, "imaginary parts"),
    "component phase": (["OTHER"], None, {"ComplexImageComponent": "PHASE"}, "phases"),
    "component real": (["OTHER"], None, {"ComplexImageComponent": "REAL"}, "real parts"),
    "component mixed": (["OTHER"], None, {"ComplexImageComponent": "MIXED"}, "mixed parts"),
    "they disagree": (["P"], None, {"ComplexImageComponent": "MAGNITUDE"}, "phases"),
    "unit": (["OTHER"], None, {"RescaleType": "Hz"}, "B0 maps"),
    "field map": (["FIELD_MAP"], None, {}, "B0 maps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_magnitude_is_refused(tmp_path: Path, case: str) -> None:
    values, private, elements, word = REFUSED[case]
    elements = {"ImageType": ["ORIGINAL", "PRIMARY", *values], **elements}
    folder = written(tmp_path / "s", private, **elements)
    with pytest.raises(MRCascadeError, match=f"holds {word}, not magnitudes"):
        read_image(folder)


ACCEPTED = {
    "Siemens": (["M", "ND", "NORM", "P"], None, {}),
    "Siemens filter P": (["M", "P"], None, {}),
    "Siemens text": (["M", "ND"], (SIEMENS, "p2 M/ND"), {}),
    "Philips": (["M_FFE", "M", "FFE"], None, {}),
    "Philips IR": (["M_IR", "M", "IR"], None, {}),
    "Philips PCA": (["M_PCA", "M", "PCA"], None, {}),
    "Philips without prefix": (["M", "FFE"], None, {}),
    "Philips, private": (["OTHER"], (PHILIPS, "M"), {}),
    "GE": (["OTHER"], (GE, 0), {}),
    "Dixon": (["IN_PHASE", "IP"], None, {}),
    "opposed": (["OUT_OF_PHASE", "OP"], None, {}),
    "velocity-encoded magnitude": (["VELOCITY"], None, {"ComplexImageComponent": "MAGNITUDE"}),
    "component": (["OTHER"], None, {"ComplexImageComponent": "MAGNITUDE"}),
    "unit": (["OTHER"], None, {"RescaleType": "US"}),
    "mixed contrasts": (["MIXED", "NONE"], None, {}),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_magnitudes_are_read(tmp_path: Path, case: str) -> None:
    values, private, elements = ACCEPTED[case]
    elements = {"ImageType": ["ORIGINAL", "PRIMARY", *values], **elements}
    folder = written(tmp_path / "s", private, **elements)
    np.testing.assert_array_equal(read_image(folder).data, volume(phantom((3, 12, 10))))


def test_parts_told_by_private_elements_mix(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for place, dataset in enumerate(classic(phantom((4, 12, 10)))):
        dataset.private_block(0x43, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", place % 2)
        dataset.save_as(folder / f"{place}.dcm", enforce_file_format=True)
    with pytest.raises(MRCascadeError, match="mixes magnitudes and phases"):
        read_image(folder)


# ---- mosaics ----


def test_mosaics_of_other_makers(tmp_path: Path) -> None:
    """United Imaging's word, and private counts of slices where the words were lost."""
    vframe = written(tmp_path / "a", None, ImageType=[*OTHER, "VFRAME"])
    tiles = written(tmp_path / "b", ((0x19, 0x0A, "SIEMENS MR HEADER", "US"), 20))
    frames = Sequence([Dataset(), Dataset()])
    uih = written(tmp_path / "c", ((0x65, 0x51, "Image Private Header", "SQ"), frames))
    for folder in (vframe, tiles, uih):
        for path in folder.glob("[12].dcm"):  # one picture
            path.unlink()
        with pytest.raises(MRCascadeError, match="is a mosaic, many slices in one picture"):
            read_image(folder)


def test_one_tile_is_no_mosaic(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", ((0x19, 0x0A, "SIEMENS MR HEADER", "US"), 1))
    assert read_image(folder).shape == (10, 12, 3)


def test_positions_disprove_a_stale_word(tmp_path: Path) -> None:
    pixels = phantom((4, 12, 10))
    dataset = enhanced(pixels)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").data, 2.0 * volume(pixels) - 10)
    groups = dataset.PerFrameFunctionalGroupsSequence
    for group in groups:
        group.PlanePositionSequence = copy.deepcopy(groups[0].PlanePositionSequence)
    dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    with pytest.raises(MRCascadeError, match="is a mosaic"):
        read_image(tmp_path / "b.dcm")
