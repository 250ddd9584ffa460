"""Choice of the networks' precision."""

from pathlib import Path

import pytest
import torch

from mrcascade import CascadePrior, MRCascadeError
from mrcascade.cli import computing
from mrcascade.devices.precision import PRECISIONS, computes_in_bfloat16, resolve_precision


@pytest.fixture(params=[False, True])
def instructions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A CPU with or without AVX-512 BF16."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: request.param)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return request.param


def test_auto_is_bfloat16_where_the_processor_has_it(instructions: bool) -> None:
    assert computes_in_bfloat16("cpu") is instructions
    fast = "bfloat16" if instructions else "float32"
    found = [resolve_precision(asked, torch.device("cpu")) for asked in PRECISIONS]
    assert found == ["float32", "bfloat16", fast]
    prior = CascadePrior.from_pretrained("mr-small-complex", precision="auto")
    assert {level.precision for level in prior.levels} == {fast}


def test_bfloat16_weights_are_stored_as_autocast_would_cast_them(prior_folder: Path) -> None:
    stored, cast = (
        CascadePrior.from_pretrained(prior_folder, precision=precision)
        for precision in ("bfloat16", "float32")
    )
    x = torch.randn(2, stored.channels, 24, 24)
    for a, b in zip(stored.levels, cast.levels, strict=True):
        assert {p.dtype for p in a.networks.parameters()} == {torch.bfloat16}
        assert {p.dtype for p in a.networks.buffers()} == {torch.float32}
        b.precision = "bfloat16"  # whose weights stay in float32
        seen = [level.condition(x if level.conditional else None) for level in (a, b)]
        assert torch.equal(*(torch.as_tensor(one.mean()) for one in seen))
        assert torch.equal(*(one.denoise(x, a.std) for one in seen))


def test_other_devices_and_other_names() -> None:
    assert not computes_in_bfloat16("meta")
    with pytest.raises(MRCascadeError, match="unknown precision 'half': choose from float32"):
        CascadePrior.from_pretrained("mr-small", precision="half")


def test_the_command_says_where_bfloat16_is_slow(
    instructions: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert computing.PRECISIONS == PRECISIONS  # a copy, as parsing must not wait for torch
    for asked in PRECISIONS:
        computing.choose_precision(asked, "cpu")
        noted = "no instructions for bfloat16" in capsys.readouterr().err
        assert noted == (asked == "bfloat16" and not instructions)
