"""Text from files, names and headers, made safe to print on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return ``text`` with every invisible character as a backslash escape.

    A terminal may act on such characters: control characters, line breaks, direction marks.
    A byte of a file name that is not UTF-8 becomes ``\\xe9``.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def shortened(text: str, length: int = 200) -> str:
    """Return ``text``, cut to ``length`` characters and "..." where it is longer."""
    return text if len(text) <= length else f"{text[:length]}..."


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # Python's form of a byte that it could not decode
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode()
