"""One of several processes of a test: ``distributed_job.py WHAT DATA FOLDER``.

Every process writes what it found to ``FOLDER/WHAT<number>.pt``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_data import TINY, quick, trainer

from mrcascade.errors import MRCascadeError
from mrcascade.training import level as level_module
from mrcascade.training.config import TrainConfig
from mrcascade.training.distributed import Processes, join
from mrcascade.training.ema import PowerEMA
from mrcascade.training.level import LevelTrainer
from mrcascade.training.loop import train_level
from mrcascade.training.noise import draw_sigma
from mrcascade.training.patches import Batch
from mrcascade.training.run import train_cascade

#: Batches that two processes share alike and not alike, the first in parts.
CONFIGS = (replace(TINY, microbatch=3), replace(TINY, batch=7, images=70, mean_images=28))
STEPS = 10


def doubled(data: Path, config: TrainConfig, processes: Processes) -> LevelTrainer:
    """A trainer in double precision whose outputs are not zero, so that all weights learn."""
    run = trainer(data, config=config, processes=processes)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in run.networks.named_parameters():
            if name.endswith("gain"):
                parameter.fill_(0.5)
        run.networks.mean.tail.weight.normal_(std=0.1, generator=generator)
    run.networks.double()
    run.ema = PowerEMA(run.networks, config.ema)
    return run


def in_double_precision(patch: pytest.MonkeyPatch) -> None:
    """Let batches be in double precision."""
    original = LevelTrainer._batch

    def batch(*arguments: Any) -> Batch:
        found = original(*arguments)
        parts = found.band, found.condition, found.unknown
        return Batch(*(v if v is None else v.to(torch.float64) for v in parts))

    patch.setattr(LevelTrainer, "_batch", batch)
    patch.setattr(level_module, "draw_sigma", lambda *a: draw_sigma(*a).double())


def ten_steps(data: Path, processes: Processes) -> list[dict[str, Any]]:
    """Losses and state of each configuration after the ten steps of both stages."""
    found = []
    with quick(), pytest.MonkeyPatch.context() as patch:
        in_double_precision(patch)
        for config in CONFIGS:
            run = doubled(data, config, processes)
            losses = [run.step() for _ in range(STEPS)]
            assert run.seen == run.images
            found.append({"losses": losses, "state": run.state()})
    return found


def message(work: Callable[[], object]) -> tuple[str, str]:
    """The type and text of the error that ``work`` raises."""
    with pytest.raises(MRCascadeError) as error:
        work()
    return type(error.value).__name__, str(error.value)


def failures(data: Path, processes: Processes) -> dict[str, tuple[str, str]]:
    """How work that fails in one process ends in this one."""
    other = processes.number == 1

    def refuse() -> None:
        raise MRCascadeError("scan.nii: not an image")

    def fail() -> None:
        raise OSError(28, "No space left on device", "level1.ckpt")

    found = {
        "everywhere": message(lambda: processes.everywhere(refuse if other else int)),
        "from_main": message(lambda: processes.from_main(fail)),
        "all": message(lambda: processes.everywhere(refuse)),
    }
    with quick():
        run = trainer(data, processes=processes)
        before = run.step()
        processes.on_main(fail)
        found["on_main"] = message(run.step)
        if other:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(run.patches, "take", lambda *_: refuse())
                found["step"] = message(run.step)
        else:
            found["step"] = message(run.step)
        assert before.keys() == run.step().keys()  # the processes still meet
    return found


def stuck(data: Path, folder: Path, processes: Processes) -> None:
    """Train with a checkpoint after every step, and stop in the fourth to be killed."""
    with quick():
        run = trainer(data, processes=processes)
        optimizer = run.mean_optimizers[0][0]
        step, count = optimizer.step, 0

        def slow(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == 4:
                print("in step 4", flush=True)
                time.sleep(600 if processes.number else 1)
            return step(*arguments)

        optimizer.step = slow
        train_level(run, folder, progress=lambda n, text: None, checkpoint_seconds=0)


def main() -> None:
    what, data, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    found: object = None
    if what in ("whole", "resumed"):
        with quick():
            train_cascade(data, folder / "run", TINY, levels=[1], resume=what == "resumed")
    else:
        processes = join("cpu")
        if what == "steps":
            found = {
                "steps": ten_steps(data, processes),
                "failures": failures(data, processes),
            }
        else:
            (folder / "run").mkdir(exist_ok=True)
            stuck(data, folder / "run", processes)
    torch.save(found, folder / f"{what}{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main()
