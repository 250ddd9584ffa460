"""Silence of other libraries on the command line, where our line says what matters."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mrcascade.messages.faults import debugging

_STDERR = 2  # file descriptor


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep warnings and log records of all libraries from the terminal, unless `debugging`."""
    if debugging():
        yield
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read when torch is imported
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def quiet_process() -> None:
    """As `quiet_libraries`, until the process ends; for processes that a job starts."""
    if not debugging():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep what C libraries such as libtiff write to stderr themselves from the terminal, unless
    `debugging`; for the short time in which one decodes a file."""
    try:
        kept = None if debugging() else os.dup(_STDERR)
    except OSError:  # closed
        kept = None
    if kept is None:
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDERR)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
