"""Run the networks and samplers on CUDA tensors without data; print one line per case.

torch then applies the rules of CUDA (the dtypes that autocast gives and that operations accept),
but computes nothing. It runs in its own process, as the guard replaces CUDA everywhere in it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from tests.conftest import SINGLE, write_random_prior
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mrcascade import CascadePrior, SeparableOperator
from mrcascade.evaluation.warm_up import WarmUp
from mrcascade.jobs.memory import image_bytes
from mrcascade.networks import compiled, network_preset
from mrcascade.networks.compiled import Compiler
from mrcascade.operators import separable
from mrcascade.prior.denoiser import KNOWLEDGE, LevelNetworks, diffusion_loss
from mrcascade.restore import make_plan, resolve_settings
from mrcascade.sampling import NoiseSource, reconstruct

SIDE = 32
STEPS = 6
# Prior, mode, kernel, noise. The bundled prior stands for all of its size, which take longer.
CASES = [
    ("cascade", "mean", "fourier", 0.0),
    ("cascade", "mean", "bicubic", 0.01),
    ("cascade", "paper", "fourier", 0.0),
    ("cascade", "sample", "area", 0.01),
    ("cascade", "balanced", "fourier", 0.01),
    ("cascade", "dps", "fourier", 0.0),
    ("complex", "paper", "fourier", 0.0),
    ("single", "dps", "fourier", 0.0),
    ("single", "multigrid", "fourier", 0.0),
    ("single", "multigrid-pnp", "fourier", 0.01),
    ("mr-small", "paper", "fourier", 0.01),
]
_PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.bmm.default, torch.ops.aten.addmm.default}


class Float32Products(TorchDispatchMode):
    """Counts the matrix products of float32 operands on CUDA, which TF32 may round."""

    def __init__(self) -> None:
        super().__init__()
        self.all = self.rounded = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in _PRODUCTS:
            found = [x for x in args if isinstance(x, Tensor)]
            self.all += 1
            self.rounded += any(x.is_cuda and x.dtype == torch.float32 for x in found)
        return func(*args, **(kwargs or {}))


@contextmanager
def products_of_operators() -> Iterator[Float32Products]:
    """Count within the block, but for the networks' products."""
    counted, original = Float32Products(), separable._sandwich

    def watched(*arguments):
        with counted:
            return original(*arguments)

    separable._sandwich = watched
    try:
        yield counted
    finally:
        separable._sandwich = original


def on_fake_cuda(module: nn.Module) -> None:
    """Put tensors without data in the place of all weights."""
    for part in module.modules():
        for name, value in list(part._parameters.items()):
            if value is not None:
                empty = torch.empty_like(value, device="cuda")
                part._parameters[name] = nn.Parameter(empty, requires_grad=value.requires_grad)
        for name, value in list(part._buffers.items()):
            part._buffers[name] = torch.empty_like(value, device="cuda")


def restored(folder: Path, mode: str, kernel: str, noise: float, precision: str) -> None:
    prior = CascadePrior.from_pretrained(folder, precision=precision)
    operator = SeparableOperator.from_kernel(kernel, 4, (SIDE, SIDE))
    with fake_cuda():
        for level in prior.levels:
            on_fake_cuda(level.networks)
        settings = resolve_settings(prior, mode, None if mode == "mean" else STEPS)
        plan = make_plan(prior, operator, noise, settings)
        y = torch.empty(2, prior.channels, *operator.out_shape, device="cuda")
        with products_of_operators() as products:
            image = reconstruct(prior, plan, y, NoiseSource([0, 1])).image
        assert image.shape == (2, prior.channels, SIDE, SIDE), image.shape
        assert (image.dtype, image.device.type) == (torch.float32, "cuda"), image
        assert products.all > 0
        assert products.rounded == 0, f"{products.rounded} of {products.all} products in float32"


def traced(folder: Path, precision: str) -> None:
    """A chain whose U-Nets torch.compile captures whole, as nothing of them can be run."""
    prior = CascadePrior.from_pretrained(folder, precision=precision)
    prior.compile(Compiler("eager"))
    operator = SeparableOperator.from_kernel("fourier", 4, (SIDE, SIDE))
    with fake_cuda():
        for level in prior.levels:
            on_fake_cuda(level.networks)
        plan = make_plan(prior, operator, 0.01, resolve_settings(prior, "paper", STEPS))
        y = torch.empty(2, prior.channels, *operator.out_shape, device="cuda")
        image = reconstruct(prior, plan, y, NoiseSource([0, 1])).image
    assert (image.dtype, image.device.type) == (torch.float32, "cuda"), image
    assert prior.compiler is not None
    assert prior.compiler.failure is None, prior.compiler.failure
    assert prior.compiler.evaluations > 0


def sized(folder: Path, precision: str) -> None:
    """The probe of the memory, and what warms a GPU up."""
    prior = CascadePrior.from_pretrained(folder, precision=precision)
    operator = SeparableOperator.from_kernel("fourier", 4, (SIDE, SIDE))
    plan = make_plan(prior, operator, 0.0, resolve_settings(prior, "mean"))
    expected = image_bytes(prior, plan)
    with fake_cuda():
        for level in prior.levels:
            on_fake_cuda(level.networks)
        assert image_bytes(prior, plan) == expected
        WarmUp()(prior, operator, 2)


def trained(precision: str) -> None:
    """The losses of the U-Net and of the regression branch."""
    networks = LevelNetworks(network_preset("tiny").levels[0], 1)
    with fake_cuda(), torch.enable_grad():
        on_fake_cuda(networks)
        clean = torch.empty(2, 1, SIDE, SIDE, device="cuda")
        condition = torch.empty(2, 2, SIDE, SIDE, device="cuda")
        sigma = torch.ones(2, device="cuda")
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
            mean = networks.conditional_mean(condition)
            denoised = networks(clean, sigma, condition, mean)
            loss, _ = diffusion_loss(networks, denoised, clean, sigma)
        assert (loss + mean.square().mean()).shape == ()


@contextmanager
def fake_cuda() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def without_values() -> None:
    """What asks for values goes on as if each were true, as there are none."""
    import mrcascade.jobs.memory as memory
    import mrcascade.sampling.known as known
    import mrcascade.sampling.mean as mean
    import mrcascade.sampling.noise as noise

    noise._fill = lambda generators, images: None  # from several threads, which the mode forbids
    Tensor.__bool__ = lambda self: True
    compiled._check = lambda result, expected: None
    # Builds without CUDA have no backward pass there.
    torch.autograd.grad = lambda output, x: (torch.zeros_like(x),)
    mean.by_window = lambda images: {(0, *images.shape[-2:-1], 0, images.shape[-1]): [0, 1]}
    # What the data know of a band, which a plan computes on the CPU.
    known.BandView.share = lambda view, std: 0.5
    known.BandView.numbers = lambda view, std: (0.5,) * KNOWLEDGE
    torch.cuda.synchronize = lambda device=None: None
    memory.computes_in_bfloat16 = lambda device: True
    # torch.autocast asks whether there is a GPU, and its driver whether it computes in bfloat16.
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.cuda.is_bf16_supported = lambda including_emulation=True: True


def tell(name: str, work: Callable[[], None]) -> None:
    try:
        work()
        print(f"{name}: passed", flush=True)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}", flush=True)


def main() -> None:
    """Arguments: the compiled guard, and a folder for priors."""
    guard, folder = (Path(argument) for argument in sys.argv[1:])
    torch.ops.load_library(guard)
    logging.disable(logging.CRITICAL)
    priors = {
        "cascade": write_random_prior(folder / "cascade"),
        "complex": write_random_prior(folder / "complex", channels=2),
        "single": write_random_prior(folder / "single", cascade=SINGLE),
        "mr-small": Path("mr-small"),
    }
    without_values()
    for precision in ("float32", "bfloat16"):
        for name, *case in CASES:
            work = partial(restored, priors[name], *case, precision)
            tell(" ".join(map(str, (name, *case, precision))), work)
        tell(f"memory and warm-up {precision}", partial(sized, priors["cascade"], precision))
        tell(f"compiled {precision}", partial(traced, priors["single"], precision))
        tell(f"training {precision}", partial(trained, precision))


if __name__ == "__main__":
    main()
