"""Restorations in notebooks: a small table with a picture, and a view by ipyniivue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mrcascade.errors import MRCascadeError
from mrcascade.pictures.preview import intensity_window, largest_deviation, shown_pixels
from mrcascade.pictures.report.eight_bit import eight_bit, encoded
from mrcascade.pictures.report.facts import Sidecar, sections_of, warnings_of
from mrcascade.pictures.report.head import data_uri
from mrcascade.pictures.report.template import escaped

_WIDEST = 512  # pixels of a picture's longer side; larger ones are thinned
_SECTIONS = ("Quality", "Run", "All settings")


def restoration_html(mean: np.ndarray, std: np.ndarray | None, facts: Sidecar) -> str:
    """Return HTML of a restoration: the middle slice, its deviation, and a table.

    Args:
        mean: (H, W) or (S, H, W), real or complex.
        std: the same, or None.
        facts: what is known, with the keys of a result's JSON file.
    """
    image = _middle(mean)
    pictures = _picture(image, intensity_window(image), "middle slice of the mean")
    if std is not None:
        spread = _middle(std)
        pictures += _picture(spread, (0.0, largest_deviation(spread)), "standard deviation")
    rows = "".join(
        f"<tr><th style='text-align:left'>{escaped(name)}</th>"
        f"<td style='text-align:left'>{escaped(value)}</td></tr>"
        for section in sections_of(facts)
        if section.title in _SECTIONS
        for name, value in section.rows
    )
    lines = "".join(f"<p>{escaped(line)}</p>" for line in warnings_of(facts))
    return f"<div>{pictures}{lines}<table>{rows}</table></div>"


def notebook_view(mean: np.ndarray, std: np.ndarray | None, affine: np.ndarray | None) -> Any:
    """Return an ipyniivue widget; the arguments are those of `Restoration.view` and its images.

    Raises MRCascadeError where ipyniivue is not installed.
    """
    try:
        from ipyniivue import NiiVue
    except ImportError as error:
        raise MRCascadeError(
            "view() needs ipyniivue; install it with: pip install 'mrcascade[notebook]'"
        ) from error
    place = np.eye(4) if affine is None else np.asarray(affine, np.float64)
    low, high = intensity_window(_middle(mean))
    volumes: list[Mapping[str, Any]] = [
        _volume(mean, place, "mean.nii") | {"cal_min": low, "cal_max": high}
    ]
    if std is not None:
        shown = {"colormap": "magma", "opacity": 0.5, "cal_min": 0.0}
        volumes.append(_volume(std, place, "std.nii") | shown)
    view = NiiVue()
    view.load_volumes(volumes)
    return view


def _volume(stack: np.ndarray, affine: np.ndarray, name: str) -> dict[str, Any]:
    """Return the bytes of a NIfTI file with axes (column, row, slice)."""
    import nibabel as nib

    image = shown_pixels(stack)
    image = (image[None] if image.ndim == 2 else image).transpose(2, 1, 0)
    return {"data": nib.Nifti1Image(image.astype(np.float32), affine).to_bytes(), "name": name}


def _middle(stack: np.ndarray) -> np.ndarray:
    image = shown_pixels(stack)
    return image if image.ndim == 2 else image[len(image) // 2]


def _picture(image: np.ndarray, window: tuple[float, float], words: str) -> str:
    every = max(1, -(-max(image.shape) // _WIDEST))
    address = data_uri("image/png", encoded(eight_bit(image[::every, ::every], window), None))
    return (
        f'<img src="{address}" alt="{escaped(words)}" title="{escaped(words)}" style="margin:2px">'
    )
