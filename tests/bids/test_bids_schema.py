"""What the package knows of BIDS, against the machine-readable schema of the specification."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bids_dataset import volume, write_json

from mrcascade.io import derived_name
from mrcascade.io.bids.entities import COUNTED, ENTITIES, parse_name
from mrcascade.jobs import find_inputs

schematools = pytest.importorskip("bidsschematools.schema", reason="needs bidsschematools")


@pytest.fixture(scope="module")
def schema() -> Any:
    return schematools.load_schema()


def images(rules: Any, datatype: str) -> Iterator[Any]:
    """The rules of a part of the schema for NIfTI images of a datatype."""
    for value in rules.values():
        if not hasattr(value, "values"):
            continue
        if "suffixes" not in value:
            yield from images(value, datatype)
        elif datatype in value.get("datatypes", ()) and ".nii.gz" in value.extensions:
            yield value


def suffixes(rules: Any, datatype: str) -> set[str]:
    return {suffix for rule in images(rules, datatype) for suffix in rule.suffixes}


def test_entities_and_their_order(schema: Any) -> None:
    known = [(schema.objects.entities[long].name, long) for long in schema.rules.entities]
    assert list(ENTITIES.items()) == known


def test_entities_whose_values_count(schema: Any) -> None:
    found = {long for long, e in schema.objects.entities.items() if e.format == "index"}
    assert set(COUNTED) == found


@pytest.mark.parametrize("datatype", ["anat", "func"])
def test_what_is_taken_of_a_dataset_may_have_a_result(
    schema: Any, datatype: str, tmp_path: Path
) -> None:
    """Masks, phase images and noise scans are left out; derivatives may hold all others."""
    rules = schema.rules.files
    raw = suffixes(rules.raw, datatype) | suffixes(rules.deriv, datatype)
    write_json(tmp_path / "dataset_description.json", {"Name": "all", "BIDSVersion": "1.11.2"})
    for suffix in raw:
        volume(tmp_path / "sub-01" / datatype / f"sub-01_{suffix}.nii.gz")
    items = find_inputs([tmp_path], bids_filter=f"datatype={datatype}")
    taken = {item.name.removesuffix(".nii.gz").split("_")[-1] for item in items}
    left_out = {"defacemask", "mask", "dseg", "probseg", "phase", "noRF"}
    assert taken == raw - left_out
    described = {
        suffix
        for rule in images(rules.deriv, datatype)
        if "description" in rule.entities
        for suffix in rule.suffixes
    }
    assert taken <= described


def test_results_name_entities_in_the_order_of_the_schema(schema: Any) -> None:
    short = [schema.objects.entities[long].name for long in schema.rules.entities]
    others = [entity for entity in short if entity not in ("sub", "tpl")]
    for one, other in itertools.combinations(others, 2):
        made = derived_name(Path(f"sub-1_{one}-1_{other}-2_T1w.nii.gz"), "sr2x", ".nii.gz")
        parsed = parse_name(Path(made))
        assert parsed is not None, made
        places = [short.index(entity) for entity in parsed.entities]
        assert places == sorted(places), made
