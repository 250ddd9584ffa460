"""How an image was made, if it is a result of ``sr``, by the sidecar that lists it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mrcascade.io import beside, with_part
from mrcascade.jobs.report import result_record
from mrcascade.pictures.report.facts import made_with

# What the names of the other images of a result have and that of its sidecar has not.
_OTHER_IMAGE = re.compile(r"(_desc-sr[a-zA-Z0-9]*?)(?:std|sample)(?=_|\.)|_(?:std|sample)(?=\.)")


def describe_made(path: Path) -> list[str]:
    """Return lines about how a result was made; empty for an image that is none.

    Args:
        path: result, sample, standard deviation map or preview.
    """
    for sidecar in _sidecars(Path(path)):
        record = result_record(sidecar)
        if record is None:
            continue
        if path.name in {Path(name).name for name in record["Files"].values()}:
            return made_with(record)
    return []


def _sidecars(path: Path) -> Iterator[Path]:
    """Yield the places where the sidecar of an image may lie."""
    for image in dict.fromkeys((path, with_part(path, "mag"))):
        own = beside(image, "", ".json")
        yield own
        if (of_result := _OTHER_IMAGE.sub(r"\1", own.name)) != own.name:
            yield own.with_name(of_result)
