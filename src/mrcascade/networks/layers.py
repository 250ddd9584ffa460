"""Magnitude-preserving layers of EDM2 (Karras et al. 2024, appendix B), written from the paper."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-4


def normalize(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Scale ``x`` to unit root mean square over ``dims`` (eq. 66).

    The norm is computed in float32 or wider; the result has the dtype of ``x``.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=dims, keepdim=True, dtype=wide)
    elements = x.numel() // norm.numel()
    return x / (EPS + norm / math.sqrt(elements)).to(x.dtype)


#: Factor that gives ``silu(x)`` unit magnitude for a standard normal ``x`` (eq. 81).
SILU_GAIN = 1 / 0.596


def sum_gains(t: float) -> tuple[float, float]:
    """Return the factors of ``a`` and ``b`` in the magnitude-preserving sum (eq. 88).

    The sum blends ``a`` towards ``b`` by the share ``t``. Independent terms of unit magnitude give
    a sum of unit magnitude.
    """
    size = math.hypot(1 - t, t)
    return (1 - t) / size, t / size


def mp_cat(a: Tensor, b: Tensor, t: float = 0.5) -> Tensor:
    """Concatenate (N, C, H, W) channels so that ``b`` contributes the share ``t`` (eq. 103)."""
    both, size = a.shape[1] + b.shape[1], (1 - t) ** 2 + t**2
    joined, start = torch.cat([a, b], 1), 0
    for x, share in ((a, 1 - t), (b, t)):
        factor = share * math.sqrt(both / x.shape[1] / size)
        if factor != 1:  # 1 for equal shares and widths
            # In place: on a CPU, new memory costs as much as the product.
            joined[:, start : start + x.shape[1]].mul_(factor)
        start += x.shape[1]
    return joined


def drawn(shape: tuple[int, ...], uniform: bool = False) -> Tensor:
    """Return standard normal or uniform [0, 1) numbers on the default device.

    The meta device holds only shapes, so nothing is drawn there: torch would load its compiler for
    it, which takes seconds.
    """
    values = torch.empty(shape)
    if values.is_meta:
        return values
    return values.uniform_() if uniform else values.normal_()


class MPFourier(nn.Module):
    """Random Fourier features of a scalar (eq. 75), (N,) -> (N, channels)."""

    freqs: Tensor
    phases: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        freqs, phases = drawn((channels,)), drawn((channels,), uniform=True)
        for name, values in (("freqs", freqs), ("phases", phases)):
            self.register_buffer(name, values if values.is_meta else 2 * math.pi * values)

    def forward(self, x: Tensor) -> Tensor:
        return math.sqrt(2) * torch.cos(x[:, None] * self.freqs + self.phases)


class MPConv(nn.Module):
    """Bias-free convolution or linear layer with normalised weights (eq. 47 and 66).

    In training the stored weight is renormalised in place before each use ("forced weight
    normalisation"), so that Adam's relative step size stays constant.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 0,
        gain: float | None = None,
        scale: float = 1.0,
    ) -> None:
        """Make a layer with random weights.

        Args:
            in_channels: input channels.
            out_channels: output channels.
            kernel: side of the convolution kernel in pixels; 0 makes a linear layer.
            gain: start of a learned scalar factor; None makes a layer without one.
            scale: constant factor of the weight, which has fewer elements than the input or the
                output that would be scaled instead.
        """
        super().__init__()
        self.scale = scale
        shape = (
            (out_channels, in_channels, kernel, kernel) if kernel else (out_channels, in_channels)
        )
        self.weight = nn.Parameter(drawn(shape))
        self.gain = None if gain is None else nn.Parameter(torch.tensor(float(gain)))
        self.folded = False

    def effective_weight(self) -> Tensor:
        """Return the normalised, scaled weight that multiplies the input."""
        if self.folded:
            return self.weight
        dims = tuple(range(1, self.weight.ndim))
        if self.training and torch.is_grad_enabled():
            self.renormalise()
        w = normalize(self.weight, dims) * (self.scale / math.sqrt(self.weight[0].numel()))
        return w if self.gain is None else w * self.gain

    @torch.no_grad()
    def renormalise(self) -> None:
        """Normalise the stored weight in place."""
        self.weight.copy_(normalize(self.weight, tuple(range(1, self.weight.ndim))))

    def fold(self) -> None:
        """Replace the weight by the effective one, for inference only. It cannot be undone.

        Folding again changes nothing.
        """
        with torch.no_grad():
            w = self.effective_weight()
            if w.ndim == 4:
                w = w.contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(w, requires_grad=False)
        self.gain = None
        self.folded = True

    def forward(self, x: Tensor, inputs: slice = slice(None)) -> Tensor:
        """Map ``x``, which holds the channels ``inputs`` of the layer's input; others are zero."""
        w = self.effective_weight()[:, inputs]
        if not self.folded:
            w = w.to(x.dtype)
        if w.ndim == 2:
            return x @ w.t()
        return F.conv2d(x, w, padding=w.shape[-1] // 2)


class UpsampledConv(MPConv):
    """A 3 x 3 `MPConv` of images that nearest-neighbour upsampling has doubled.

    Folded, it takes the images before the upsampling: four of nine weights meet the same pixel
    twice, so that a transposed convolution with 4 x 4 weights and stride 2 gives the same with 4
    products a pixel instead of 9.
    """

    def fold(self) -> None:
        """Replace the weight by that of the transposed convolution, for inference only."""
        if self.folded:
            return
        super().fold()
        o, i = self.weight.shape[:2]
        spread, turned = self.weight.new_zeros(i, o, 4, 4), self.weight.flip(2, 3).transpose(0, 1)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            spread[:, :, row : row + 3, column : column + 3] += turned
        spread = spread.contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(spread, requires_grad=False)

    def forward(self, x: Tensor, inputs: slice = slice(None)) -> Tensor:
        """Map (N, C, 2H, 2W), upsampled images, or (N, C, H, W) if folded, to (N, C', 2H, 2W)."""
        if not self.folded:
            return super().forward(x, inputs)
        return F.conv_transpose2d(x, self.weight[inputs], stride=2, padding=1)


def fold(network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Turn ``network`` into its inference form in place: folded weights, channels last.

    Folding again changes nothing.

    Args:
        network: the network, which is returned.
        dtype: new dtype of its weights; None keeps theirs. Under autocast, weights in the autocast
            dtype save a cast in every evaluation.
    """
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, MPConv):
            module.fold()
    if dtype is not None:
        for parameter in network.parameters():
            parameter.data = parameter.data.to(dtype)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
