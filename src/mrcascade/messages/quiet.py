"""Suppression of other libraries' warnings and logs, which would bury the command's own lines."""

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
    """Suppress warnings and log records of all libraries in the block, unless `debugging`."""
    if debugging():
        yield
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch reads it on import
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def quiet_process() -> None:
    """Suppress what `quiet_libraries` does until the process ends; for a job's own processes."""
    if not debugging():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Suppress what C libraries such as libtiff write straight to stderr, unless `debugging`.

    Nothing else reaches stderr in the block either, so it should only decode one file.
    """
    try:
        kept = None if debugging() else os.dup(_STDERR)
    except OSError:  # stderr is closed
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
