"""The preview PNG of a volume whose slices became thinner: its two reformatted planes.

Each row shows one of the planes that contain the slice axis, at true aspect and in radiological
display: the slices as they were acquired, restorations of them, a deviation map. All images share
one intensity window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mrcascade.io import Display
from mrcascade.pictures.drawing import NOTICE, label_edges
from mrcascade.pictures.preview import Panel, intensity_window, largest_deviation, shown_pixels
from mrcascade.pictures.sheet import Sheet, panel_size


@dataclass(frozen=True)
class Reformatted:
    """One row of a preview: a plane, before and after.

    Attributes:
        panels: columns from the left, on one grid. The first sets the intensity window; a standard
            deviation map comes last.
        display: orientation and aspect of the plane on screen.
    """

    panels: Sequence[Panel]
    display: Display


def write_reformatted(
    path: Path,
    planes: Sequence[Reformatted],
    title: str,
    about: str,
    unit: str = "a.u.",
    zero: float = 0.0,
) -> None:
    """Write a PNG of reformatted planes.

    Args:
        path: the PNG file.
        planes: the rows, with equal columns; the titles of the first one are shown.
        title: two lines above the panels.
        about: words about the slices, below the panels.
        unit: unit of the intensities.
        zero: intensity of no signal.
    """
    images = [[p.display.turn(shown_pixels(one.pixels)) for one in p.panels] for p in planes]
    windows = [intensity_window(row[0] - zero) for row in images]
    low, high = (zero + end([w[i] for w in windows]) for i, end in enumerate((min, max)))
    panels = planes[0].panels
    spreads = [row[k] for row in images for k, panel in enumerate(panels) if panel.spread]
    most = max((largest_deviation(spread) for spread in spreads), default=0.0)
    sizes = [
        panel_size(row[0].shape, p.display.aspect) for row, p in zip(images, planes, strict=True)
    ]
    sheet = Sheet(len(panels), sizes, bool(spreads))
    for row, (plane, drawn) in enumerate(zip(planes, images, strict=True)):
        for column, (panel, image) in enumerate(zip(plane.panels, drawn, strict=True)):
            limits = (0.0, most) if panel.spread else (low, high)
            colours = "magma" if panel.spread else "gray"
            text = panel.title if row == 0 else ""
            axes = sheet.whole(column, row, image, text, colours, limits)
            label_edges(axes, plane.display)
            if panel.spread and row == 0:
                sheet.colour_bar(axes.images[0], f"standard deviation ({unit})")
    foot = f"grey scale {low:.4g} to {high:.4g} {unit}; true aspect; {about}\n{NOTICE}"
    sheet.save(path, title, foot)
