"""Writing of a prior's folder: ``prior.json``, weights and model card."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.prior.card import CARD, FACTS, plain_card, with_metadata
from mrcascade.prior.domain import DomainReference
from mrcascade.prior.format import FORMAT, PRIOR_FILE
from mrcascade.prior.level import LevelSpec, WeightFile
from mrcascade.prior.weights import check_weights, stored_weights
from mrcascade.storage.atomic import atomic_outputs, make_folder
from mrcascade.storage.digest import file_sha256
from mrcascade.storage.files import read_bytes, read_text


def weight_names(levels: int) -> list[str]:
    """Return the names of the weight files, finest level first."""
    return [f"level{index}.safetensors" for index in range(1, levels + 1)]


def prior_document(
    *,
    name: str,
    kernel: str,
    channels: int,
    step: int = 2,
    maximum_factor: int = 4,
    levels: Sequence[tuple[LevelSpec, str]],
    spectrum: Sequence[float],
    provenance: Mapping[str, Any],
    sampling: Mapping[str, Any],
    domain: DomainReference | None = None,
) -> dict[str, Any]:
    """Return the content of ``prior.json``.

    levels: specification and checksum of the weights of each level, finest first.
    """
    files = weight_names(len(levels))
    return {
        "format": FORMAT,
        "name": name,
        "kernel": kernel,
        "channels": channels,
        "step": step,
        "maximum_factor": maximum_factor,
        "sampling": dict(sampling),
        "levels": [
            {"file": file, "sha256": digest, **asdict(spec)}
            for file, (spec, digest) in zip(files, levels, strict=True)
        ],
        "spectrum": [float(f"{v:.5g}") for v in spectrum],
        "provenance": dict(provenance),
        **({} if domain is None else {"domain": domain.entry()}),
    }


def json_text(document: Mapping[str, Any]) -> str:
    """Return the text of a ``prior.json``."""
    return json.dumps(document, indent=1) + "\n"


def write_prior(
    folder: Path,
    *,
    name: str,
    kernel: str,
    channels: int,
    step: int = 2,
    maximum_factor: int = 4,
    levels: Sequence[tuple[LevelSpec, Mapping[str, Tensor]]],
    spectrum: Sequence[float],
    provenance: Mapping[str, Any],
    sampling: Mapping[str, Any],
    domain: DomainReference | None = None,
) -> None:
    """Write ``prior.json`` and the float16 weights of each level (finest first) to ``folder``.

    All files appear together and replace an existing prior; the JSON comes last. Raises
    MRCascadeError for weights that float16 cannot represent.
    """
    from safetensors.torch import save

    make_folder(folder)
    names = weight_names(len(levels))
    targets = [folder / file for file in (*names, PRIOR_FILE)]
    with atomic_outputs(targets, overwrite=True) as (*weights, described):
        digests: list[tuple[LevelSpec, str]] = []
        for file, path, (spec, state) in zip(names, weights, levels, strict=True):
            half = stored_weights(spec, channels, state)
            if not all(v.isfinite().all() for v in half.values()):
                raise MRCascadeError(
                    f"{folder / file}: not written, as its weights are NaN or beyond float16; the"
                    " training diverged; train anew, with a lower learning rate"
                )
            path.write_bytes(save({k: v.contiguous() for k, v in half.items()}))
            digests.append((spec, file_sha256(path)))
        document = prior_document(
            name=name,
            kernel=kernel,
            channels=channels,
            step=step,
            maximum_factor=maximum_factor,
            levels=digests,
            spectrum=spectrum,
            provenance=provenance,
            sampling=sampling,
            domain=domain,
        )
        described.write_text(json_text(document))


def copy_prior(
    folder: Path,
    document: Mapping[str, Any],
    weights: Sequence[WeightFile],
    *,
    unchanged: Path | None,
    license: str | None,
    overwrite: bool,
) -> None:
    """Write a prior whose weights are files already, with its model card.

    All files appear together; ``prior.json`` comes last.

    Args:
        folder: folder of the prior, which is made.
        document: content of ``prior.json``.
        weights: weight files of the levels, finest first.
        unchanged: folder whose files are of this very prior and are copied; None without one.
        license: identifier of the licence in the card.
        overwrite: whether existing files may be replaced.

    Raises:
        MRCascadeError: a file exists, a weight file is not what it was, or the folder cannot be
            written.
    """
    for file in weights:
        check_weights(file)
    names = weight_names(len(weights))
    texts = {PRIOR_FILE: json_text(document).encode()}
    page = plain_card(document, sum(file.path.stat().st_size for file in weights))
    if unchanged is not None:
        names = [file.path.name for file in weights]
        texts = {
            name: read_bytes(unchanged / name)
            for name in (FACTS, PRIOR_FILE)
            if os.path.isfile(unchanged / name)
        }
        if os.path.isfile(unchanged / CARD):
            page = read_text(unchanged / CARD)
    texts = {CARD: with_metadata(page, license).encode(), **texts}
    targets = [folder / name for name in (*names, *texts)]
    with atomic_outputs(targets, overwrite) as temporaries:
        for file, path in zip(weights, temporaries, strict=False):
            shutil.copyfile(file.path, path)
        for text, path in zip(texts.values(), temporaries[len(weights) :], strict=True):
            path.write_bytes(text)
