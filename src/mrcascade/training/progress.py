"""Progress of one level's training, stage by stage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from mrcascade.messages.duration import clock
from mrcascade.training.config import STAGES
from mrcascade.training.level import LevelTrainer

# Called with name, number of patches and patches done of a stage; returns a function that is called
# with further patches done and a text.
StageBar = Callable[[str, int, int], Callable[[int, str], None]]
LOSSES = 50  # number of steps over which losses are averaged


class StageProgress:
    """Progress of a level: moves the bar of the current stage, and reports the end of a stage."""

    def __init__(
        self, trainer: LevelTrainer, say: Callable[[str], None], progress: StageBar
    ) -> None:
        self._trainer, self._say, self._progress = trainer, say, progress
        self._begin()

    def __call__(self, patches: int, losses: dict[str, float]) -> None:
        """Record a step on ``patches`` patches with its losses."""
        compiler = self._trainer.compiler
        if compiler and (failure := compiler.news()):
            self._say(failure)
        key, loss = next(iter(losses.items()))
        self._losses.append(loss)
        self._patches += patches
        seconds = time.monotonic() - self._started
        mean = sum(self._losses) / len(self._losses)
        speed = self._patches / max(seconds, 1e-9)
        text = f"{key} {mean:.3f}, {speed:.{0 if speed >= 10 else 1}f} patches/s"
        over = max(self._trainer.seen - self._end, 0)  # excess of the last batch
        self._advance(patches - over, text)
        if self._trainer.seen >= self._end:
            self._say(f"{self._name}: {text}, {self._patches:,} patches in {clock(seconds)}")
            self._begin()

    def _begin(self) -> None:
        branch, total = self._trainer.stages[0], self._trainer.images
        stage = int(self._trainer.seen >= branch)
        begun, self._end = ((0, branch), (branch, total))[stage]
        self._name = f"level {self._trainer.level}, {STAGES[stage]}"
        self._started, self._patches = time.monotonic(), 0
        self._losses: deque[float] = deque(maxlen=LOSSES)
        if self._trainer.seen < total:
            done = self._trainer.seen - begun
            self._advance = self._progress(self._name, self._end - begun, done)
