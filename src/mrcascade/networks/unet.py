"""The EDM2 U-Net (Karras et al. 2024, config G) with an optional space-to-depth stem."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrcascade.networks.config import UNetConfig
from mrcascade.networks.layers import (
    SILU_GAIN,
    MPConv,
    MPFourier,
    UpsampledConv,
    mp_cat,
    normalize,
    sum_gains,
)

HEAD_CHANNELS = 64
#: Factors of the main path and of the residual branch in their sum.
KEPT, ADDED = sum_gains(0.3)
CLIP = 256.0


class Attention(nn.Module):
    """Cosine self-attention over all pixels (eq. 33), added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // HEAD_CHANNELS)
        self.qkv = MPConv(channels, channels * 3, 1)
        self.proj = MPConv(channels, channels, 1, scale=ADDED)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        qkv = self.qkv(x).reshape(n, self.heads, c // self.heads, 3, h * w)
        # torch's fused attention needs contiguous channels, and is several times faster.
        q, k, v = normalize(qkv, (2,)).permute(3, 0, 1, 4, 2).contiguous().unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(2, 3).reshape(n, c, h, w)).add_(x, alpha=KEPT)


class Block(nn.Module):
    """Residual block of the encoder, which begins with a pixel norm, or decoder (figure 21)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int,
        *,
        decoder: bool,
        attention: bool,
        resample: str = "keep",
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.resample = resample
        #: Number of channels of the output.
        self.width = out_channels
        self.skip = MPConv(in_channels, out_channels, 1) if in_channels != out_channels else None
        entering = in_channels if decoder else out_channels
        layer = UpsampledConv if resample == "up" else MPConv
        self.conv0 = layer(entering, out_channels, 3, scale=SILU_GAIN)
        self.modulation = MPConv(embedding, out_channels, gain=0.0, scale=SILU_GAIN)
        self.conv1 = MPConv(out_channels, out_channels, 3, scale=SILU_GAIN * ADDED)
        self.attention = Attention(out_channels) if attention else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        # A folded convolution upsamples by itself.
        small = x if self.resample == "up" and self.conv0.folded else None
        if self.resample == "down":  # the paper's [1, 1] box filter
            x = F.avg_pool2d(x, 2)
        elif self.resample == "up" and small is None:
            # On some devices autocast makes the result float32, and so all that follows.
            x = F.interpolate(x, scale_factor=2, mode="nearest").to(x.dtype)
        if not self.decoder:
            x = normalize(x if self.skip is None else self.skip(x), (1,))
        scale = 1 + self.modulation(embedding)[:, :, None, None]
        # In place where the tensor has no other use: on a CPU, new memory costs as much as the sum.
        y = self.conv0(F.silu(x)).mul_(scale.to(x.dtype))
        y = self.conv1(F.silu(y, inplace=True))
        if small is not None:
            n, c, h, w = small.shape
            y.view(n, c, h, 2, w, 2).add_(small[:, :, :, None, :, None], alpha=KEPT)
            x = y
        else:
            if self.decoder and self.skip is not None:
                x = self.skip(x)
            x = y.add_(x, alpha=KEPT)
        if self.attention is not None:
            x = self.attention(x)
        return x.clamp_(-CLIP, CLIP)


class UNet(nn.Module):
    """Raw network ``F(x, c_noise)`` of the EDM preconditioning.

    ``in_channels`` counts the channels of the noisy image and of its condition. The network adds a
    channel of ones in place of biases. Image sides may have any length: the input is padded by
    reflection (small images by repetition) to a multiple of ``config.multiple``, and the output is
    cropped.
    """

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.config = config
        self.in_channels = in_channels
        widths = [config.channels * m for m in config.multipliers]
        embedding = max(widths)
        self.fourier = MPFourier(config.channels)
        self.embed = MPConv(config.channels, embedding)
        area = config.stem**2
        self.stem = MPConv((in_channels + 1) * area, widths[0], 3)

        def block(
            i: int, o: int, level: int, decoder: bool, resample: str = "keep", attend: bool = True
        ) -> Block:
            attends = attend and level in config.attention and resample == "keep"
            return Block(i, o, embedding, decoder=decoder, attention=attends, resample=resample)

        self.encoder = nn.ModuleList()
        skips = [widths[0]]
        current = widths[0]
        for level, width in enumerate(widths):
            if level:
                self.encoder.append(block(current, current, level, False, "down"))
                skips.append(current)
            for _ in range(config.blocks):
                self.encoder.append(block(current, width, level, False))
                current = width
                skips.append(current)
        self.bottom = nn.ModuleList(  # only the first of the two attends
            [block(current, current, len(widths) - 1, True, attend=a) for a in (True, False)]
        )
        self.decoder = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            if level < len(widths) - 1:
                self.decoder.append(block(current, current, level, True, "up"))
            for _ in range(config.blocks + 1):
                self.decoder.append(block(current + skips.pop(), width, level, True))
                current = width
        self.out = MPConv(current, out_channels * area, 3, gain=0.0)

    @property
    def halving(self) -> Block:
        """Encoder block that leads to the coarsest grid; the last one of a U-Net of one grid."""
        found = [block for block in self.encoder if block.resample == "down"] or self.encoder
        block = found[-1]
        assert isinstance(block, Block)
        return block

    def _entered(self, x: Tensor) -> Tensor:
        """Return what the last channels (N, C, H, W) of an input add to the first convolution."""
        first = self.in_channels - x.shape[1]
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        return self._enter(x, slice(first * self.config.stem**2, None))

    def _enter(self, x: Tensor, inputs: slice) -> Tensor:
        """Return the first convolution of some input channels, which the stem has made ``inputs``
        of that convolution."""
        x = pad_to_multiple(x, self.config.multiple)
        if self.config.stem > 1:
            x = F.pixel_unshuffle(x, self.config.stem)
        return self.stem(x.contiguous(memory_format=torch.channels_last), inputs)

    def forward(
        self, x: Tensor, c_noise: Tensor | None = None, entered: Tensor | None = None
    ) -> Tensor:
        """Map an input and ``c_noise`` (N,) to (N, out_channels, H, W).

        Args:
            x: (N, in_channels, H, W), or its first channels alone; without labels its last ones.
            c_noise: labels of the noise levels. Without them the result is what ``x`` adds to the
                first convolution, which is the same in all evaluations of a chain.
            entered: that result for the other channels; None if ``x`` has all.
        """
        if c_noise is None:
            return self._entered(x)
        h, w = x.shape[-2:]
        embedding = F.silu(self.embed(self.fourier(c_noise)))
        if entered is None:
            x = self._enter(torch.cat([x, torch.ones_like(x[:, :1])], 1), slice(None))
        else:
            x = self._enter(x, slice(x.shape[1] * self.config.stem**2)) + entered
        skips = [x]
        for module in self.encoder:
            x = module(x, embedding)
            skips.append(x)
        for module in self.bottom:
            x = module(x, embedding)
        for module in self.decoder:
            if module.resample == "keep":
                x = mp_cat(x, skips.pop())
            x = module(x, embedding)
        x = self.out(x)
        if self.config.stem > 1:
            x = F.pixel_shuffle(x, self.config.stem)
        return x[..., :h, :w]


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) at the bottom and the right until both sides are multiples.

    It pads by reflection where the image is large enough for it, else by repetition.
    """
    h, w = x.shape[-2:]
    bottom, right = -h % multiple, -w % multiple
    if not (bottom or right):
        return x
    mode = "reflect" if bottom < h and right < w else "replicate"
    return F.pad(x, (0, right, 0, bottom), mode=mode)


class LogVariance(nn.Module):
    """Learned uncertainty ``u(sigma)`` of the loss (eq. 21), (N,) -> (N,).

    One linear layer on Fourier features; only training uses it.
    """

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.fourier = MPFourier(channels)
        self.linear = MPConv(channels, 1)

    def forward(self, c_noise: Tensor) -> Tensor:
        return self.linear(self.fourier(c_noise))[:, 0]


def count_flop(network: nn.Module, *inputs: Tensor) -> int:
    """Return the operations of one evaluation.

    A multiply-add of a convolution, linear layer or attention counts as two; other operations are
    not counted. Nothing is computed: the tensors have no data.
    """
    from torch.func import functional_call
    from torch.utils.flop_counter import FlopCounterMode

    state = dict(network.named_parameters()) | dict(network.named_buffers())
    # One type, as autocast, which would see to that, leaves tensors without data alone.
    like = partial(torch.empty_like, dtype=torch.float32, device="meta")
    weights = {name: like(value) for name, value in state.items()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(network, weights, tuple(like(value) for value in inputs))
    return int(counter.get_total_flops())


def parameter_count(network: nn.Module) -> int:
    """Return the number of learned weights."""
    return sum(p.numel() for p in network.parameters())
