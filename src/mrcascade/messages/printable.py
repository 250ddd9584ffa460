"""Text from files, names and headers, made safe for one line of a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return ``text`` with a backslash escape for every character that a terminal might act upon.

    Those are control characters, line breaks, marks of direction and other invisible characters.
    A byte of a file name that is not UTF-8 becomes ``\\xe9``.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def shortened(text: str, length: int = 200) -> str:
    """Return the beginning of a text that is longer than ``length``."""
    return text if len(text) <= length else f"{text[:length]}..."


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that it could not decode
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode()
