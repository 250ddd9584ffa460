"""Pages for the tests of reports, and what they hold."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrcascade.io import Display
from mrcascade.pictures.report.page import (
    ReportContent,
    ReportLayer,
    ReportView,
    write_report_page,
)

LAYERS = (
    ReportLayer("data", "data", "before"),
    ReportLayer("result", "result", "after"),
    ReportLayer("std", "standard deviation", "std"),
)
WINDOW = (10.0, 90.0)
MOST_STD = 7.0


def stacks(shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Slices (S, H, W) of each layer, with values inside and outside the window."""
    rng = np.random.default_rng(0)
    made = {"data": rng.uniform(0, 100, shape), "result": rng.uniform(0, 100, shape)}
    return made | {"std": rng.uniform(0, 8, shape)}


def write_page(
    path: Path, images: dict[str, np.ndarray], display: Display | None = None, **parts: Any
) -> Path:
    count = len(images["result"])
    view = ReportView(
        "slices",
        [f"slice {n + 1} of {count}" for n in range(count)],
        lambda key, number: images[key][number],
        Display() if display is None else display,
        count // 2,
    )
    texts: dict[str, Any] = {"title": "a title", "subtitle": "a subtitle", "unit": "a.u."}
    given = texts | {"layers": LAYERS} | parts
    write_report_page(path, ReportContent(views=[view], window=WINDOW, most_std=MOST_STD, **given))
    return path


def page_data(path: Path) -> dict[str, Any]:
    """The viewer's data of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())
    assert found is not None
    return dict(json.loads(found[1]))


def page_slice(data: dict[str, Any], key: str, number: int, view: int = 0) -> np.ndarray:
    """The decoded picture of a slice."""
    listed = data["views"][view]["slices"][key]
    while isinstance(listed[number], int):
        number = listed[number]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(listed[number]))))
