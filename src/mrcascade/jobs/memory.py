"""Memory that a batch needs in the networks, and the batch size that fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
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
from mrcascade.restore.volume import ThickSlices
from mrcascade.sampling import CascadePlan

Result = TypeVar("Result")

# Memory limit of networks and samplers on a CPU; on a GPU it is half of the free memory.
CPU_BYTES = 2**30
# Memory limit of these together with the arrays of a volume, unless single planes need more.
CPU_BYTES_OF_VOLUMES = 5 * 2**29
# GPU kernels may count the elements of a tensor in 32 bits. This limit keeps the largest tensor
# below 2^31 elements: each takes 2 bytes or more, and `image_bytes` counts the tensor five times.
GPU_BYTES = 10 * 2**31
# Default batch size on a CPU; larger batches hardly use the threads better.
CPU_BATCH = 4
# Side of the image that is measured. Activations scale with the area to larger images.
_PROBE_SIDE = 64
# Peak memory in units of input and output of the largest convolution, rounded up. It includes skip
# connections and temporaries; measured peaks are 3.2 to 4.7 on a CPU (networks tiny and small,
# sides 256 to 768, float32 and bfloat16).
_LARGEST_CONVOLUTIONS = 5
# Memory that a gradient keeps, in units of the inputs and outputs of all convolutions. It is below
# 1 because they share tensors (measured with network small at sides 256 and 512).
_KEPT_COPIES = 0.7
# Attention may hold its scores, their exponentials and one more copy.
_SCORE_COPIES = 3
# Largest number of full-resolution float32 images per image of a batch that sampler, proximal
# step, moments and residual hold; a float64 image counts twice.
IMAGES_OUTSIDE = 24
# Largest number of arrays of the size of a volume of thin slices, and of thick ones, that its
# restoration holds, without and with several samples.
VOLUMES, VOLUMES_OF_SAMPLES, SLICE_COPIES = 5, 13, 4
# The same for a volume of several stacks, besides that of the stack in work.
JOINT_VOLUMES = 9
# Results of `_convolutions`, kept as long as the networks live.
_probed: WeakKeyDictionary[nn.Module, tuple[int, int]] = WeakKeyDictionary()


def image_bytes(prior: CascadePrior, plan: CascadePlan, scores: bool = True) -> int:
    """Return an upper estimate of the peak memory per image of a batch, in bytes.

    Each level's networks run once on a small image, which gives the size of the largest
    convolution; it scales with the level's area. Attention scores, which grow with the square of
    the area, and images outside the networks are added. For samplers that follow a gradient, the
    inputs and outputs of all convolutions count. Multi-grid samplers count on the finest grid.

    Args:
        prior: the prior.
        plan: plan of the restoration.
        scores: whether to count attention scores; some implementations never hold them all.
    """
    gradient = plan.settings.gradients
    networks = max(
        _network_bytes(level, shape, gradient, scores)
        # A multi-grid plan has more grids than its prior has levels.
        for level, shape in zip(prior.levels, plan.pyramid.shapes, strict=False)
    )
    outside = IMAGES_OUTSIDE * 4 * prior.channels * math.prod(plan.pyramid.shapes[0])
    return round(networks + outside)


def fitting_batch(asked: int, per_image: int, device: torch.device, held: int = 0) -> int:
    """Return the largest batch size up to ``asked`` within the device's limit, at least 1.

    Args:
        asked: upper limit.
        per_image: bytes that an image needs.
        device: device of the networks.
        held: bytes of the arrays of a volume.
    """
    bound = min(CPU_BYTES, CPU_BYTES_OF_VOLUMES - held)
    if device.type == "cuda":
        bound = min(free_bytes(device) // 2, GPU_BYTES)
    return max(1, min(asked, bound // per_image))


def default_batch(images: int, device: torch.device) -> int:
    """Return the default batch size for ``images`` images, before memory limits it.

    A GPU takes all of them, because larger batches use it better.
    """
    return max(1, images) if device.type == "cuda" else CPU_BATCH


def volume_bytes(thick: ThickSlices, shape: tuple[int, int], dtype: np.dtype, samples: int) -> int:
    """Return an estimate of the memory of a volume's arrays, besides that of its planes in work.

    Args:
        thick: slices before and after.
        shape: (h, w) of the slices.
        dtype: type of the pixels.
        samples: number of samples.
    """
    copies = VOLUMES_OF_SAMPLES if samples > 1 else VOLUMES
    voxels = (copies * thick.samples + SLICE_COPIES * thick.slices) * math.prod(shape)
    return voxels * np.dtype(dtype).itemsize


def joint_bytes(thick: ThickSlices, shape: tuple[int, int]) -> int:
    """Return an estimate of the memory of a volume of several stacks, and of its data.

    Args:
        thick: slices of the first stack, before and after.
        shape: (h, w) of these slices.
    """
    return 4 * JOINT_VOLUMES * thick.samples * math.prod(shape)


class Batches:
    """Batches that shrink when memory runs out, on any device.

    Attributes:
        size: current number of images per batch.
    """

    def __init__(self, size: int, device: torch.device, say: Callable[[str], None]) -> None:
        """size: first batch size. say: gets a line each time the size is halved."""
        self.size = size
        self._device, self._say = device, say

    def run(self, what: object, images: int, work: Callable[[int], Result]) -> Result:
        """Return ``work(size)``; when memory runs out, halve the size and start again.

        Args:
            what: name of the input, for errors.
            images: number of images that ``work`` handles.
            work: called with the batch size.

        Raises:
            MRCascadeError: a single image needs too much memory, or ``work`` raised it. The error
                names ``what``.
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
            # Outside the handler, because only then the memory of the failed attempt is free.
            self.size = (tried + 1) // 2
            self._say(f"out of memory: batches of {self.size} from here on")
            release_cache(self._device)


def check_memory(prior: CascadePrior, plan: CascadePlan) -> None:
    """Raise MRCascadeError if one image needs more than the whole memory of the device."""
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
    """Count input and output elements of convolutions on the small image, once per network.

    Returns the count of the largest convolution, and the sum over all convolutions.
    """
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
    width = networks.condition_channels
    condition = x[:, :1].expand(-1, width, -1, -1) if level.conditional else None
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
    """Return the bytes of the largest attention's float32 scores."""
    largest = 0
    for depth in config.attention:
        tokens = math.prod(-(-n // (config.stem * 2**depth)) for n in shape)
        heads = max(1, config.channels * config.multipliers[depth] // HEAD_CHANNELS)
        largest = max(largest, 4 * heads * tokens**2)
    return largest
