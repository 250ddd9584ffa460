"""Training steps with compiled networks, after a trial has shown that the code is right.

Compiled code fuses the pointwise work of the forward and of the backward pass. Compilation takes a
minute or more per stage, and gradients differ by rounding (``docs/guide/training.md``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from mrcascade.networks.compiled import Compiler, failure_reason, room_for_code
from mrcascade.networks.layers import MPConv
from mrcascade.training.microbatch import Loss, PerPatch, follow_gradient

# Of the norm of the trial's gradient, and of its losses, between code and plain network. Rounding
# to bfloat16 makes 6e-3 (network tiny).
LARGEST_DIFFERENCE = 0.05
# Of the norm of one weight's gradient, and of that of all, which a small one may be off by, too:
# rounding makes 3e-2 and 2e-5.
LARGEST_OF_ONE, SMALL = 0.2, 1e-3
ZERO_WEIGHTS = 1.0  # largest of what stands in for weights of zero in the trial


class CompiledGradient:
    """Follows gradients as `follow_gradient` does, with the network in training as compiled code.

    Code has one shape, that of the first part of a batch; parts of another size run as they are.
    It takes the place of the network's forward pass within a step only, so that copies of the
    network, checkpoints and validation have the plain one. The first failure of any kind ends the
    compilation, also of the stages and levels to come, and the step is made without it.
    """

    def __init__(self, compiler: Compiler, name: str) -> None:
        """``compiler`` names the backend, and hears of the failure; ``name`` is the level's."""
        self._compiler, self._name = compiler, name
        self._code: dict[nn.Module, _Code] = {}

    def __call__(
        self,
        networks: nn.Module,
        trained: nn.Module,
        loss_of: Loss,
        batch: Sequence[PerPatch | None],
        size: int = 0,
        whole: int = 0,
    ) -> dict[str, float]:
        """Add the gradient of a batch and return its means; ``trained`` is the one of
        ``networks`` that a gradient is followed through."""
        plainly = partial(follow_gradient, networks, loss_of, batch, size, whole)
        if self._compiler.failure is not None:
            return plainly()
        try:
            if trained not in self._code:
                part = batch if not size else [v if v is None else v[:size] for v in batch]
                self._code[trained] = self._tried(networks, trained, loss_of, part)
            with self._code[trained].in_place():
                return plainly()
        except Exception as error:  # whatever compilers, drivers and file systems may raise
            reason = failure_reason(error)
        # Outside the handler, so that what the failed attempt held is free.
        networks.zero_grad(set_to_none=True)
        losses = plainly()  # where a device that failed does so, too, by no fault of the compiler
        self._compiler.give_up(reason)
        return losses

    def _tried(
        self,
        networks: nn.Module,
        trained: nn.Module,
        loss_of: Loss,
        batch: Sequence[PerPatch | None],
    ) -> _Code:
        """Code for a network that has the losses and the gradient of the plain one on a batch.

        Weights are afterwards what they were. Raises RuntimeError where the results differ.
        """
        self._compiler.begins(f"the network in training of {self._name}")
        started = time.perf_counter()
        code = _Code(trained, self._compiler)
        weights = list(networks.parameters())
        kept = [weight.detach().clone() for weight in weights]
        tested = [_without_zeros(weight) for weight in kept]

        def attempt() -> list[Tensor]:
            _set(weights, tested)
            networks.zero_grad(set_to_none=True)
            losses = follow_gradient(networks, loss_of, batch)
            found = [torch.tensor(list(losses.values()), dtype=torch.float64)]
            none = weights[0].new_zeros(0)  # another shape than any gradient
            return found + [none if w.grad is None else w.grad for w in weights]

        try:
            with code.in_place(), room_for_code():
                found = attempt()
            _check(found, attempt())
        finally:
            networks.zero_grad(set_to_none=True)
            _set(weights, kept)
        self._compiler.seconds += time.perf_counter() - started
        return code


class _Code:
    """The forward pass of a network as compiled code for inputs of the first one's shape."""

    def __init__(self, network: nn.Module, compiler: Compiler) -> None:
        self._network, self._compiler = network, compiler
        self._plain: Callable[..., Tensor] = network.forward
        self._compiled: Callable[..., Tensor] = torch.compile(
            self._plain, fullgraph=True, dynamic=False, backend=compiler.backend
        )
        self._shape: torch.Size | None = None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network run as code within the block."""
        self._network.forward = self
        try:
            yield
        finally:
            del self._network.forward

    def __call__(self, x: Tensor, *others: Tensor) -> Tensor:
        self._shape = self._shape or x.shape
        if x.shape != self._shape:
            return self._plain(x, *others)
        training = self._network.training
        if training:  # before the code, which is then the same for all parts of a batch
            for module in self._network.modules():
                if isinstance(module, MPConv):
                    module.renormalise()
        self._network.eval()
        try:
            # Code is made for certain strides.
            result = self._compiled(x.clone(memory_format=torch.contiguous_format), *others)
        finally:
            self._network.train(training)
        self._compiler.evaluations += 1
        return result


def _without_zeros(weight: Tensor) -> Tensor:
    """The weight, or small numbers where all of it is zero, as that of last layers is at first: no
    gradient would pass it, and there would be nothing to compare."""
    if weight.any():
        return weight
    numbers = torch.linspace(-ZERO_WEIGHTS, ZERO_WEIGHTS, weight.numel(), device=weight.device)
    return numbers.to(weight.dtype).reshape(weight.shape)


@torch.no_grad()
def _set(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)


def _check(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Raise RuntimeError where losses, which come first, or gradients are not the expected ones."""
    if [v.shape for v in found] != [v.shape for v in expected]:
        raise RuntimeError("its code leaves out gradients")
    norms = torch.tensor([float(torch.linalg.vector_norm(v)) for v in expected])
    errors = torch.tensor(
        [float(torch.linalg.vector_norm(a - b)) for a, b in zip(found, expected, strict=True)]
    )
    whole, error = (torch.linalg.vector_norm(v[1:]) for v in (norms, errors))
    allowed = LARGEST_OF_ONE * norms[1:] + SMALL * whole
    # All of them false where there is a NaN.
    alike = error <= LARGEST_DIFFERENCE * whole and bool((errors[1:] <= allowed).all())
    if not errors[0] <= LARGEST_DIFFERENCE * norms[0]:
        raise RuntimeError(f"its losses are off by {float(errors[0] / norms[0]):.1e}")
    if not alike:
        raise RuntimeError(f"its gradient is off by {float(error / whole):.1e} of its norm")
