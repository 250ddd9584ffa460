"""Results meet noise-free data, or are refused, however a device rounds float32 products."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mrcascade import CascadePrior, MRCascadeError, SeparableOperator, super_resolve
from mrcascade.cli import main
from mrcascade.measurement.exactness import EXACT, check_exact
from mrcascade.operators import KERNELS, CallableOperator, products
from mrcascade.operators.products import product_dtype
from mrcascade.restore import relative_residual, restorer
from mrcascade.sampling import Recipe

SIDE = 32
SHORT = Recipe("short", steps=9)
# In inference mode torch does not take linear layers and products apart.
_PRODUCTS = {getattr(torch.ops.aten, name).default for name in ("mm", "bmm", "matmul", "linear")}


def tf32(x: Tensor) -> Tensor:
    """Float32 rounded to the 10 bits of TF32's mantissa, to nearest."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


class TensorCores(TorchDispatchMode):
    """Rounds the operands of float32 matrix products, as GPUs with TF32 do; counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.rounded = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in _PRODUCTS and args[0].dtype == torch.float32:
            self.rounded += 1
            args = tuple(tf32(x) if isinstance(x, Tensor) else x for x in args)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(1, 0.3, size=(2, SIDE, SIDE)).astype(np.float32)


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_rounds_float32", lambda device: True)


def measured(images: np.ndarray, factor: int, kernel: str = "fourier"):
    operator = SeparableOperator.from_kernel(kernel, factor, images.shape[-2:])
    return operator(torch.from_numpy(images)).numpy(), operator


def test_the_emulation_keeps_ten_bits() -> None:
    x = torch.randn(10_000)
    assert (tf32(x) - x).abs().max() > 0
    assert ((tf32(x) - x) / x).abs().max() <= 2.0**-11
    exact = torch.tensor([1.0, -1.5, 1 + 2.0**-10])
    assert torch.equal(tf32(exact), exact)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("mode", ["mean", SHORT])
def test_tf32_leaves_the_residual_alone(
    as_on_a_gpu: None, prior: CascadePrior, images: np.ndarray, mode, factor: int
) -> None:
    y, operator = measured(images, factor)
    with TensorCores() as cores:
        result = super_resolve(y, operator, prior, noise=0.0, mode=mode)
    assert result.residual.max() < 1e-6
    if mode == SHORT:
        assert cores.rounded > 0  # of the networks


@pytest.mark.parametrize("factor", [2, 4])
def test_without_that_it_is_an_error(prior: CascadePrior, images: np.ndarray, factor: int) -> None:
    y, operator = measured(images, factor)
    missed = r"^2 of 2 results miss .* by up to [1-9]\.\de-04 of its norm .* try --device cpu"
    with TensorCores(), pytest.raises(MRCascadeError, match=missed):
        super_resolve(y, operator, prior, noise=0.0, mode="mean")


@pytest.fixture(params=["high", "medium", "new"])
def fewer_digits(request: pytest.FixtureRequest) -> Iterator[None]:
    """What torch may do with float32 products on the CPU itself, where that has instructions."""
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    if request.param == "new":
        if matmul is None:
            pytest.skip("this torch has no fp32_precision")
        before, matmul.fp32_precision = matmul.fp32_precision, "bf16"
        yield
        matmul.fp32_precision = before
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield
    torch.set_float32_matmul_precision(before)


def test_a_cpu_that_rounds_products(
    fewer_digits: None, prior: CascadePrior, images: np.ndarray
) -> None:
    assert product_dtype(torch.zeros(1)) == torch.float64
    y, operator = measured(images, 4)
    assert super_resolve(y, operator, prior, noise=0.0, mode=SHORT).residual.max() < 1e-6


def test_the_dtype_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    of = {torch.float32: torch.float32, torch.complex64: torch.float32}
    of |= {torch.float64: torch.float64, torch.complex128: torch.float64}
    for given, expected in of.items():
        assert product_dtype(torch.zeros(1, dtype=given)) == expected
        assert product_dtype(torch.zeros(1, dtype=given, device="meta")) == expected
    for mode, expected in (("STRICT", torch.float32), ("BF16", torch.float64)):
        monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", mode)
        assert product_dtype(torch.zeros(1)) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("tau", [0.0, 0.1])
def test_wide_products_give_what_narrow_ones_do(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, tau: float
) -> None:
    torch.manual_seed(0)
    v = torch.randn(2, 1, SIDE, SIDE, dtype=dtype)
    y = torch.randn(2, 1, SIDE // 2, SIDE // 2, dtype=dtype)
    results = []
    for rounds in (False, True):
        monkeypatch.setattr(products, "_rounds_float32", lambda device, r=rounds: r)
        operator = SeparableOperator.from_kernel("bicubic", 2, (SIDE, SIDE))
        results.append([operator(v), operator.adjoint(y), operator.prox(v, y, tau)])
    for narrow, wide in zip(*results, strict=True):
        assert wide.dtype == dtype
        torch.testing.assert_close(narrow, wide)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_gradients_pass_through_wide_products() -> None:
    operator = SeparableOperator.from_kernel("area", 2, (8, 8))
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(operator(x).sum(), x)
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient, operator.adjoint(torch.ones(1, 1, 4, 4)))


# ---- what counts as missed ----


def test_the_check_has_no_false_alarms_where_nothing_is_promised(images: np.ndarray) -> None:
    y, operator = measured(images, 2)
    far = np.full(2, 0.5)
    with pytest.raises(MRCascadeError, match="2 of 2 results"):
        check_exact(far, y, images, operator, "cuda")
    tall = SeparableOperator(np.random.default_rng(0).normal(size=(SIDE + 4, SIDE)), np.eye(SIDE))
    check_exact(far, tall(torch.from_numpy(images)).numpy(), images, tall, "cuda")
    flat = SeparableOperator(np.ones((2, SIDE)), np.eye(SIDE))  # rank 1
    check_exact(far, flat(torch.from_numpy(images)).numpy(), images, flat, "cuda")
    other = CallableOperator(operator, operator.adjoint, operator.in_shape, operator.out_shape)
    check_exact(far, y, images, other, "cuda")


def test_what_is_faint_or_empty_or_not_a_number(images: np.ndarray) -> None:
    y, operator = measured(images, 2)
    for faint in (0.0, 1e-7):
        y[1] = faint
        residual = np.array([1e-7, 0.1 if faint else np.nan])
        check_exact(residual, y, images * 1e-6, operator, "cuda")
    check_exact(np.array([0.9 * EXACT] * 2), y, images * 0, operator, "cuda")
    with pytest.raises(MRCascadeError, match=r"1 of 2 results .* nan .* --precision float32"):
        check_exact(np.array([np.nan, 0.0]), y, images, operator, "cuda")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_kernels_meet_their_data_at_any_size(
    prior: CascadePrior, kernel: str, factor: int, size: float
) -> None:
    """White noise is further from what the prior expects, and from smooth, than any image."""
    y = size * np.random.default_rng(1).normal(size=(3, SIDE // factor, SIDE // factor))
    y[1] *= 1e-8  # a slice of air beside others
    operator = SeparableOperator.from_kernel(kernel, factor, (SIDE, SIDE))
    result = super_resolve(y.astype(np.float32), operator, prior, noise=0.0, mode="mean")
    assert np.isfinite(result.mean).all()
    assert relative_residual(result.mean, y, operator)[[0, 2]].max() < 1e-4


def test_the_command_names_the_file(
    tmp_path: Path, prior_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(9, 1, (16, 16, 2)))
    monkeypatch.setattr(restorer, "relative_residual", lambda mean, *_: np.full(len(mean), 2e-4))
    command = ["sr", tmp_path / "a.npy", "-o", tmp_path / "o", "--prior", prior_folder]
    options = ["--factor", 2, "--noise", 0, "--device", "cpu"]
    assert main([str(word) for word in (*command, *options)]) == 2
    assert "a.npy: 2 of 2 results miss their noise-free measurement" in capsys.readouterr().err
    assert not list((tmp_path / "o").glob("*"))


def test_results_that_are_not_projected_are_no_error(
    prior: CascadePrior, images: np.ndarray
) -> None:
    y, operator = measured(images, 2)
    off = Recipe("off", steps=9, project=False, band_constraint=False, noise_floor=0.3)
    assert super_resolve(y, operator, prior, noise=0.0, mode=off).residual.max() > EXACT
