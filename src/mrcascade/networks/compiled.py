"""U-Nets as compiled code: torch.compile where it works, the plain network everywhere else.

Compilation fuses the pointwise work between convolutions, which otherwise reads and writes every
activation once per operation. It takes a minute or more for each shape of the input, and its
result differs from the plain network's by rounding. It is off by default, as it hardly pays on CPUs
(``docs/guide/batches.md``) and was not measured on GPUs.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from mrcascade.devices.failures import lacks_memory
from mrcascade.messages.printable import printable, shortened
from mrcascade.storage.user_cache import cache_folder

# Of one network: what a job on images of one size needs, and no endless compiling for others.
MOST_SHAPES = 4
# torch's own bound counts all networks of a class together, and is 8.
_MOST_OF_ALL = 256
# Up to so many pixels of a batch a GPU is likely to wait for the CPU that launches its kernels:
# some 100 launches of 5 to 10 us against 2 ms of work, by arithmetic for an H200; not measured. A
# CUDA graph launches all at once, and keeps the memory of its activations, which is little here.
SMALL_BATCH = 2**20
# Of the norm of the first result of each shape, between code and plain network; more is a fault.
# Rounding makes 2e-7 in float32 and 3e-3 in bfloat16 (network small, 128 x 128, a CPU).
LARGEST_DIFFERENCE = 0.05
_CODE_FOLDER = "TORCHINDUCTOR_CACHE_DIR"  # environment variable of torch

Forward = Callable[..., Tensor]
_plainly: ContextVar[bool] = ContextVar("plainly", default=False)


@contextmanager
def plain_networks() -> Iterator[None]:
    """Run compiled networks as they are within the block: for an odd shape that is seen once, and
    for hooks on layers, which compiled code does not call."""
    token = _plainly.set(True)
    try:
        yield
    finally:
        _plainly.reset(token)


def _silent(line: str) -> None:
    pass


class Compiler:
    """Compiles networks with ``torch.compile``, and knows how that went.

    Attributes:
        evaluations: of networks, as compiled code.
        seconds: spent on compilation, with the first evaluation of each shape.
        failure: what failed, in one line; from then on all networks run as they are.
    """

    def __init__(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """``backend``: of ``torch.compile``. Its code goes to $TORCHINDUCTOR_CACHE_DIR, by default
        ``inductor`` in `cache_folder`: torch's own default, a folder for temporary files, may be
        emptied any time."""
        self.backend = backend
        self.evaluations = 0
        self.seconds = 0.0
        self.failure: str | None = None
        self._told = False
        self._say: Callable[[str], object] = _silent
        folder = cache_folder()
        if folder is not None:
            os.environ.setdefault(_CODE_FOLDER, str(folder / "inductor"))

    def compile(self, network: nn.Module, name: str = "a network") -> None:
        """Let a network of (N, C, H, W) images, (N,) labels and (N, ...) features of the images run
        as compiled code from now on, in place. Its weights must be folded, and nothing is compiled
        before it runs. ``name`` is what `telling` calls it."""
        if not isinstance(network.forward, CompiledForward):
            network.forward = CompiledForward(network.forward, self, name)

    @contextmanager
    def telling(self, say: Callable[[str], object]) -> Iterator[None]:
        """Call ``say`` with one line per compilation that begins within the block."""
        before, self._say = self._say, say
        try:
            yield
        finally:
            self._say = before

    def begins(self, what: str) -> None:
        """Report that the compilation of ``what`` begins."""
        self._say(f"compiling {what}, which may take minutes")

    def news(self) -> str | None:
        """The failure, to whoever asks first."""
        told, self._told = self._told, self.failure is not None
        return None if told else self.failure

    def give_up(self, reason: str) -> None:
        """Compile no more."""
        self.failure = f"torch.compile failed ({reason}); the networks run uncompiled"
        warnings.warn(self.failure, stacklevel=2)


class CompiledForward:
    """The forward pass of a network as compiled code, or as it is: where a gradient is followed,
    in `plain_networks`, for further shapes than ``MOST_SHAPES``, and after a failure. Code whose
    first result is not that of the plain network counts as one.

    A batch that is somewhat smaller than one whose code is there is filled up to that, as the last
    one of a volume is: half of the work at most is lost, and no minutes to compilation.
    """

    def __init__(self, plain: Forward, compiler: Compiler, name: str) -> None:
        self._plain, self._compiler, self._name = plain, compiler, name
        self._compiled: dict[bool, Forward] = {}  # with and without CUDA graphs
        # Whether code for a shape of x is there; False for one that shall run as it is.
        self._shapes: dict[tuple[int, ...], bool] = {}

    def __call__(self, x: Tensor, *others: Tensor) -> Tensor:
        # Without labels it is one convolution, once a chain.
        if not others or self._runs_plainly(x, *others):
            return self._plain(x, *others)
        size = self._size(x)
        shape = (size, *x.shape[1:])
        if not self._shapes.get(shape, len(self._shapes) < MOST_SHAPES):
            return self._plain(x, *others)
        try:
            result = self._run(shape, *(_filled(t, size) for t in (x, *others)))[: len(x)]
            self._compiler.evaluations += 1
            return result
        except Exception as error:  # whatever compilers, drivers and file systems may raise
            reason = None if lacks_memory(error) else failure_reason(error)
        # Outside the handler, so that what the failed attempt held is free.
        self._shapes[shape] = False
        # A device that failed does so here, too, which is then no fault of the compiler.
        result = self._plain(x, *others)
        if reason is not None:
            self._compiler.give_up(reason)
        return result

    def _runs_plainly(self, x: Tensor, *others: Tensor) -> bool:
        followed = torch.is_grad_enabled() and any(v.requires_grad for v in (x, *others))
        return followed or x.is_meta or _plainly.get() or self._compiler.failure is not None

    def _size(self, x: Tensor) -> int:
        """Images of the batch that x becomes: its own, where there is no code for a larger one."""
        known = [s[0] for s, there in self._shapes.items() if there and s[1:] == x.shape[1:]]
        return min((n for n in known if len(x) <= n <= 2 * len(x)), default=len(x))

    def _run(self, shape: tuple[int, ...], x: Tensor, *others: Tensor) -> Tensor:
        graphs = _wants_graphs(x)
        if graphs not in self._compiled:
            self._compiled[graphs] = self._function(graphs)
        function = self._compiled[graphs]
        # Code is made for certain strides, which differ with the orientation of an image.
        x = x.clone(memory_format=torch.contiguous_format)
        with torch.no_grad():
            if shape in self._shapes:
                result = function(x, *others)
            else:
                size = " x ".join(map(str, shape))
                self._compiler.begins(f"{self._name} for inputs of {size}")
                started = time.perf_counter()
                with room_for_code():
                    result = function(x, *others)
                _check(result, self._plain(x, *others))
                self._compiler.seconds += time.perf_counter() - started
                self._shapes[shape] = True
            # The next replay of a CUDA graph writes its result to the same memory.
            return result.clone() if graphs else result

    def _function(self, graphs: bool) -> Forward:
        backend = self._compiler.backend
        mode = "reduce-overhead" if graphs and backend == "inductor" else None
        return torch.compile(self._plain, fullgraph=True, dynamic=False, backend=backend, mode=mode)


def _wants_graphs(x: Tensor) -> bool:
    return x.is_cuda and x.shape[0] * x.shape[-2] * x.shape[-1] <= SMALL_BATCH


def _check(result: Tensor, expected: Tensor) -> None:
    """Raise RuntimeError for code that computes something else."""
    error, size = (torch.linalg.vector_norm(v.float()) for v in (result - expected, expected))
    if not error <= LARGEST_DIFFERENCE * size:  # also where it is NaN
        raise RuntimeError(f"its code is off by {float(error / size):.1e} of the result's norm")


def _filled(values: Tensor, size: int) -> Tensor:
    """The batch with its last entry repeated up to ``size``."""
    missing = size - len(values)
    if not missing:
        return values
    return torch.cat([values, values[-1:].expand(missing, *values.shape[1:])])


def failure_reason(error: Exception) -> str:
    """What a compiler failed at, in a few words of one line."""
    # What torch wraps around it names the backend alone.
    inner = getattr(error, "inner_exception", error)
    text = " ".join(str(inner).split())
    return shortened(printable(f"{type(inner).__name__}: {text}"), 160)


def room_for_code() -> AbstractContextManager[Any]:
    """Lift torch's bound on the shapes of one piece of code, which all U-Nets share."""
    from torch._dynamo import config

    # The older of two names of one setting.
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    patch: AbstractContextManager[Any] = config.patch({name: _MOST_OF_ALL})
    return patch
