"""Windows around the body in each image of a batch.

A regression finds nothing in air, but costs as much there as elsewhere. The coarser image, which a
level has before it begins, shows the position of the body.
"""

from collections import defaultdict

import torch
from torch import Tensor

#: Share of the slice's bright magnitude. Rows and columns that stay below it are air.
THRESHOLD = 0.05
#: Share of pixels above the bright magnitude. It keeps a bright vessel, or skin under a coil, from
#: making the rest look like air.
BRIGHTEST = 0.01
#: Pixels of air kept on each side as context for the regression.
MARGIN = 16
#: Window edges are multiples of it, because networks would pad to that anyway.
MULTIPLE = 8

#: Top, bottom, left and right, as in Python slices.
Window = tuple[int, int, int, int]


def by_window(images: Tensor) -> dict[Window, list[int]]:
    """Group the images of a batch (N, C, H, W) by their windows.

    A window is the rectangle around all pixels above ``THRESHOLD`` of the bright magnitude, which
    a share ``BRIGHTEST`` of the image's pixels exceeds. It is the whole image if nothing stands
    out, as in a constant image or in noise.

    Returns:
        Window -> indices of the images that share it.
    """
    height, width = images.shape[-2:]
    magnitude = torch.linalg.vector_norm(images, dim=1)
    brighter = int(BRIGHTEST * height * width)
    bright = magnitude.flatten(1).kthvalue(height * width - brighter, dim=1).values
    body = magnitude > THRESHOLD * bright[:, None, None]
    # One copy for the whole batch, because every copy waits for all pending work on a GPU.
    inside = torch.cat([body.any(dim=2), body.any(dim=1)], dim=1).cpu()
    shared: defaultdict[Window, list[int]] = defaultdict(list)
    for index, (rows, columns) in enumerate(zip(*inside.split([height, width], 1), strict=True)):
        shared[(*_extent(rows), *_extent(columns))].append(index)
    return dict(shared)


def _extent(inside: Tensor) -> tuple[int, int]:
    """Return start and end of the True values with margin, rounded outwards within the image.

    Returns the whole range if no value is True.
    """
    where = inside.nonzero()
    if not len(where):
        return 0, inside.numel()
    first, end = int(where[0]) - MARGIN, int(where[-1]) + 1 + MARGIN
    return max(0, first // MULTIPLE * MULTIPLE), min(inside.numel(), -(-end // MULTIPLE) * MULTIPLE)
