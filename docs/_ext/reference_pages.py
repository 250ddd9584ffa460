"""Pages of the reference that the code itself writes: commands, modes and options."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from inspect import cleandoc
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from mrcascade.cli import build_parser
from mrcascade.prior.format import BUNDLED
from mrcascade.recipes.guidance import GUIDANCE
from mrcascade.recipes.modes import COMPARED, MODES
from mrcascade.recipes.options import OptionSet, flat
from mrcascade.recipes.settings import RECIPES, Recipe

COLUMNS = "92"  # width of help texts; a code block of the theme holds it
FOLDER = Path("reference") / "generated"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", without_options)
    return {"parallel_read_safe": True}


def without_options(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Cut the list of modes and options off Recipe's docstring; the page of modes has it."""
    if thing is Recipe:
        del lines[lines.index("Modes:") :]


def write_pages(app: Sphinx) -> None:
    """Write the generated pages; an unchanged page keeps its time, so that it is not read again."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "commands.md": "\n".join(commands_page()) + "\n",
        "modes.md": "\n".join(modes_page()) + "\n",
        **{
            f"prior-{card.parent.name}.md": prior_page(card) for card in BUNDLED.glob("*/README.md")
        },
    }
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def prior_page(card: Path) -> str:
    """Return the card of a shipped prior; its links to files of the package become their text."""
    return re.sub(r"\[([^\]]*)\]\((?!http)[^)]*\)", r"\1", card.read_text())


def commands_page() -> Iterator[str]:
    """Yield the page of the command line: the help of the program and of each command."""
    os.environ |= {"COLUMNS": COLUMNS, "NO_COLOR": "1"}  # argparse asks for the terminal's
    parser = build_parser()
    yield from ["# Command line", "", "`mrcascade COMMAND --help` prints the same text.", ""]
    yield from _code(parser.format_help())
    for name, command in _subcommands(parser).items():
        yield from [f"## {name}", "", *_code(command.format_help())]


def _subcommands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    (choices,) = (a.choices for a in parser._actions if isinstance(a.choices, dict))
    return choices


def _code(text: str) -> list[str]:
    return ["```text", text.rstrip(), "```", ""]


def modes_page() -> Iterator[str]:
    """Yield the page of modes: what each runs, and every option with its range and meaning."""
    yield from ["# Modes and options", ""]
    yield "`--mode NAME:KEY=VALUE` of `sr` and `evaluate` changes an option of a mode, and"
    yield "`mrcascade.Recipe` holds it in Python. A prior may bring other defaults in `prior.json`."
    yield from ["", "## Modes", "", *_table(["mode", "what"], _about(MODES)), ""]
    yield from ["Methods of other authors, to compare with:", ""]
    yield from [*_table(["mode", "what"], _about(COMPARED)), ""]
    seen: set[type[OptionSet]] = set()
    yield from ["## Options", ""]
    for part in _parts():
        if type(part) not in seen:
            seen.add(type(part))
            yield from _options_of(part)
    yield from ["## Defaults of each mode", ""]
    names = list(MODES)
    values = {name: flat(RECIPES[name].run) for name in names}
    options = dict.fromkeys(key for name in names for key in values[name])
    rows = [
        [f"`{key}`", *(_shown(values[n][key]) if key in values[n] else "" for n in names)]
        for key in options
    ]
    yield from [*_table(["option", *(f"`{n}`" for n in names)], rows), ""]


def _about(modes: Mapping[str, str]) -> list[list[str]]:
    return [[f"`{name}`", about] for name, about in modes.items()]


def _parts() -> Iterator[OptionSet]:
    """Yield every set of options that some mode or guidance holds, outermost first."""
    for recipe in RECIPES.values():
        yield from _within(recipe.run)
    for guidance in GUIDANCE.values():
        yield from _within(guidance)


def _within(part: OptionSet) -> Iterator[OptionSet]:
    yield part
    for each in fields(part):
        value = getattr(part, each.name)
        if isinstance(value, OptionSet):
            yield from _within(value)


def _options_of(part: OptionSet) -> Iterator[str]:
    """Yield a section: the title of the set, and a row per option that it reads itself."""
    own = {f.name: f for f in fields(part) if "rule" in f.metadata}
    if not own:
        return
    title, meanings = _documented(type(part))
    rows = [
        [f"`{name}`", each.metadata["rule"].text, meanings.get(name, "")]
        for name, each in own.items()
    ]
    yield from [f"### {type(part).__name__}", "", title, ""]
    yield from [*_table(["option", "values", "meaning"], rows), ""]


def _documented(part: type[OptionSet]) -> tuple[str, dict[str, str]]:
    """Return the first line of the docstring and the meaning of each option, inherited ones too."""
    inherited = (_attributes(each) for each in reversed(part.__mro__))
    meanings = {name: text for found in inherited for name, text in found.items()}
    return cleandoc(part.__doc__ or "").partition("\n")[0], meanings


def _attributes(part: type) -> dict[str, str]:
    """Return the attributes that the docstring of a class explains."""
    rest = cleandoc(part.__doc__ or "")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in rest.partition("Attributes:\n")[2].splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            head, _, text = line.partition(":")
            names = [name.strip() for name in head.split(",")]
            found |= dict.fromkeys(names, text.strip())
        elif names:
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return found


def _shown(value: Any) -> str:
    return "" if value is None else str(value).strip("()")


def _table(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines]
