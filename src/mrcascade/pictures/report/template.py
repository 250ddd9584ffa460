"""Templates of reports, which are files of the package, and the policy that closes a page."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib.resources import files
from string import Template
from typing import Any

from mrcascade.messages.printable import printable

#: Where a page holds its data; it is written piece by piece.
DATA = "@@DATA@@"


def escaped(value: object) -> str:
    """Return text for HTML: printable and escaped."""
    return html.escape(printable(str(value)), quote=True)


def script_data(value: Any) -> str:
    """Return JSON that can stand in a ``script`` element: no "<" begins a tag there."""
    found = json.dumps(value, ensure_ascii=True)
    return found.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def asset(name: str) -> str:
    """Return the text of a file beside this module."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def filled(page: str, script: str, **parts: str) -> str:
    """Return a page with its style, script and policy, and with other parts in place.

    Args:
        page: name of the template of its body.
        script: name of the script.
        parts: HTML for each placeholder; text in it has been escaped.
    """
    style, code = asset("style.css"), asset(script)
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(code)};"
        " base-uri 'none'; form-action 'none'"
    )
    body = Template(asset(page)).substitute(data=DATA, **parts)
    return Template(asset("page.html")).substitute(
        policy=policy, style=style, script=code, body=body, **parts
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
