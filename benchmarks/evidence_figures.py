"""Pictures of the evidence pages: one anatomy each, five columns at most, details and errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from mrcascade.evaluation.figure import choose_pictures
from mrcascade.studies.figure import draw_errors

METHODS = ("zero-fill", "mean", "balanced", "sample")
TASK = "test-4x-noise0"
WIDTH = 1400  # pixels of a picture; a page of the docs shows about half of them


def draw_anatomies(study: Path, target: Path) -> list[Path]:
    """Draw the kept slices of a study at 4x, one picture per anatomy, and return the files."""
    folder = study / TASK
    slices = json.loads((folder / "table.json").read_text())["settings"]["slices"]
    files = [(name, name.split("/")[0], np.array(n)) for name, n in slices.items()]
    written = []
    for picture in choose_pictures(files):
        drawn = target / f"{TASK.removesuffix('-noise0')}-{picture.file.split('/')[0]}.png"
        draw_errors(folder, picture, METHODS, drawn)
        image = Image.open(drawn).convert("RGB")
        image.thumbnail((WIDTH, WIDTH))
        image.save(drawn.with_suffix(".jpg"), quality=88)
        drawn.unlink()
        written.append(drawn.with_suffix(".jpg"))
    return written
