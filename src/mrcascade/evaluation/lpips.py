"""LPIPS v0.1 with AlexNet (Zhang et al. 2018, "The unreasonable effectiveness of deep features").

Features after each of AlexNet's five rectifiers are normalised over channels. Their squared
difference is weighted per channel, averaged over positions and summed over layers. The weights
come in two files: AlexNet's convolutions, trained on ImageNet, and LPIPS's linear layers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mrcascade.errors import MRCascadeError
from mrcascade.storage.digest import file_sha256
from mrcascade.storage.files import check_regular

NETWORK = "AlexNet, LPIPS v0.1"
VARIABLE = "MRCASCADE_LPIPS"
MINIMUM_SIZE = 31  # smaller images vanish in AlexNet's second pooling
BATCH = 8  # slices per pass; bounds the memory of the features
# Names of the files: plain, in torchvision's cache, in the `lpips` package.
BACKBONE_FILES = ("alexnet_features_imagenet1k_v1.pth", "alexnet-owt-7be5be79.pth")
LINEAR_FILES = ("lpips_v0.1_alex_lin.pth", "alex.pth")

# Input normalisation of LPIPS for images in [-1, 1], per colour.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class _Convolution(NamedTuple):
    module: int  # index in torchvision's `features`
    stride: int
    padding: int
    pooled: bool  # whether 3x3 max pooling with stride 2 precedes it


_ALEXNET = (
    _Convolution(0, 4, 2, False),
    _Convolution(3, 1, 2, True),
    _Convolution(6, 1, 1, True),
    _Convolution(8, 1, 1, False),
    _Convolution(10, 1, 1, False),
)


class LPIPSFiles(NamedTuple):
    """Weight files of AlexNet's convolutions and of LPIPS's linear layers."""

    backbone: Path
    linear: Path

    @property
    def digest(self) -> str:
        """Start of each file's SHA-256, which identifies the weights."""
        return f"{file_sha256(self.backbone)[:12]}-{file_sha256(self.linear)[:12]}"


class LPIPS:
    """Distance between two batches of images; see ``find_weights`` for the files."""

    def __init__(
        self,
        backbone: Mapping[str, Tensor],
        linear: Mapping[str, Tensor],
        device: str | torch.device = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self._layers = [
            tuple(
                backbone[f"features.{layer.module}.{part}"].float().to(device)
                for part in ("weight", "bias")
            )
            for layer in _ALEXNET
        ]
        self._linear = [
            linear[f"lin{i}.model.1.weight"].float().to(device) for i in range(len(_ALEXNET))
        ]
        self._shift = torch.tensor(_SHIFT, device=device)[:, None, None]
        self._scale = torch.tensor(_SCALE, device=device)[:, None, None]

    @classmethod
    def load(cls, files: LPIPSFiles, device: str | torch.device = "cpu") -> LPIPS:
        """Load the weights. Raises MRCascadeError for files that are not weights of LPIPS."""
        states = []
        for path in files:
            check_regular(path)
            try:
                states.append(torch.load(path, map_location="cpu", weights_only=True))
            except Exception as error:  # damaged files raise many types of errors
                raise MRCascadeError(
                    f"{path}: cannot be read as weights; fetch it again"
                ) from error
        try:
            return cls(states[0], states[1], device)
        except (KeyError, AttributeError, TypeError) as error:
            raise MRCascadeError(
                f"{files.backbone}, {files.linear}: not the weights of LPIPS with AlexNet ({error})"
            ) from error

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return distances (N,) of images (N, 3, H, W) in [-1, 1], 31 pixels or more per side."""
        total = torch.zeros(a.shape[0], device=self._device)
        x, y = (self._normalised(v) for v in (a, b))
        for layer, (weight, bias), linear in zip(_ALEXNET, self._layers, self._linear, strict=True):
            x, y = (_convolved(v, layer, weight, bias) for v in (x, y))
            difference = (_unit_length(x) - _unit_length(y)) ** 2
            total += functional.conv2d(difference, linear).mean((1, 2, 3))
        return total.cpu()

    def _normalised(self, images: Tensor) -> Tensor:
        return (images.float().to(self._device) - self._shift) / self._scale

    def slices(self, truth: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Return distances (S,) of MR slices (S, H, W).

        Magnitudes are scaled so that 0 becomes -1 and the maximum of each slice's ground truth
        becomes 1, and repeated in three channels. Nothing is clipped. Raises MRCascadeError for
        slices too small for the network.
        """
        if min(truth.shape[1:]) < MINIMUM_SIZE:
            raise MRCascadeError(
                f"images of {truth.shape[1]}x{truth.shape[2]} are too small for LPIPS"
                f" ({MINIMUM_SIZE} pixels); evaluate larger ones"
            )
        maximum = np.abs(truth).max((1, 2), keepdims=True)
        pair = [torch.from_numpy(2 * np.abs(v) / maximum - 1)[:, None] for v in (truth, images)]
        chunks = [
            self(*(v[i : i + BATCH].expand(-1, 3, -1, -1) for v in pair))
            for i in range(0, len(truth), BATCH)
        ]
        return torch.cat(chunks).numpy().astype(np.float64)


def find_weights(folder: Path | None = None) -> LPIPSFiles | None:
    """Find the weight files in ``folder``, in ``$MRCASCADE_LPIPS`` or in torch's hub cache.

    Returns:
        The files; None if no folder was named and the cache does not have them.

    Raises:
        MRCascadeError: a named folder does not have them.
    """
    named = os.environ.get(VARIABLE)
    chosen, origin = folder, "--lpips-weights"
    if chosen is None and named:
        chosen, origin = Path(named), f"${VARIABLE}"
    if chosen is None:
        return _weights_in(Path(torch.hub.get_dir()) / "checkpoints")
    found = _weights_in(chosen)
    if found is None:
        raise MRCascadeError(
            f"{origin} {chosen}: LPIPS needs {' or '.join(BACKBONE_FILES)} and"
            f" {' or '.join(LINEAR_FILES)} there"
        )
    return found


def _weights_in(folder: Path) -> LPIPSFiles | None:
    found = [
        next((folder / name for name in names if (folder / name).is_file()), None)
        for names in (BACKBONE_FILES, LINEAR_FILES)
    ]
    return LPIPSFiles(found[0], found[1]) if found[0] and found[1] else None


def _convolved(x: Tensor, layer: _Convolution, weight: Tensor, bias: Tensor) -> Tensor:
    if layer.pooled:
        x = functional.max_pool2d(x, 3, 2)
    return functional.conv2d(x, weight, bias, layer.stride, layer.padding).relu()


def _unit_length(features: Tensor) -> Tensor:
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)
