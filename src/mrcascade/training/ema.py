"""Power-function EMA of the weights and its post-hoc synthesis (Karras et al. 2024, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn


def gamma_from_std(std: float) -> float:
    """Return the exponent ``gamma`` of the profile with relative deviation ``std`` (eq. 123)."""
    t = std**-2
    return float(np.roots([1, 7, 16 - t, 12 - t]).real.max())


def decay(std: float, before: float, after: float) -> float:
    """Return ``beta = (1 - dt / t)^(gamma + 1)`` of a step from ``before`` to ``after`` images."""
    return (before / after) ** (gamma_from_std(std) + 1)


class PowerEMA:
    """Running averages of a module's floating-point parameters, one per profile."""

    def __init__(self, module: nn.Module, stds: Sequence[float]) -> None:
        self.stds = tuple(stds)
        self._names = [name for name, _ in module.named_parameters()]
        self._source: list[Tensor] = [p for _, p in module.named_parameters()]
        self._averages = [[p.detach().clone() for p in self._source] for _ in self.stds]

    @torch.no_grad()
    def update(self, before: float, after: float) -> None:
        """Update with the current parameters after a step from ``before`` to ``after`` images."""
        for std, average in zip(self.stds, self._averages, strict=True):
            torch._foreach_lerp_(average, self._source, 1 - decay(std, before, after))

    def parameters(self, index: int) -> dict[str, Tensor]:
        """Return name -> averaged parameter of profile ``index``."""
        return dict(zip(self._names, self._averages[index], strict=True))

    def state_dict(self) -> list[dict[str, Tensor]]:
        """Return the averages of all profiles."""
        return [self.parameters(i) for i in range(len(self.stds))]

    @torch.no_grad()
    def load_state_dict(self, state: Sequence[Mapping[str, Tensor]]) -> None:
        """Restore the averages of all profiles from `state_dict`."""
        for average, saved in zip(self._averages, state, strict=True):
            for name, tensor in zip(self._names, average, strict=True):
                tensor.copy_(saved[name])


def _inner_product(
    t_a: np.ndarray, g_a: np.ndarray, t_b: np.ndarray, g_b: np.ndarray
) -> np.ndarray:
    """Return inner products of power-function profiles (eq. 139), in a form without overflow."""
    ratio = t_a / t_b
    exponent = np.where(t_a < t_b, g_b, -g_a)
    largest = np.maximum(t_a, t_b)
    return (g_a + 1) * (g_b + 1) * ratio**exponent / ((g_a + g_b + 1) * largest)


def synthesis_weights(
    times: Sequence[float], stds: Sequence[float], target_time: float, target_std: float
) -> np.ndarray:
    """Return least-squares weights that rebuild another profile from snapshots (algorithm 3).

    Args:
        times: images seen at each snapshot.
        stds: relative standard deviation of each snapshot's profile.
        target_time: images seen at the end of the new profile.
        target_std: relative standard deviation of the new profile.

    Returns:
        One weight per snapshot.
    """
    t = np.asarray(times, float)
    g = np.array([gamma_from_std(s) for s in stds])
    target_t, target_g = np.array([target_time]), np.array([gamma_from_std(target_std)])
    gram = _inner_product(t[:, None], g[:, None], t[None], g[None])
    right = _inner_product(t[:, None], g[:, None], target_t[None], target_g[None])
    return np.linalg.lstsq(gram, right, rcond=None)[0][:, 0]


def synthesize(
    snapshots: Iterable[Mapping[str, Tensor]],
    times: Sequence[float],
    stds: Sequence[float],
    target_std: float,
) -> dict[str, Tensor]:
    """Return the weights of the profile ``target_std`` at the time of the last snapshot.

    Sums are in float64. ``snapshots`` are read one at a time, in the order of ``times`` and
    ``stds``.
    """
    total: dict[str, Tensor] = {}
    weights = synthesis_weights(times, stds, max(times), target_std)
    for snapshot, weight in zip(snapshots, weights, strict=True):
        for name, tensor in snapshot.items():
            term = tensor.double() * weight
            total[name] = total[name] + term if name in total else term
    return total
