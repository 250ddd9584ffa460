"""Trackers that show the losses of a run while it trains, such as TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mrcascade.errors import MRCascadeError
from mrcascade.messages.printable import printable, shortened
from mrcascade.training.config import TrainConfig

PROJECT = "mrcascade"  # of Weights & Biases


def _tensorboard(output: Path, config: TrainConfig) -> Any:
    from accelerate.tracking import TensorBoardTracker

    return TensorBoardTracker("tensorboard", output)


def _wandb(output: Path, config: TrainConfig) -> Any:
    from accelerate.tracking import WandBTracker

    return WandBTracker(PROJECT, name=output.name, dir=str(output), config=asdict(config))


#: Name of a tracker, which is also the package that it needs -> makes Accelerate's tracker.
TRACKERS: dict[str, Callable[[Path, TrainConfig], Any]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}


class Trackers:
    """Trackers of one run, those of Accelerate; without names there are none."""

    def __init__(self, names: Sequence[str], output: Path, config: TrainConfig) -> None:
        """Begin the trackers.

        Args:
            names: of `TRACKERS`, as `check_trackers` allows them.
            output: folder of the run, in which they keep their files.
            config: settings of the run.

        Raises:
            MRCascadeError: one of them did not start.
        """
        self._trackers: list[Any] = []
        if names:
            from accelerate import PartialState

            PartialState(cpu=True)  # trackers ask it for the main process
        for name in dict.fromkeys(names):
            try:
                tracker = TRACKERS[name](output, config)
                tracker.start()
            except Exception as error:  # whatever trackers, their logins and servers may raise
                reason = shortened(printable(" ".join(str(error).split())))
                raise MRCascadeError(
                    f"--log-to {name}: it did not start ({type(error).__name__}: {reason}); set it"
                    " up, or leave it out"
                ) from error
            self._trackers.append(tracker)

    def log(self, level: int, seen: int, values: Mapping[str, float]) -> None:
        """Show values of a level by name, after ``seen`` patches."""
        named = {f"level{level}/{name}": value for name, value in values.items()}
        for tracker in self._trackers:
            tracker.log(named, step=seen)

    def close(self) -> None:
        """End the trackers."""
        for tracker in self._trackers:
            tracker.finish()


def check_trackers(names: Sequence[str]) -> None:
    """Raise MRCascadeError for a tracker that is unknown or not installed."""
    for name in names:
        if name not in TRACKERS:
            raise MRCascadeError(f"--log-to {name}: choose from {', '.join(TRACKERS)}")
        missing = [package for package in ("accelerate", name) if find_spec(package) is None]
        if missing:
            raise MRCascadeError(
                f"--log-to {name} needs {' and '.join(missing)}: pip install 'mrcascade[trackers]'"
            )
