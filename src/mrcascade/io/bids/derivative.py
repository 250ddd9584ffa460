"""The derivative dataset that results form: the files in its root."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mrcascade import __version__
from mrcascade.errors import MRCascadeError
from mrcascade.io.bids.dataset import DESCRIPTION, IGNORED, Dataset
from mrcascade.io.bids.document import read_object
from mrcascade.io.bids.metadata import link_name
from mrcascade.storage.atomic import atomic_outputs

_NAME = "mrcascade"
_VERSION = "1.10.0"  # of BIDS
# Records and reports of batches, previews. The validator ignores a folder only without a slash at
# its end.
_NOT_BIDS = "run*.json\nreport.html\nfigures\n"
_README = """# {name}

MR images that mrcascade super-resolved with scale-cascaded diffusion priors.
Research software; not for diagnosis: detail beyond the measurement is plausible, not measured.

- `desc-sr2x`, `desc-sr4x`, ...: the result, by the factor in plane; its JSON file names prior,
  settings, seed, source and the distance to the measurement (residual)
- `desc-sriso`, `desc-sriso0p8mm`, ...: thick slices made thin, as the pixels or at that distance
- `desc-sr4xsample`, `desc-sr4xstd`: one posterior sample, and the standard deviation map
- `figures/`: previews, and reports to look at
- `run*.json`, `report.html`: how each file of a batch ended
"""


def check_bids_output(dataset: Dataset, output: Path) -> None:
    """Raise MRCascadeError where ``output`` cannot hold the results of ``dataset``.

    It is then another dataset, or its description is damaged.
    """
    path, links = output / DESCRIPTION, _links(dataset, output)
    if not path.exists():
        return
    found = read_object(path)
    makers = found.get("GeneratedBy")
    makers = makers if isinstance(makers, list) else []
    ours = any(isinstance(maker, dict) and maker.get("Name") == _NAME for maker in makers)
    if not ours or found.get("DatasetType") != "derivative":
        raise MRCascadeError(
            f"{path} describes a dataset that mrcascade did not make; choose another folder, such"
            f" as {dataset.root / 'derivatives' / _NAME}"
        )
    if found.get("DatasetLinks") != links:
        raise MRCascadeError(
            f"{path} belongs to results of another dataset, not of {links[link_name(dataset)]};"
            " choose another folder"
        )


def write_bids_root(dataset: Dataset, output: Path) -> None:
    """Write description, README and `.bidsignore` where they are missing; existing ones stay.

    The texts depend only on the dataset and the output folder, so that jobs which share a folder
    may write them at once.
    """
    description = _description(dataset, output)
    texts = {
        IGNORED: _NOT_BIDS,
        "README.md": _README.format(name=description["Name"]),
        DESCRIPTION: json.dumps(description, indent=1) + "\n",
    }
    missing = [name for name in texts if not os.path.lexists(output / name)]
    with atomic_outputs([output / name for name in missing], overwrite=True) as temporaries:
        for name, temporary in zip(missing, temporaries, strict=True):
            # JSON can hold a lone surrogate, which has no UTF-8.
            temporary.write_text(texts[name], encoding="utf-8", errors="backslashreplace")


def _description(dataset: Dataset, output: Path) -> dict[str, Any]:
    source = dataset.description
    description = {
        "Name": f"Super-resolved images of {source.get('Name', dataset.root.name)}",
        "BIDSVersion": _VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": _NAME,
                "Version": __version__,
                "Description": "Super-resolution with scale-cascaded diffusion priors",
            }
        ],
        "DatasetLinks": _links(dataset, output),
    }
    if doi := source.get("DatasetDOI"):
        description["SourceDatasets"] = [{"DOI": doi}]
    return description


def _links(dataset: Dataset, output: Path) -> dict[str, str]:
    """Return the links between datasets.

    They are relative, so that both datasets may move together and no path of this machine is
    disclosed.
    """
    relative = os.path.relpath(dataset.root.resolve(), output.resolve())
    return {link_name(dataset): quote(Path(relative).as_posix())}
