"""The report of a batch: a sortable table of its files, with links to the reports of results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from mrcascade.pictures.report.head import report_head
from mrcascade.pictures.report.template import DATA, escaped, filled


@dataclass(frozen=True)
class OverviewRow:
    """One file of a batch.

    Attributes:
        name: the input, or the result where the input's name is not recorded.
        status: "done", "skipped" or "failed".
        report: report of the result, relative to the page; empty where there is none.
        icon: thumbnail of the result as a data address.
        noise: standard deviation of the noise as a fraction of the maximum.
        noise_origin: how it is known.
        residual, domain, seconds: None where they are not known, as the noise.
        messages: warnings, or the error.
    """

    name: str
    status: str
    report: str = ""
    icon: str = ""
    noise: float | None = None
    noise_origin: str = ""
    residual: float | None = None
    domain: float | None = None
    seconds: float | None = None
    messages: Sequence[str] = field(default_factory=tuple)


def write_overview(path: Path, title: str, rows: Sequence[OverviewRow]) -> None:
    """Write the report of a batch.

    Args:
        path: the HTML file, which is replaced.
        title: title of the page.
        rows: the files, in the order of the batch.
    """
    counts = Counter(row.status for row in rows)
    ended = ", ".join(f"{counts[s]} {s}" for s in ("done", "skipped", "failed") if counts[s])
    page = filled(
        "batch.html",
        "table.js",
        head=report_head(title, None),
        title=escaped(title),
        subtitle=escaped(f"{len(rows)} file{'s' * (len(rows) != 1)}: {ended}."),
    )
    before, _, behind = page.partition(DATA)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(before)
        for number, row in enumerate(rows):
            file.write(_row(number, row))
        file.write(behind)


def _row(number: int, row: OverviewRow) -> str:
    name = escaped(row.name)
    if row.report:
        name = f'<a href="{escaped(quote(os.fsencode(row.report)))}">{name}</a>'
    picture = f'<img src="{escaped(row.icon)}" alt="">' if row.icon else ""
    cells = (
        _cell(picture, number),
        _cell(f"{name}{_small(row.messages)}", row.name),
        _cell(escaped(row.status), row.status, "failed" if row.status == "failed" else ""),
        _cell(_shown(row.noise, ".2g", " %", 100) + _small([row.noise_origin]), row.noise),
        _cell(_shown(row.residual, ".1e"), row.residual, "number"),
        _cell(_shown(row.domain, ".2f"), row.domain, "number"),
        _cell(_shown(row.seconds, ".1f", " s"), row.seconds, "number"),
    )
    return f"<tr>{''.join(cells)}</tr>\n"


def _cell(content: str, key: object, kind: str = "") -> str:
    """Return a cell; ``key`` is what the table sorts by, None where there is nothing."""
    kind = f' class="{kind}"' if kind else ""
    return f'<td{kind} data-key="{"" if key is None else escaped(key)}">{content}</td>'


def _shown(value: float | None, form: str, unit: str = "", times: float = 1) -> str:
    return "" if value is None else f"{times * value:{form}}{unit}"


def _small(lines: Sequence[str]) -> str:
    return "".join(f'<span class="message">{escaped(line)}</span>' for line in lines if line)
