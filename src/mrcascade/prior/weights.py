"""Weight files of a prior: safetensors in float16, checked as they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.messages.printable import printable, shortened
from mrcascade.prior.denoiser import LevelNetworks
from mrcascade.prior.format import PRIOR_FILE
from mrcascade.prior.level import LevelSpec, WeightFile
from mrcascade.storage.digest import file_sha256

# Largest bytes per weight in a weight file, and largest JSON header of the file.
_LARGEST_WEIGHT, _LARGEST_HEADER = 8, 2**24


def stored_weights(
    spec: LevelSpec, channels: int, state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return trained weights in float16, and constants in float32.

    Constants are the frequencies and phases of Fourier features. Phases of several turns would
    lose too many digits in float16.
    """
    with torch.device("meta"):
        constants = {name for name, _ in LevelNetworks(spec.networks, channels).named_buffers()}
    return {k: v if k in constants else v.half() for k, v in state.items()}


def check_weights(file: WeightFile) -> None:
    """Raise MRCascadeError where a weight file is missing, or is another file than it was."""
    if not os.path.isfile(file.path):
        raise MRCascadeError(f"{file.path}: weight file is missing; fetch the prior again")
    if file_sha256(file.path) != file.sha256:
        raise MRCascadeError(
            f"{file.path}: checksum differs from {PRIOR_FILE} (cut short or replaced);"
            " fetch the prior again"
        )


def load_weights(file: WeightFile, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read a weight file.

    Args:
        file: the file.
        expected: tensors of the shapes that it must hold, by name.

    Raises:
        MRCascadeError: the file is missing, damaged, or does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = file.path
    most = _LARGEST_WEIGHT * sum(v.numel() for v in expected.values()) + _LARGEST_HEADER
    if os.path.isfile(path) and path.stat().st_size > most:
        raise MRCascadeError(
            f"{path}: larger than the networks named in {PRIOR_FILE}; fetch the prior again"
        )
    check_weights(file)
    try:
        state = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise MRCascadeError(
            f"{path}: not a safetensors file ({shortened(printable(str(error)))});"
            " fetch the prior again"
        ) from error
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in expected.items()}:
        raise MRCascadeError(
            f"{path}: weights do not fit the networks named in {PRIOR_FILE}; fetch the prior again"
        )
    if not all(v.is_floating_point() for v in state.values()):
        raise MRCascadeError(f"{path}: weights are not real numbers; fetch the prior again")
    state = {k: v.float() for k, v in state.items()}
    if not all(v.isfinite().all() for v in state.values()):
        raise MRCascadeError(f"{path}: weights are NaN or infinite; fetch the prior again")
    return state
