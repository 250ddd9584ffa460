"""The part of each image of a batch that holds the body; around it lies air.

A regression finds nothing in air but costs as much there as elsewhere. The coarser image, which a
level of a cascade has before it begins, shows where the body is.
"""

from collections import defaultdict

import torch
from torch import Tensor

#: Of the slice's bright magnitude; what is below it on whole rows and columns is air.
THRESHOLD = 0.05
#: Part of the pixels that is brighter: a vessel, or the skin under a coil, must not make the rest
#: look like air.
BRIGHTEST = 0.01
#: Pixels kept on each side: what the regression sees of air next to the body.
MARGIN = 16
#: A window's edges are multiples of it, as the networks would pad it to that.
MULTIPLE = 8

#: Top, bottom, left and right, as a slice has them.
Window = tuple[int, int, int, int]


def by_window(images: Tensor) -> dict[Window, list[int]]:
    """The indices of a batch (N, C, H, W), by the window that they share.

    A window is the rectangle around all that exceeds ``THRESHOLD`` of the magnitude that the
    ``BRIGHTEST`` part of an image's pixels reaches; the whole image where nothing stands out, as
    in a constant one or in noise.
    """
    height, width = images.shape[-2:]
    magnitude = torch.linalg.vector_norm(images, dim=1)
    brighter = int(BRIGHTEST * height * width)
    bright = magnitude.flatten(1).kthvalue(height * width - brighter, dim=1).values
    body = magnitude > THRESHOLD * bright[:, None, None]
    # One copy for the whole batch: each would wait until a GPU has done all it was given.
    inside = torch.cat([body.any(dim=2), body.any(dim=1)], dim=1).cpu()
    shared: defaultdict[Window, list[int]] = defaultdict(list)
    for index, (rows, columns) in enumerate(zip(*inside.split([height, width], 1), strict=True)):
        shared[(*_extent(rows), *_extent(columns))].append(index)
    return dict(shared)


def _extent(inside: Tensor) -> tuple[int, int]:
    """First and one past the last True, with margin, rounded outwards within the image; all where
    none is True."""
    where = inside.nonzero()
    if not len(where):
        return 0, inside.numel()
    first, end = int(where[0]) - MARGIN, int(where[-1]) + 1 + MARGIN
    return max(0, first // MULTIPLE * MULTIPLE), min(inside.numel(), -(-end // MULTIPLE) * MULTIPLE)
