"""How much memory a batch takes in the networks, and how large a batch may be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from mrcascade.devices.facts import free_bytes, release_cache, whole_memory
from mrcascade.devices.failures import lacks_memory, no_memory
from mrcascade.devices.precision import computes_in_bfloat16
from mrcascade.errors import MRCascadeError
from mrcascade.networks import UNetConfig
from mrcascade.networks.compiled import plain_networks
from mrcascade.networks.layers import MPConv
from mrcascade.networks.unet import HEAD_CHANNELS
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.level import LevelPrior
from mrcascade.sampling import CascadePlan

Result = TypeVar("Result")

# What the networks and the samplers may take on a CPU; a GPU gives half of what is free.
CPU_BYTES = 2**30
# Kernels on GPUs may count the elements of a tensor in 32 bits. The largest one of a batch stays
# below 2^31: it takes 2 bytes per element or more, and `image_bytes` counts it five times.
GPU_BYTES = 10 * 2**31
# Images of a batch on a CPU where nobody asks for a number; threads share them well from there on.
CPU_BATCH = 4
# Activations grow with the area, so a small image tells those of a large one.
_PROBE_SIDE = 64
# The peak in units of the input and output of the largest convolution: skip connections and
# temporaries included, it was 3.4 to 4.7 (resident memory of the networks tiny and small at sides
# 256 to 768, images outside taken off), and 3.2 to 4.4 in bfloat16, whose elements have half the
# bytes. Of the tensors alone, by the rules of CUDA, it is up to 2.7, and 3.4 in bfloat16.
_LARGEST_CONVOLUTIONS = 5
# What a gradient keeps in units of all convolutions' inputs and outputs, which share much: 0.68
# (resident memory of the network small at sides 256 and 512).
_KEPT_COPIES = 0.7
# Attention may hold its scores, their exponentials and one more copy.
_SCORE_COPIES = 3
# Full-resolution float32 images that sampler, proximal step, moments (float64) and residual hold
# per image of a batch, at most (counted in their code).
IMAGES_OUTSIDE = 24
# What `_convolutions` has counted, for as long as the networks live.
_probed: WeakKeyDictionary[nn.Module, tuple[int, int]] = WeakKeyDictionary()


def image_bytes(prior: CascadePrior, plan: CascadePlan, scores: bool = True) -> int:
    """Peak memory in bytes that one image of a batch takes in a sampler, on the safe side.

    Each level's networks run once on a small image, which tells the largest convolution, counted
    in their precision; that is scaled to the level's area. The attention scores, which grow with
    the area's square, and the images outside the networks are added. A sampler that follows a
    gradient keeps what every convolution took and gave. The one level of a multi-grid sampler
    counts on the finest grid.

    scores: whether to count them; some attentions never hold them all.
    """
    gradient = plan.settings.gradients
    networks = max(
        _network_bytes(level, shape, gradient, scores)
        # A multi-grid plan has more grids than its prior has levels.
        for level, shape in zip(prior.levels, plan.pyramid.shapes, strict=False)
    )
    outside = IMAGES_OUTSIDE * 4 * prior.channels * math.prod(plan.pyramid.shapes[0])
    return round(networks + outside)


def fitting_batch(asked: int, per_image: int, device: torch.device) -> int:
    """The largest batch of at most ``asked`` images that stays within the device's bound; 1 where
    not even one does."""
    bound = CPU_BYTES
    if device.type == "cuda":
        bound = min(free_bytes(device) // 2, GPU_BYTES)
    return max(1, min(asked, bound // per_image))


def default_batch(images: int, device: torch.device) -> int:
    """Images per batch, before memory bounds them, where nobody asks for a number and there are
    ``images``: all of them on a GPU, which larger batches keep busier."""
    return max(1, images) if device.type == "cuda" else CPU_BATCH


class Batches:
    """Batches that shrink where memory does not suffice, on whatever device.

    Attributes:
        size: images per batch from here on.
    """

    def __init__(self, size: int, device: torch.device, say: Callable[[str], None]) -> None:
        """``say`` hears of each halving."""
        self.size = size
        self._device, self._say = device, say

    def run(self, what: object, images: int, work: Callable[[int], Result]) -> Result:
        """Return ``work(size)`` on ``images`` images, begun again with half the size for as long as
        memory does not suffice.

        Raises MRCascadeError where it does not even for one image; that one, and those of
        ``work``, name ``what``.
        """
        while True:
            try:
                return work(self.size)
            except MRCascadeError as error:
                raise MRCascadeError(f"{what}: {error}") from error
            except (MemoryError, RuntimeError) as error:
                if not lacks_memory(error):
                    raise
                tried = min(self.size, images)
                if tried == 1:
                    raise no_memory(what, self._device) from error
            # Outside the handler, so that what the failed attempt held is free.
            self.size = (tried + 1) // 2
            self._say(f"out of memory: batches of {self.size} from here on")
            release_cache(self._device)


def check_memory(prior: CascadePrior, plan: CascadePlan) -> None:
    """Raise MRCascadeError where one image needs more than all of the memory."""
    whole, shape = whole_memory(prior.device), plan.pyramid.shapes[0]
    per_image = image_bytes(prior, plan, scores=False)
    if per_image > whole:
        raise MRCascadeError(
            f"a result of {shape[0]} x {shape[1]} pixels needs some {per_image / 2**30:.0f} GiB,"
            f" and there are {whole / 2**30:.0f}; cut the image into parts, or take a smaller"
            " factor"
        )


def _network_bytes(
    level: LevelPrior, shape: tuple[int, int], gradient: bool, with_scores: bool
) -> float:
    config = level.spec.networks.unet
    largest, kept = (_element_bytes(level) * elements for elements in _convolutions(level))
    area = math.prod(shape) / _PROBE_SIDE**2
    scores = _score_bytes(config, shape) if with_scores and config is not None else 0
    activations = _LARGEST_CONVOLUTIONS * largest + (_KEPT_COPIES * kept if gradient else 0)
    return activations * area + _SCORE_COPIES * scores


def _convolutions(level: LevelPrior) -> tuple[int, int]:
    """Elements that the largest convolution takes and gives on the small image, and the sum over
    all convolutions; counted once for each level's networks."""
    if level.networks not in _probed:
        _probed[level.networks] = _probe(level)
    return _probed[level.networks]


def _element_bytes(level: LevelPrior) -> int:
    # A processor without instructions for bfloat16 computes on copies in float32.
    device = next((weight.device for weight in level.networks.parameters()), None)
    halved = level.precision == "bfloat16" and device and computes_in_bfloat16(device)
    return (torch.bfloat16 if halved else torch.float32).itemsize


def _probe(level: LevelPrior) -> tuple[int, int]:
    networks = level.networks
    weight = next(networks.parameters(), None)
    if weight is None:
        return 0, 0
    x = weight.new_zeros((1, networks.channels, _PROBE_SIDE, _PROBE_SIDE), dtype=torch.float32)
    condition = torch.cat([x, x[:, :1]], 1) if level.conditional else None
    largest = kept = 0

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal largest, kept
        size = inputs[0].numel() + output.numel()
        largest, kept = max(largest, size), kept + size

    hooks = [
        module.register_forward_hook(note)
        for module in networks.modules()
        if isinstance(module, MPConv | nn.Conv2d)
    ]
    try:
        with torch.no_grad(), level.autocast(), plain_networks():
            mean = networks.conditional_mean(condition)
            networks(x, x.new_ones(1), condition, mean)
    finally:
        for hook in hooks:
            hook.remove()
    return largest, kept


def _score_bytes(config: UNetConfig, shape: tuple[int, int]) -> int:
    """Of the largest attention's float32 scores."""
    largest = 0
    for depth in config.attention:
        tokens = math.prod(-(-n // (config.stem * 2**depth)) for n in shape)
        heads = max(1, config.channels * config.multipliers[depth] // HEAD_CHANNELS)
        largest = max(largest, 4 * heads * tokens**2)
    return largest
