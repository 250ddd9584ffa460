"""Names of BIDS files: entities, suffix, extension (BIDS specification 1.11, entities)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

# Short name (in file names) -> long name, in the order of file names.
ENTITIES = {
    "sub": "subject",
    "tpl": "template",
    "ses": "session",
    "cohort": "cohort",
    "sample": "sample",
    "task": "task",
    "tracksys": "tracksys",
    "acq": "acquisition",
    "nuc": "nucleus",
    "voi": "volume",
    "ce": "ceagent",
    "trc": "tracer",
    "stain": "stain",
    "rec": "reconstruction",
    "dir": "direction",
    "run": "run",
    "mod": "modality",
    "echo": "echo",
    "flip": "flip",
    "inv": "inversion",
    "mt": "mtransfer",
    "part": "part",
    "proc": "processing",
    "hemi": "hemisphere",
    "space": "space",
    "split": "split",
    "recording": "recording",
    "chunk": "chunk",
    "atlas": "atlas",
    "seg": "segmentation",
    "scale": "scale",
    "res": "resolution",
    "den": "density",
    "label": "label",
    "desc": "description",
}
# Entities with an index as value; 1 and 01 are the same.
COUNTED = ("run", "echo", "flip", "inversion", "split", "chunk")

_NAME = re.compile(
    r"(?P<entities>(?:[a-z]+-[A-Za-z0-9+]+_)*)(?P<suffix>[A-Za-z0-9]+)"
    r"(?P<extension>\.nii|\.nii\.gz|\.json)"
)


@dataclass(frozen=True)
class BidsName:
    """Parts of a BIDS file name.

    Attributes:
        entities: value by short name.
        suffix: contrast, such as T2w.
        extension: ending, with the dot.
    """

    entities: Mapping[str, str]
    suffix: str
    extension: str

    def facts(self, datatype: str) -> dict[str, str]:
        """Return the facts that a filter compares, by long name."""
        named = {ENTITIES[short]: value for short, value in self.entities.items()}
        return named | {
            "suffix": self.suffix,
            "datatype": datatype,
            "extension": self.extension,
        }

    def describes(self, other: BidsName) -> bool:
        """Return whether metadata of this name apply to the other (inheritance principle)."""
        return self.suffix == other.suffix and self.entities.items() <= other.entities.items()


def parse_name(path: PurePath) -> BidsName | None:
    """Parse a file name; None where it is not that of an image or of metadata."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    pairs = [entity.split("-") for entity in match["entities"].split("_")[:-1]]
    entities = {key: value for key, value in pairs}  # noqa: C416 (lists of two)
    if len(entities) < len(pairs) or not entities.keys() <= ENTITIES.keys():
        return None
    return BidsName(entities, match["suffix"], match["extension"])
