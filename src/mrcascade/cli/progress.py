"""The progress bar of commands that count slices."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

_REDRAW_SECONDS = 0.2


class SliceBar:
    """A bar that starts when the number of slices is known, once for each evaluation."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._drawn = 0.0

    def start(self, slices: int) -> Callable[[int, str], None]:
        """A bar of ``slices``; returns its callback (slices done, what is being done)."""
        from tqdm import tqdm

        self.close()
        # Methods differ a thousandfold in cost, so the estimate averages over the whole run.
        self._bar = tqdm(total=slices, unit="slice", smoothing=0, disable=None, file=sys.stderr)
        return self._advance

    def _advance(self, slices: int, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(slices)
        if not slices and monotonic() > self._drawn + _REDRAW_SECONDS:
            self._drawn = monotonic()
            self._bar.refresh()  # `update` draws only when the count moves

    def say(self, line: str) -> None:
        """A line of output."""
        print(line)

    def close(self) -> None:
        """End the bar, if one has started."""
        if self._bar is not None:
            self._bar.close()
