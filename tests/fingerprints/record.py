"""Record the matrix of results, and compare it with an earlier record.

python -m tests.fingerprints.record --exact -o before.json      digests of this machine
python -m tests.fingerprints.record --exact --against before.json
python -m tests.fingerprints.record -o tests/fingerprints/fingerprints.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

from tests.fingerprints.cases import CASES, Case
from tests.fingerprints.fingerprint import (
    Record,
    fact_differences,
    outputs_of,
    pixel_differences,
    relative_change,
)

RECORDED = Path(__file__).with_name("fingerprints.json")
Records = dict[str, dict[str, Record]]


def run_case(case: Case) -> dict[str, Record]:
    """The records of a case's outputs, by name."""
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        kept = case.run(Path(name))
        return outputs_of(Path(name) / "out", kept)


def compare(before: Records, after: Records, exact: bool = False) -> list[str]:
    """One line for each difference, of pixels before those of facts.

    exact: of digests, and of facts to the last digit, instead of what rounding does not explain.
    """
    pixels, facts = [], []
    for case in {**before, **after}:
        outputs, found = before.get(case, {}), after.get(case, {})
        for name in {**outputs, **found}:
            where = f"{case}: {name}"
            if name not in outputs or name not in found:
                pixels.append(f"{where} is {'missing' if name in outputs else 'new'}")
                continue
            old, new = outputs[name], found[name]
            if exact and old.get("sha256") != new.get("sha256"):
                same = old.get("shape") == new.get("shape")
                size = f"by {relative_change(old, new):.1e} of the norm" if same else "in shape"
                pixels.append(f"{where}: pixels (or header) changed {size}")
            elif not exact:
                pixels += [f"{where}: {line}" for line in pixel_differences(old, new)]
            facts += [f"{where}: {line}" for line in fact_differences(old, new, exact)]
    return [*pixels, *facts]


def main() -> int:
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("-o", "--output", type=Path, help="file for the record")
    parser.add_argument("--against", type=Path, help="print what differs from this record")
    parser.add_argument("--exact", action="store_true", help="with digests, which one machine has")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    options = parser.parse_args()
    chosen = {name: case for name, case in CASES.items() if options.only in name}
    records = {name: run_case(case) for name, case in chosen.items()}
    if options.output:
        write(options.output, records, options.exact)
    if not options.against:
        return 0
    before = json.loads(options.against.read_text())
    before = {name: outputs for name, outputs in before.items() if options.only in name}
    lines = compare(before, records, options.exact)
    for line in lines:
        print(line)
    outputs = sum(map(len, records.values()))
    print(f"{len(records)} cases, {outputs} outputs: {len(lines)} differences")
    return bool(lines)


def write(path: Path, records: Records, exact: bool) -> None:
    """Write a line per output, without digests unless ``exact``."""
    rows = []
    for case, outputs in records.items():
        kept = {
            name: {k: v for k, v in record.items() if exact or k != "sha256"}
            for name, record in outputs.items()
        }
        inner = ",\n".join(f"  {json.dumps(n)}: {json.dumps(r)}" for n, r in kept.items())
        rows.append(f" {json.dumps(case)}: {{\n{inner}\n }}")
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    sys.exit(main())
