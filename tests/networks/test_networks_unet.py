"""The U-Net and the regression branch: attention, magnitudes, sizes, folding."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.quick import slow
from torch import Tensor

from mrcascade.networks import LogVariance, MeanConfig, MeanNetwork, UNet, UNetConfig, fold
from mrcascade.networks.layers import EPS, MPConv
from mrcascade.networks.unet import Attention, Block, pad_to_multiple

CONFIG = UNetConfig(8, (1, 2), blocks=1, attention=(1,), stem=2)
NETWORK_SAMPLES = 24
SIZES = [(16, 16), (13, 16), (17, 33), (5, 3), (1, 7), (1, 1), (2, 40)]


def unet(config: UNetConfig = CONFIG, channels: tuple[int, int] = (3, 2), seed: int = 0) -> UNet:
    """A U-Net whose every gain has left its start at zero."""
    torch.manual_seed(seed)
    network = UNet(config, *channels).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gain"):
                parameter.fill_(1.0 if name == "out.gain" else 0.3)
    return network


def regression(seed: int = 0) -> MeanNetwork:
    torch.manual_seed(seed)
    network = MeanNetwork(MeanConfig(8, 2), 3, 2).eval()
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    return network


@pytest.mark.parametrize("channels", [8, 64, 128])
def test_attention_is_dense_cosine_attention(channels: int) -> None:
    torch.manual_seed(0)
    layer = Attention(channels).eval().double()
    x = torch.randn(2, channels, 3, 4, dtype=torch.float64)
    heads = max(1, channels // 64)
    assert layer.heads == heads
    d = channels // heads
    weight = layer.qkv.effective_weight()[:, :, 0, 0].reshape(heads, d, 3, channels)
    result = torch.zeros(2, channels, 12, dtype=torch.float64)
    pixels = x.flatten(2)
    for n in range(2):
        for h in range(heads):
            q, k, v = (weight[h, :, i] @ pixels[n] for i in range(3))
            q, k, v = (u / (1e-4 + u.square().mean(0).sqrt()) for u in (q, k, v))
            scores = torch.softmax(q.T @ k / math.sqrt(d), dim=1)
            result[n, h * d : (h + 1) * d] = v @ scores.T
    projected = _normalised(layer.proj)[:, :, 0, 0] @ result
    expected = (0.7 * pixels + 0.3 * projected) / math.sqrt(0.7**2 + 0.3**2)
    torch.testing.assert_close(layer(x).flatten(2), expected)


@pytest.mark.parametrize("decoder", [False, True])
def test_a_block_is_that_of_the_paper(decoder: bool) -> None:
    """Figure 21, with its constants where the paper has them: at the activations."""
    torch.manual_seed(0)
    block = Block(6, 8, 5, decoder=decoder, attention=False).eval().double()
    with torch.no_grad():
        block.modulation.gain.fill_(0.7)
    x, embedding = torch.randn(2, 6, 4, 4).double(), torch.randn(2, 5).double()

    def silu(x: Tensor) -> Tensor:
        return F.silu(x) / 0.596

    def conv(layer: MPConv, x: Tensor) -> Tensor:
        weight = _normalised(layer)
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    main = conv(block.skip, x)
    branch = x
    if not decoder:
        main = branch = main / (EPS + main.square().mean(1, keepdim=True).sqrt())
    # The embedding comes without the constant of its SiLU.
    scale = 1 + 0.7 * (embedding / 0.596) @ _normalised(block.modulation).T
    branch = conv(block.conv0, silu(branch)) * scale[:, :, None, None]
    branch = conv(block.conv1, silu(branch))
    expected = (0.7 * main + 0.3 * branch) / math.sqrt(0.7**2 + 0.3**2)
    torch.testing.assert_close(block(x, embedding), expected)


@pytest.mark.parametrize("decoder", [False, True])
def test_only_the_encoder_normalises_pixels(decoder: bool) -> None:
    torch.manual_seed(0)
    x, embedding = 10 * torch.randn(1, 6, 4, 4), torch.randn(1, 5)
    block = Block(6, 6, 5, decoder=decoder, attention=False).eval()
    y, doubled = block(x, embedding), block(2 * x, embedding)
    # EPS is a share of 1e-5 of pixels of size 10; two convolutions pass it on.
    assert torch.allclose(y, doubled, atol=2e-4) == (not decoder)
    assert y.square().mean().sqrt().item() == pytest.approx(10 if decoder else 1, rel=0.3)


def test_blocks_clip() -> None:
    torch.manual_seed(0)
    block = Block(6, 6, 5, decoder=True, attention=False).eval()
    assert block(1e4 * torch.randn(1, 6, 4, 4), torch.randn(1, 5)).abs().max() == 256


@pytest.mark.parametrize(
    ("attention", "stem"), [((1,), 2), slow((1,), 1), slow((), 2), slow((), 1)]
)
def test_output_has_unit_magnitude(stem: int, attention: tuple[int, ...]) -> None:
    config = UNetConfig(32, (1, 2), 1, attention, stem)
    energies = []
    for seed in range(NETWORK_SAMPLES):
        network = unet(config, (1, 16), seed)
        with torch.no_grad():
            for block in (m for m in network.modules() if isinstance(m, Block)):
                block.modulation.gain.zero_()
            x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
            energies.append(float(network(x, torch.zeros(2)).square().mean()))
    # Not exact: branches correlate with what they are added to, and SiLU leaves a mean. Over 20
    # seeds the energy was 0.91 to 0.95 with a scatter of up to 0.36, so four standard errors of a
    # mean of 24 and that bias are 0.4. A missing scaling multiplies by 0.36 (SiLU), 0.58 (sum) or
    # 0.5 (concatenation) in each of a dozen places.
    assert np.mean(energies) == pytest.approx(1, abs=0.4)


def test_networks_start_at_zero() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 12, 12)
    assert not UNet(CONFIG, 3, 2)(x, torch.zeros(1)).any()
    assert not MeanNetwork(MeanConfig(8, 2), 3, 2)(x).any()


def test_noise_level_counts_for_nothing_at_the_start() -> None:
    torch.manual_seed(0)
    network, x = UNet(CONFIG, 3, 2).eval(), torch.randn(1, 3, 12, 12)
    with torch.no_grad():
        network.out.gain.fill_(1)
        assert torch.equal(network(x, torch.tensor([0.1])), network(x, torch.tensor([0.9])))


def test_noise_level_reaches_the_output() -> None:
    network, x = unet(), torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(network(x, torch.tensor([0.1])), network(x, torch.tensor([0.9])))


def _normalised(layer: MPConv) -> Tensor:
    """Equation 66: a weight of unit length for every output channel."""
    flat = layer.weight.flatten(1)
    length = flat.square().mean(1, keepdim=True).sqrt() + EPS
    return (flat / length / math.sqrt(flat.shape[1])).reshape(layer.weight.shape)


def _outputs(x: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return {"unet": unet()(x, torch.full((len(x),), 0.3)), "regression": regression()(x)}


@pytest.mark.parametrize("size", SIZES)
def test_any_size_is_padded_and_cropped_inside(size: tuple[int, int]) -> None:
    h, w = size
    x = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(1))
    bottom, right = -h % CONFIG.multiple, -w % CONFIG.multiple
    mode = "reflect" if bottom < h and right < w else "edge"
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (0, bottom), (0, right)], mode=mode)
    whole = _outputs(torch.from_numpy(padded))
    for name, y in _outputs(x).items():
        assert y.shape == (2, 2, h, w)
        assert y.isfinite().all()
        if name == "unet":  # the same operations on the same numbers
            assert torch.equal(y, whole[name][..., :h, :w])


def test_regression_branch_pads_to_its_stem() -> None:
    x = torch.randn(1, 3, 7, 9, generator=torch.Generator().manual_seed(1))
    padded = torch.from_numpy(np.pad(x.numpy(), [(0, 0), (0, 0), (0, 1), (0, 1)], mode="reflect"))
    with torch.no_grad():
        assert torch.equal(regression()(x), regression()(padded)[..., :7, :9])


def test_padding_leaves_legal_sizes_alone() -> None:
    x = torch.randn(1, 1, 8, 12)
    assert pad_to_multiple(x, 4) is x
    assert CONFIG.multiple == 4
    assert UNetConfig(8, (1, 2, 2), stem=2).multiple == 8


def test_images_of_a_batch_do_not_mix() -> None:
    x, c = torch.randn(3, 3, 16, 16), torch.tensor([-0.5, 0.1, 0.8])
    network = unet()
    with torch.no_grad():
        whole = network(x, c)
        for i in range(3):
            # float32 sums in another order: see FOLDING_TOLERANCE
            torch.testing.assert_close(
                network(x[i : i + 1], c[i : i + 1])[0], whole[i], rtol=0, atol=FOLDING_TOLERANCE
            )


# A float32 sum of K terms errs by up to about sqrt(K) 2^-24 of its size when it is added up in
# another order; here about 25 layers of K <= 432 terms and unit magnitude follow each other:
# 25 * sqrt(432) * 2^-24 = 3e-5.
FOLDING_TOLERANCE = 3e-5


@pytest.mark.parametrize("size", [(16, 16), (17, 33)])
def test_folding_changes_rounding_only(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    c = torch.tensor([0.2, -0.7])
    for network, inputs in ((unet(), (x, c)), (regression(), (x,))):
        with torch.no_grad():
            expected = network(*inputs)
            folded = fold(copy.deepcopy(network))
            result = folded(*inputs)
        assert expected.square().mean().sqrt() > 0.1
        torch.testing.assert_close(result, expected, rtol=0, atol=FOLDING_TOLERANCE)
        assert not folded.training
        assert not any(p.requires_grad for p in folded.parameters())
        again = fold(copy.deepcopy(folded)).state_dict()
        assert all(torch.equal(again[k], v) for k, v in folded.state_dict().items())


def test_log_variance_is_linear_in_fourier_features() -> None:
    torch.manual_seed(0)
    network = LogVariance().eval()
    c = torch.tensor([-1.0, 0.2, 1.1])
    features = math.sqrt(2) * torch.cos(c[:, None] * network.fourier.freqs + network.fourier.phases)
    expected = features @ network.linear.effective_weight()[0]
    assert network.fourier.freqs.shape == (128,)
    torch.testing.assert_close(network(c), expected)


def test_devices_whose_autocast_widens_an_enlarged_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's gives float32, which `lerp` does not blend with bfloat16."""
    network = unet().requires_grad_(False)
    x, sigma = torch.randn(2, 3, 16, 16), torch.zeros(2)
    enlarge, widened = torch.nn.functional.interpolate, []

    def wide(*arguments, **more) -> Tensor:
        widened.append(enlarge(*arguments, **more).float())
        return widened[-1]

    with torch.autocast("cpu", torch.bfloat16):
        expected = network(x, sigma)
        monkeypatch.setattr(torch.nn.functional, "interpolate", wide)
        found = network(x, sigma)
    assert widened
    assert torch.equal(found, expected)
