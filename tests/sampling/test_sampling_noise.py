"""One generator per image: neither batch size nor order nor dtype changes an image's noise."""

import math

import pytest
import torch

from mrcascade.errors import MRCascadeError
from mrcascade.sampling import NoiseSource, image_seed

SHAPE = (2, 5, 7)


def test_an_image_draws_the_same_noise_alone_and_in_any_batch() -> None:
    batch = NoiseSource([3, 0, 8])
    reversed_batch = NoiseSource([8, 0, 3])
    single = NoiseSource([0])
    for _ in range(3):
        together = batch.randn((3, *SHAPE))
        assert torch.equal(together.flip(0), reversed_batch.randn((3, *SHAPE)))
        assert torch.equal(together[1:2], single.randn((1, *SHAPE)))


def test_dtype_is_a_cast_of_the_same_float32_draw() -> None:
    single, double = NoiseSource([1]), NoiseSource([1])
    a, b = single.randn((1, *SHAPE)), double.randn((1, *SHAPE), dtype=torch.float64)
    assert a.dtype == torch.float32
    assert b.dtype == torch.float64
    assert torch.equal(a.double(), b)


def test_noise_is_standard_normal_and_differs_between_images_and_draws() -> None:
    source = NoiseSource([image_seed(0, n) for n in range(2)])
    first, second = source.randn((2, 1, 200, 200)), source.randn((2, 1, 200, 200))
    # n = 40,000 samples: the mean has standard deviation 1/sqrt(n), the mean square sqrt(2/n),
    # a correlation 1/sqrt(n). Bounds are five of them.
    n = 40_000
    for x in (*first, *second):
        assert abs(float(x.mean())) < 5 / math.sqrt(n)
        assert abs(float(x.square().mean()) - 1) < 5 * math.sqrt(2 / n)
    for a, b in ((first[0], first[1]), (first[0], second[0])):
        assert abs(float((a * b).mean())) < 5 / math.sqrt(n)


def test_image_seeds_are_distinct_and_seed_zero_is_a_seed() -> None:
    seeds = [image_seed(s, i, j) for s in range(4) for i in range(8) for j in range(8)]
    seeds += [image_seed(s) for s in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert image_seed(0, 2, 1) == image_seed(0, 2, 1)
    zero, one = (NoiseSource([image_seed(s)]).randn((1, *SHAPE)) for s in (0, 1))
    assert not torch.equal(zero, one)
    assert torch.equal(zero, NoiseSource([image_seed(0)]).randn((1, *SHAPE)))


def test_global_generator_is_neither_read_nor_moved() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = NoiseSource([0]).randn((1, *SHAPE))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(NoiseSource([0]).randn((1, *SHAPE)), first)


def test_errors() -> None:
    with pytest.raises(MRCascadeError, match="2 images need one seed each; got 1"):
        NoiseSource([0]).randn((2, *SHAPE))
    with pytest.raises(MRCascadeError, match="one seed per image"):
        NoiseSource([])
    with pytest.raises(MRCascadeError, match=">= 0"):
        image_seed(-1)
    with pytest.raises(MRCascadeError, match=">= 0"):
        image_seed(0, 2, -1)


@pytest.mark.parametrize("threads", [1, 3, 8])
@pytest.mark.parametrize("shape", [(5, 2, 3, 7), (5, 1, 1, 3), (1, 1, 16, 16)])
def test_what_threads_draw_ahead_for_a_gpu_is_the_same(
    monkeypatch: pytest.MonkeyPatch, threads: int, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    plain, ahead, halted = (NoiseSource(range(shape[0])) for _ in range(3))
    expected = [plain.randn(shape) for _ in range(4)]
    with torch.inference_mode():  # which threads do not inherit
        drawn = list(ahead._ahead(3, shape, torch.device("cpu"), torch.float32))
    assert all(torch.equal(a, b) for a, b in zip(expected, drawn, strict=False))
    assert len(drawn) == 3
    assert torch.equal(ahead.randn(shape), expected[3])  # no draw too many
    first = next(halted._ahead(3, shape, torch.device("cpu"), torch.float64))
    assert torch.equal(first, expected[0].double())


def test_a_draw_that_fails_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(generators: object, images: object) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr("mrcascade.sampling.noise._fill", fail)
    with pytest.raises(MemoryError, match="no more"):
        next(NoiseSource([0])._ahead(1, (1, *SHAPE), torch.device("cpu"), torch.float32))
