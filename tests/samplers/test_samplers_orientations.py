"""Orientations: eight different ones, each undone exactly."""

import torch

from mrcascade.samplers.orientations import ORIENTATIONS


def test_every_orientation_is_another_and_can_be_undone() -> None:
    x = torch.arange(2 * 6, dtype=torch.float64).reshape(1, 2, 2, 3)
    turned = [o.apply(x) for o in ORIENTATIONS]
    assert len({(tuple(t.shape), tuple(t.flatten().tolist())) for t in turned}) == 8
    assert all(torch.equal(o.undo(t), x) for o, t in zip(ORIENTATIONS, turned, strict=True))
    assert torch.equal(turned[1], x.rot90(2, (-2, -1)))
    number = torch.tensor(3.0)
    assert all(o.undo(number) is number for o in ORIENTATIONS)
