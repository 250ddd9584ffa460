"""GFLOP of networks against torch's count in a real run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import REGRESSION, SINGLE, write_random_prior
from tests.quick import slow
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mrcascade import CascadePrior, SeparableOperator, super_resolve
from mrcascade.evaluation.flops import FlopMeter

OPERATOR = SeparableOperator.from_kernel("fourier", 4, (64, 96))


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("cascade", "mode", "samples"),
    [(None, "paper", 3), slow(None, "mean", 1), slow(SINGLE, "paper", 1), (REGRESSION, "mean", 1)],
)
def test_the_count_is_torch_s(
    tmp_path: Path, prior_folder: Path, cascade, mode: str, samples: int, precision: str
) -> None:
    folder = prior_folder if cascade is None else write_random_prior(tmp_path, cascade=cascade)
    prior = CascadePrior.from_pretrained(folder, precision=precision)
    y = np.random.default_rng(0).random((2, 16, 24), np.float32)
    steps = 6 if mode == "paper" else None

    def work() -> None:
        options = {"steps": steps, "samples": samples, "batch_size": 2}
        super_resolve(y, OPERATOR, prior, noise=0.0, mode=mode, **options)

    meter = FlopMeter()
    with meter.counting(prior) as count:
        work()
    # torch does not count the fused attention of CPUs.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    # Networks are called by themselves, which torch books under one name or the other.
    names = {"LevelNetworks.unet", "UNet", "LevelNetworks.mean", "MeanNetwork"}
    counts = counter.get_flop_counts()
    expected = sum(sum(counts[name].values()) for name in names & counts.keys())
    assert count.total == expected > 0
    with meter.counting(prior) as again:  # of shapes that are known by now
        work()
    assert again.total == count.total
    work()
    assert again.total == count.total


def test_nothing_to_count_without_networks() -> None:
    with FlopMeter().counting(None) as count:
        pass
    assert count.total == 0
