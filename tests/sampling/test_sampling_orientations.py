"""Orientations: eight different ones, each undone exactly."""

from dataclasses import dataclass, field, replace

import torch
from cascade_cases import SHAPE, SHORT
from torch import Tensor

from mrcascade.operators import SeparableOperator
from mrcascade.sampling import NoiseSource, cascade_sample, plan_cascade
from mrcascade.sampling.level import ChainDenoiser
from mrcascade.sampling.orientations import ORIENTATIONS


def test_every_orientation_is_another_and_can_be_undone() -> None:
    x = torch.arange(2 * 6, dtype=torch.float64).reshape(1, 2, 2, 3)
    turned = [o.apply(x) for o in ORIENTATIONS]
    assert len({(tuple(t.shape), tuple(t.flatten().tolist())) for t in turned}) == 8
    assert all(torch.equal(o.undo(t), x) for o, t in zip(ORIENTATIONS, turned, strict=True))
    assert torch.equal(turned[1], x.rot90(2, (-2, -1)))
    number = torch.tensor(3.0)
    assert all(o.undo(number) is number for o in ORIENTATIONS)


@dataclass
class _Level:
    """Multiplies by its condition, and by a ramp that knows up from down where it has one."""

    ramp: Tensor
    std: float = 1.0
    sigma_max: float = 80.0
    sigma_min: float = 0.01
    informed = False
    contexts: list[Tensor | None] = field(default_factory=list)
    means: list[Tensor | None] = field(default_factory=list)

    def condition(
        self, coarse: Tensor | None, error: float, mean: Tensor | None = None
    ) -> "_Conditioned":
        self.contexts.append(coarse)
        self.means.append(mean)
        return _Conditioned(self, coarse)


@dataclass
class _Conditioned:
    level: _Level
    coarse: Tensor | None

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        ramp = self.level.ramp
        ramp = ramp if ramp.shape[-2:] == x.shape[-2:] else ramp.mT
        return x * ramp if self.coarse is None else x * ramp * self.coarse

    def mean(self) -> Tensor:
        return torch.zeros(()) if self.coarse is None else 2 * self.coarse


@dataclass
class _Prior:
    levels: list[_Level]


def test_a_chain_sees_one_orientation_after_another() -> None:
    context, x = torch.rand(2, 1, 1, 4, 6, dtype=torch.float64)
    level = _Level(torch.rand(4, 6, dtype=torch.float64))
    denoise = ChainDenoiser(level, context, 0.0, 4)
    for k in range(10):
        turn = ORIENTATIONS[k % 4]
        assert torch.equal(denoise(x, 1.0), x * turn.undo(level.ramp) * context)
    assert denoise.calls == 10
    first, *others = level.means
    assert first is None
    for turn, mean in zip(ORIENTATIONS[1:4], others, strict=True):
        assert torch.equal(mean, turn.apply(2 * context))


def test_every_chain_of_a_cascade_is_told_the_orientations() -> None:
    operator = SeparableOperator.from_kernel("fourier", 4, SHAPE)
    y = torch.rand(1, 1, *operator.out_shape, dtype=torch.float64)
    half = torch.full((1, 1), 0.5, dtype=torch.float64)  # the same in every orientation

    def sample(orientations: int | tuple[int, ...]) -> tuple[Tensor, list[_Level]]:
        levels = [_Level(half) for _ in range(3)]
        plan = plan_cascade("fourier", 3, operator, 0.0, replace(SHORT, orientations=orientations))
        return cascade_sample(_Prior(levels), plan, y, NoiseSource([0])).image, levels

    image, _ = sample(1)
    turned, levels = sample((2, 4))  # level 3 is determined
    assert torch.equal(turned, image)
    assert [len(level.contexts) for level in levels] == [2, 4, 0]
    turned, levels = sample(8)
    assert torch.equal(turned, image)  # turning is exact
    for level in levels[:2]:
        contexts = level.contexts
        assert len(contexts) == 8
        assert contexts[0] is not None
        for turn, context in zip(ORIENTATIONS, contexts, strict=True):
            assert context is not None
            assert torch.equal(turn.undo(context), contexts[0])
