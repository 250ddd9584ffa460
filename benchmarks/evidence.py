"""Evidence pages of the docs: figures of the shipped priors, from files that commands wrote.

    python benchmarks/evidence.py                              # write the pages anew
    python benchmarks/evidence.py collect in-plane results/    # take over a study or evaluation
    python benchmarks/evidence.py collect domain domain.json   # take over a benchmark's JSON

``docs/evidence/data`` holds the figures, ``benchmarks/evidence/NAME.md`` the words of each page,
in which ``{{table}}`` stands for a table of `evidence_tables`. A page whose data are missing is
left out. `PAGES` says which command writes the data of each page.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import evidence_tables as tables
from common import run
from mrcascade.errors import MRCascadeError

ROOT = Path(__file__).parents[1]
PAGES_FOLDER = ROOT / "docs" / "evidence"
DATA = PAGES_FOLDER / "data"
TEMPLATES = Path(__file__).parent / "evidence"
_PLACE = re.compile(r"\{\{([\w-]+)\}\}")
_INDEX = "index"

Lines = Sequence[str]


@dataclass(frozen=True)
class Page:
    """A page of the evidence.

    Attributes:
        question: the question that it answers, for the index.
        data: files that it needs, in ``docs/evidence/data``.
        tables: makes each table, by its name in the template, from the folder of the data.
        commands: what writes the data; ``docs/evidence/index.md`` shows them.
    """

    question: str
    data: Sequence[str]
    tables: Mapping[str, Callable[[Path], Lines]]
    commands: Sequence[str] = field(default_factory=tuple)


_DATA_OPTIONS = "--data DATA --lpips-weights DIR"
PAGES: dict[str, Page] = {
    "in-plane": Page(
        "How much better than interpolation is each mode in plane?",
        ("in-plane.csv", "in-plane.json"),
        {
            "brain": tables.brain,
            "anatomies": tables.anatomies,
            "how": tables.how_in_plane,
        },
        (
            f"mrcascade reproduce benchmarks/studies/defaults.json {_DATA_OPTIONS} -o results",
            "python benchmarks/evidence.py collect in-plane results",
        ),
    ),
    "comparison": Page(
        "Does it reproduce the paper's comparison with other diffusion methods?",
        ("comparison.csv", "comparison.json"),
        {"methods": tables.compared_methods, "how": tables.how_compared},
        (
            f"mrcascade reproduce benchmarks/studies/two-cores.json {_DATA_OPTIONS} -o results",
            "python benchmarks/evidence.py collect comparison results",
        ),
    ),
    "equal-time": Page(
        "How many steps does a sample need, and what do others reach in the same time?",
        ("few-steps.json",),
        {
            "summary": tables.few_steps_summary,
            "anatomies": tables.few_steps_anatomies,
            "against": tables.few_steps_against,
        },
        (
            f"python benchmarks/few_steps.py {_DATA_OPTIONS} --split test"
            " --methods sample,balanced,diffpir --steps 12,24,48 -o few",
            "python benchmarks/evidence.py collect few-steps few/few_steps.json",
        ),
    ),
    "isotropic": Page(
        "What does the prior add to thick slices?",
        ("isotropic.json",),
        {"volumes": tables.isotropic, "how": tables.how_isotropic},
        (
            "mrcascade evaluate --data VOLUMES --isotropic 4"
            " --methods cubic,lsq,mean,sample,posterior-mean -o thick",
            "python benchmarks/evidence.py collect isotropic thick",
        ),
    ),
    "stacks": Page(
        "What do several stacks of one region give?",
        ("stacks.json",),
        {"combined": tables.stacks, "displaced": tables.displaced_stack},
        (
            "python benchmarks/stacks.py VOLUME --noise 0,0.01 --shift 0 0.25 0.5 0.75 1"
            " -o stacks.json",
            "python benchmarks/evidence.py collect stacks stacks.json",
        ),
    ),
    "noise-and-kernels": Page(
        "What does another kernel, or more noise, cost?",
        ("mismatch.json",),
        {"losses": tables.mismatch},
        (
            f"python benchmarks/mismatch.py {_DATA_OPTIONS} --factor 2 --methods zero-fill,mean"
            " --files 2 --output mismatch.json",
            "python benchmarks/evidence.py collect mismatch mismatch.json",
        ),
    ),
    "calibration": Page(
        "Is the standard deviation map as large as the error?",
        (),
        {"skill": tables.calibration},
        (
            "python benchmarks/calibration.py --data DATA --split test --factor 2,4 --files 1"
            " --noise 0,0.01,0.05 -o calibration.json",
            "python benchmarks/card.py src/mrcascade/weights/mr-small"
            " --calibration calibration.json",
        ),
    ),
    "speed": Page(
        "How long does a slice take?",
        ("benchmark.json",),
        {"times": tables.times},
        (
            "mrcascade benchmark --seconds 3600 --batch-size 1,8 -o benchmark.json",
            "python benchmarks/evidence.py collect benchmark benchmark.json",
        ),
    ),
    "memory": Page(
        "How much memory does it take?",
        ("memory.json",),
        {"memory": tables.memory},
        (
            "python benchmarks/memory.py --prior mr-small --mode mean,sample --slices 8,64"
            " --side 128 -o memory.json",
            "python benchmarks/evidence.py collect memory memory.json",
        ),
    ),
    "out-of-domain": Page(
        "How often does the domain score warn, and of what?",
        ("domain.json", "domain-complex.json"),
        {
            "warnings": tables.domain,
            "complex": tables.domain_complex,
            "inverted": tables.domain_inverted,
        },
        (
            "python benchmarks/domain_rates.py --data DATA --kspace KSPACE -o domain.json",
            "python benchmarks/domain_rates.py --data DATA --kspace KSPACE --tasks 2x"
            " --prior mr-small-complex --simulate-phase -o domain-complex.json",
            "python benchmarks/evidence.py collect domain domain.json",
            "python benchmarks/evidence.py collect domain-complex domain-complex.json",
        ),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command")
    collecting = commands.add_parser("collect", help="take over files that a command wrote")
    collecting.add_argument("name", help="name of the data, such as in-plane or domain")
    collecting.add_argument("source", type=Path, help="folder of a study or evaluation, or JSON")
    options = parser.parse_args()
    if options.command == "collect":
        collect(options.name, options.source)
    for name, text in render_all().items():
        (PAGES_FOLDER / f"{name}.md").write_text(text)
        print(PAGES_FOLDER / f"{name}.md")


def collect(name: str, source: Path) -> None:
    """Copy figures into the folder of the data, and draw the pictures of a study."""
    known = {Path(file).stem for page in PAGES.values() for file in page.data}
    if name not in known:
        raise MRCascadeError(f"{name!r}: choose from {', '.join(sorted(known))}")
    DATA.mkdir(parents=True, exist_ok=True)
    if (source / "all.csv").is_file():
        shutil.copyfile(source / "all.csv", DATA / f"{name}.csv")
        tasks = {}
        for path in sorted(source.glob("*/table.json")):
            told = json.loads(path.read_text())
            tasks[path.parent.name] = {key: told[key] for key in ("facts", "subjects", "methods")}
        _write(name, {"tasks": tasks})
        if name == "in-plane":
            from evidence_figures import draw_anatomies

            draw_anatomies(source, PAGES_FOLDER)
    elif (source / "table.json").is_file():
        _write(name, json.loads((source / "table.json").read_text()))
    elif source.is_file():
        _write(name, json.loads(source.read_text()))
        picture = source.with_suffix(".png")
        if name == "few-steps" and picture.is_file():
            shutil.copyfile(picture, PAGES_FOLDER / "few-steps.png")
    else:
        raise MRCascadeError(f"{source}: no study, no evaluation and no JSON file")


def _write(name: str, document: Any) -> None:
    (DATA / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def render_all() -> dict[str, str]:
    """Return the text of every page whose data are there, and of the index, by name."""
    there = [name for name, page in PAGES.items() if all((DATA / f).is_file() for f in page.data)]
    return {**{name: render(name) for name in there}, _INDEX: index(there)}


def render(name: str) -> str:
    """Return the text of a page."""
    page = PAGES[name]

    def table(found: re.Match[str]) -> str:
        return "\n".join(page.tables[found[1]](DATA))

    text = _PLACE.sub(table, (TEMPLATES / f"{name}.md").read_text())
    commands = "\n".join(f"    {command}" for command in page.commands)
    return f"{text.rstrip()}\n\n## Measure it again\n\n{commands}\n"


def index(names: Sequence[str]) -> str:
    """Return the index of the pages."""
    rows = [f"| {PAGES[name].question} | [{_title(name)}]({name}.md) |" for name in names]
    tree = ["```{toctree}", ":hidden:", "", *names, "```"]
    text = (TEMPLATES / "index.md").read_text().rstrip()
    return "\n".join([text, "", "| question | page |", "| --- | --- |", *rows, "", *tree]) + "\n"


def _title(name: str) -> str:
    return (TEMPLATES / f"{name}.md").read_text().splitlines()[0].removeprefix("# ")


if __name__ == "__main__":
    run(main)
