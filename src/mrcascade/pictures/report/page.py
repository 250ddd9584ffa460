"""The report of one result: its slices in a viewer, facts, and a methods paragraph."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import numpy as np

from mrcascade.io import Display
from mrcascade.messages.printable import printable
from mrcascade.pictures.report.eight_bit import Coding, choose_coding, eight_bit, thumbnail
from mrcascade.pictures.report.facts import Section
from mrcascade.pictures.report.head import report_head
from mrcascade.pictures.report.methods import Methods
from mrcascade.pictures.report.template import DATA, escaped, filled, script_data

_PROBES = 11  # slices of each layer whose size is looked at


@dataclass(frozen=True)
class ReportLayer:
    """A kind of image that every view shows.

    Attributes:
        key: short name.
        title: title in words.
        role: "before", "after", or "std" for a standard deviation map.
    """

    key: str
    title: str
    role: Literal["before", "after", "std"]


@dataclass(frozen=True)
class ReportView:
    """A stack of parallel planes through a result.

    Attributes:
        name: name of the planes.
        labels: name of each plane, such as "axial slice 5 of 9".
        read: returns plane number i (H, W), real, of the layer with a key.
        display: orientation and aspect of the planes on screen.
        start: number of the plane to show first.
    """

    name: str
    labels: Sequence[str]
    read: Callable[[str, int], np.ndarray]
    display: Display
    start: int


@dataclass(frozen=True)
class ReportContent:
    """What a report shows.

    Attributes:
        title, subtitle: lines at the top.
        layers: images, those before and those after first.
        views: stacks of planes.
        window: values shown black and white.
        most_std: standard deviation at the upper end of the colour scale; 0 without a map.
        unit: unit of the intensities.
        warnings: lines in a box at the top.
        sections: facts.
        methods: paragraph and references.
    """

    title: str
    subtitle: str
    layers: Sequence[ReportLayer]
    views: Sequence[ReportView]
    window: tuple[float, float]
    most_std: float
    unit: str
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()
    methods: Methods = field(default_factory=Methods)

    def plane(self, view: ReportView, layer: ReportLayer, number: int) -> np.ndarray:
        """Return a plane as it is drawn, (rows, columns) uint8."""
        window = (0.0, self.most_std or 1.0) if layer.role == "std" else self.window
        return eight_bit(view.display.turn(view.read(layer.key, number)), window)


def write_report_page(path: Path, content: ReportContent) -> None:
    """Write a report. Pictures pass one at a time, so memory does not grow with their number.

    They are PNG, which keeps all grey levels, where the file stays small, else JPEG
    (`choose_coding`).

    Args:
        path: the HTML file, which is replaced.
        content: what it shows.
    """
    coding = _coding(content)
    first = content.views[0]
    after = next(layer for layer in content.layers if layer.role == "after")
    icon = thumbnail(content.plane(first, after, first.start), first.display.aspect)
    page = filled(
        "result.html",
        "viewer.js",
        head=report_head(content.title, icon),
        title=escaped(content.title),
        subtitle=escaped(content.subtitle),
        warnings=_warnings(content.warnings),
        pictures=escaped(_pictures(coding)),
        sections="".join(map(_section, content.sections)),
        methods="".join(f"<p>{escaped(one)}</p>" for one in content.methods.paragraphs),
        references="".join(f"<li>{escaped(one)}</li>" for one in content.methods.references),
    )
    before, _, behind = page.partition(DATA)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(before)
        _write_data(file, content, coding)
        file.write(behind)


def _coding(content: ReportContent) -> Coding:
    probes = []
    for view in content.views:
        count = len(view.labels)
        numbers = np.unique((np.arange(_PROBES) + 0.5) * count / _PROBES // 1).astype(int)
        for layer in content.layers:
            probes.append((count, [content.plane(view, layer, int(n)) for n in numbers]))
    return choose_coding(probes)


def _write_data(file: IO[str], content: ReportContent, coding: Coding) -> None:
    """Write the viewer's data as JSON, slice by slice."""
    facts = {
        "layers": [
            {"key": one.key, "title": printable(one.title), "role": one.role}
            for one in content.layers
        ],
        "uri": f"data:{coding.mime};base64,",
        "window": content.window,
        "mostStd": content.most_std,
        "unit": printable(content.unit),
    }
    file.write(script_data(facts)[:-1])
    file.write(',"views":[')
    for n, view in enumerate(content.views):
        file.write("," * (n > 0))
        _write_view(file, content, view, coding)
    file.write("]}")


def _write_view(file: IO[str], content: ReportContent, view: ReportView, coding: Coding) -> None:
    numbers = list(range(view.start % coding.every, len(view.labels), coding.every))
    rows, columns = content.plane(view, content.layers[0], view.start).shape
    display = view.display
    facts = {
        "name": printable(view.name),
        "labels": [printable(view.labels[n]) for n in numbers],
        "start": numbers.index(view.start),
        "rows": rows,
        "columns": columns,
        "aspect": display.aspect,
        "edges": [display.left, display.right, display.top, display.bottom],
    }
    file.write(script_data(facts)[:-1])
    file.write(',"slices":{')
    for place, layer in enumerate(content.layers):
        file.write(f"{',' * (place > 0)}{script_data(layer.key)}:[")
        last, first = b"", 0
        for k, number in enumerate(numbers):
            picture = coding.encode(content.plane(view, layer, number))
            file.write("," * (k > 0))
            if picture == last:  # thick slices repeat; the number of an equal one is enough
                file.write(str(first))
                continue
            last, first = picture, k
            file.write(f'"{base64.b64encode(picture).decode("ascii")}"')
        file.write("]")
    file.write("}}")


def _pictures(coding: Coding) -> str:
    kind = (
        "8-bit PNG, exact within the grey scale"
        if coding.quality is None
        else f"8-bit JPEG of quality {coding.quality}, for looking at; measure in the result itself"
    )
    thinned = "" if coding.every == 1 else f"; every {coding.every} slices one is shown"
    return f"Pictures: {kind}{thinned}."


def _warnings(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escaped(line)}</li>" for line in lines)
    return f'<section class="warnings" aria-label="Warnings"><ul>{items}</ul></section>'


def _section(section: Section) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escaped(name)}</th><td>{escaped(value)}</td></tr>"
        for name, value in section.rows
    )
    title, table = escaped(section.title), f"<table class='facts'><tbody>{rows}</tbody></table>"
    if section.folded:
        return f"<details><summary>{title}</summary>{table}</details>"
    return f"<h3>{title}</h3>{table}"
