"""Training of the whole cascade: data, levels, export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from mrcascade.errors import MRCascadeError
from mrcascade.io import output_folders
from mrcascade.networks.compiled import Compiler
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.format import PRIOR_FILE, prior_folder, read_document
from mrcascade.storage.outputs import only_writer, refuse_inputs
from mrcascade.training.bands import SLICE_MEMORY, reduced
from mrcascade.training.cascade_data import CascadeData
from mrcascade.training.config import TrainConfig
from mrcascade.training.distributed import Processes, join
from mrcascade.training.export import export, has_ended
from mrcascade.training.files import PRIOR_FOLDER, begin_run, begun_run, check_run
from mrcascade.training.forecast import forecast
from mrcascade.training.level import LevelTrainer, checkpoint_file, read_checkpoint
from mrcascade.training.loop import train_level
from mrcascade.training.plot import plot_losses
from mrcascade.training.progress import StageBar, StageProgress
from mrcascade.training.slices import load_volumes
from mrcascade.training.start import start_of
from mrcascade.training.trackers import Trackers, check_trackers


def train_cascade(
    data: Path,
    output: Path,
    config: TrainConfig,
    *,
    levels: Sequence[int] | None = None,
    resume: bool = False,
    device: str = "cpu",
    name: str | None = None,
    ema_std: float | None = None,
    say: Callable[[str], None] | None = None,
    progress: StageBar | None = None,
    simulate_phase: bool = False,
    complex_kspace: bool = False,
    compile: bool = False,
    log_to: Sequence[str] = (),
    checkpoint_seconds: float = 60.0,
    slice_memory: int = SLICE_MEMORY,
) -> Path | None:
    """Train levels of a cascade and write a prior to ``output / "prior"``.

    Where a launcher such as torchrun has started several processes, they share every batch
    (`mrcascade.training.distributed`). Then only the main process writes and reports, and needs
    ``output``.

    Args:
        data: folder of images, or a prepared cache.
        output: folder of checkpoints, logs, snapshots and ``loss.png``.
        config: settings of the run. The number of channels follows from the data. If ``start``
            names a prior, training begins with its weights and statistics, and the new prior gets
            its recipe settings; otherwise those of a prior that it replaces.
        levels: levels to train; all by default.
        resume: whether levels continue from their checkpoints.
        device: device of the training; "cuda" is each process's own GPU.
        name: name of the prior.
        ema_std: EMA profile of the prior, see ``export``.
        say: called with one line per fact. If given, a forecast precedes the training, which
            takes some seconds of timing.
        progress: called with stage, patches and patches done; returns a function that is called
            with further patches done and a text.
        simulate_phase: whether magnitudes become complex images (``mrcascade.arrays.phase``).
        complex_kspace: whether k-space gives complex images.
        compile: whether the network in training runs as compiled code, where that works.
        log_to: names of the trackers that show the losses (`Trackers`).
        checkpoint_seconds: time between checkpoints.
        slice_memory: bytes of bands that each process keeps in memory. More of them save time
            where a slice is used again, and change no result.

    Returns:
        The prior's folder; None while some level has not reached the end of its run.

    Raises:
        MRCascadeError: data, settings or files in ``output`` do not allow the run.
    """
    processes = join(device)
    say = say if say and processes.main else _silent
    progress = progress if progress and processes.main else _no_bar
    wanted = sorted(levels or range(1, config.levels + 1), reverse=True)
    processes.everywhere(partial(processes.part, config.batch))
    processes.everywhere(partial(check_trackers, log_to))
    processes.from_main(partial(_check_files, data, output, config, wanted, resume))
    say(f"reading {data}")
    phase_seed = config.seed if simulate_phase else None
    prepare = partial(_prepared, data, config, phase_seed, complex_kspace, slice_memory)
    cascade, begin, weights = processes.everywhere(prepare)
    config = cascade.config
    of_main = processes.from_main(cascade.identity)
    processes.everywhere(partial(_check_identity, data, cascade, of_main))
    with ExitStack() as stack:
        processes.from_main(partial(_occupy, stack, output, config, wanted, resume))
        if say is not _silent:
            processes.on_main(partial(_foretell, output, cascade, wanted, processes, say))
        names = log_to if processes.main else ()
        trackers = processes.everywhere(partial(Trackers, names, output, config))
        stack.callback(trackers.close)
        compiler = Compiler() if compile else None
        for level in wanted:
            first = weights[level - 1] if weights else None
            make = partial(_trainer, level, cascade, processes, first, compiler)
            trainer = processes.everywhere(make)
            _begin_alike(trainer, checkpoint_file(output, level) if resume else None)
            report = StageProgress(trainer, say, progress)
            with nullcontext() if compiler is None else compiler.telling(say):
                train_level(
                    trainer,
                    output,
                    progress=report,
                    trackers=trackers,
                    checkpoint_seconds=checkpoint_seconds,
                )
            processes.on_main(partial(plot_losses, output, config.levels))
            del trainer, report  # frees their patches before the next level's are made
    sampling = dict(begin.sampling) if begin else {}
    finish = partial(_finished, output, cascade, wanted, sampling, data=data, ema_std=ema_std)
    folder = processes.from_main(partial(finish, name=name or output.name, processes=processes))
    processes.finish()
    return folder


def _check_files(
    data: Path, output: Path, config: TrainConfig, wanted: Sequence[int], resume: bool
) -> None:
    """Raise MRCascadeError where the levels, or files in ``output``, do not allow the run."""
    if not set(wanted) <= set(range(1, config.levels + 1)):
        raise MRCascadeError(f"levels {wanted} asked for, but the cascade has 1 to {config.levels}")
    found = begun_run(output, wanted, config.levels)
    if found and not resume:
        raise MRCascadeError(f"{found}: exists; use --resume to go on, or another output folder")
    start = [prior_folder(config.start)] if config.start else []
    refuse_inputs([output], [data, *start])
    check_run(output, config.levels, resume)


def _prepared(
    data: Path,
    config: TrainConfig,
    phase_seed: int | None,
    complex_kspace: bool,
    slice_memory: int,
) -> tuple[CascadeData, CascadePrior | None, list[dict[str, Tensor]]]:
    """Return the data of a run, and the prior that it starts from with the weights of its levels.

    The data have the settings with the channels of the images.
    """
    kind = phase_seed, complex_kspace, config.exclude
    volumes = load_volumes(data, config.multiple, config.factors, *kind)
    config = replace(config, channels=volumes[0].channels)
    begin, weights = start_of(config) if config.start else (None, [])
    cascade = CascadeData(reduced(volumes, config), config, begin, slice_memory)
    return cascade, begin, weights


def _check_identity(data: Path, cascade: CascadeData, of_main: str) -> None:
    """Raise MRCascadeError where this process has other data or settings than the main one."""
    if cascade.identity() != of_main:
        raise MRCascadeError(
            f"{data}: other images or settings than those of the main process; give all processes"
            " the same"
        )


def _occupy(
    stack: ExitStack, output: Path, config: TrainConfig, wanted: Sequence[int], resume: bool
) -> None:
    """Lock the levels' files until ``stack`` ends, and begin the record of the run."""
    stack.enter_context(output_folders([checkpoint_file(output, i) for i in wanted]))
    for level in wanted:  # other processes may train other levels at the same time
        stack.enter_context(only_writer(checkpoint_file(output, level)))
    begin_run(output, wanted, config.levels, resume)


def _foretell(
    output: Path,
    cascade: CascadeData,
    wanted: Sequence[int],
    processes: Processes,
    say: Callable[[str], None],
) -> None:
    seen = {i: _seen(checkpoint_file(output, i)) for i in wanted}
    for line in forecast(cascade.train, cascade.validation, cascade.config, seen, processes):
        say(line)


def _trainer(
    level: int,
    cascade: CascadeData,
    processes: Processes,
    start: dict[str, Tensor] | None,
    compiler: Compiler | None,
) -> LevelTrainer:
    data = cascade.level(level)
    return LevelTrainer(level, cascade.config, data, processes, start, compiler)


def _begin_alike(trainer: LevelTrainer, checkpoint: Path | None) -> None:
    """Resume from a checkpoint if there is one, and give all processes the same weights.

    Processors may differ in the last digit of a random weight.
    """
    processes = trainer.processes

    def found() -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
        if checkpoint is not None and checkpoint.exists():
            return read_checkpoint(checkpoint), {}
        return None, {k: v.cpu() for k, v in trainer.networks.state_dict().items()}

    state, weights = processes.from_main(found)
    if checkpoint is not None and state is not None:
        processes.everywhere(partial(trainer.restore, checkpoint, state))
    else:
        trainer.networks.load_state_dict(weights)


def _finished(
    output: Path,
    cascade: CascadeData,
    trained: Sequence[int],
    sampling: dict[str, Any],
    *,
    data: Path,
    name: str,
    processes: Processes,
    ema_std: float | None,
) -> Path | None:
    """Export the prior once every level has ended, and return its folder, else None."""
    others = set(range(1, cascade.config.levels + 1)) - set(trained)
    if not all(has_ended(checkpoint_file(output, i), cascade.config) for i in others):
        return None
    if (output / PRIOR_FOLDER / PRIOR_FILE).is_file():  # the user may have changed them
        sampling = read_document(output / PRIOR_FOLDER).get("sampling", {})
    return export(
        output, cascade.config, cascade, data, name, sampling, processes=processes, ema_std=ema_std
    )


def _seen(checkpoint: Path) -> int:
    """Return the number of patches that a level has been trained on."""
    return int(read_checkpoint(checkpoint)["seen"]) if checkpoint.exists() else 0


def _silent(line: str) -> None:
    """Discard a line."""


def _no_bar(stage: str, patches: int, done: int) -> Callable[[int, str], None]:
    """Return a progress function that does nothing."""
    return lambda count, text: None
