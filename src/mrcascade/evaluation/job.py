"""Options of an evaluation, and the survey of its files before any work."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrcascade.arrays.factors import check_factor
from mrcascade.devices.precision import resolve_precision
from mrcascade.errors import MRCascadeError
from mrcascade.evaluation.data import Factors, TestFile, Truth, load_truth, truth_operator
from mrcascade.evaluation.lpips import MINIMUM_SIZE, LPIPSFiles
from mrcascade.evaluation.methods import CASCADE, Method, check_counts, choose_methods
from mrcascade.evaluation.metrics import SSIM_WINDOW, comparable
from mrcascade.measurement.acquired import Matrix
from mrcascade.messages.faults import naming
from mrcascade.networks.compiled import Compiler
from mrcascade.prior.cascade import CascadePrior
from mrcascade.prior.format import check_maximum, prior_folder
from mrcascade.restore import check_measurement, make_plan
from mrcascade.sampling import Recipe

#: Whether methods get the true noise level, or estimate it as ``sr`` does.
NoiseHandling = Literal["estimated", "known"]
SAMPLES = 8  # default K of methods that average samples
# Memory limit of ground truths that are kept until the work on their file.
KEPT_BYTES = 2**30


@dataclass(frozen=True)
class Evaluation:
    """Options of ``evaluate``; the fields have the names of the command's options."""

    data: Path
    methods: tuple[str, ...] = ("zero-fill", "bicubic", "mean", "paper")
    split: str = "test"
    factor: Factors = (2.0, 2.0)
    kernel: str = "fourier"
    noise: float = 0.0  # fraction of the measurement's robust maximum
    noise_handling: NoiseHandling = "estimated"  # whether methods know it
    prior: str | Path = "mr-small"
    baselines: str | Path = "mr-small-baselines"  # name or folder of the other methods' priors
    steps: int | None = None
    samples: int | None = None  # K of methods that average samples
    seed: int = 0
    batch_size: int = 4
    device: str = "cpu"
    precision: str = "float32"  # precision of the networks
    compile: bool = False  # whether to compile the U-Nets, see `CascadePrior.compile`
    max_slices: int | None = None  # per file
    anatomy_slices: int | None = None  # per anatomy, chosen by the seed
    workers: int = 1  # number of processes
    scheduler: str | None = None  # address of a Dask scheduler, whose workers do the work
    matrices: Path | None = None  # table of effective matrices
    simulate_phase: bool = False  # whether magnitude images get a simulated phase
    lpips_weights: Path | None = None
    overwrite: bool = False

    @property
    def here(self) -> bool:
        """Whether this process does all the work."""
        return self.workers == 1 and self.scheduler is None

    @property
    def phase_seed(self) -> int | None:
        """Seed of the simulated phase; None without simulation."""
        return self.seed if self.simulate_phase else None


def factor_text(factor: Factors) -> str:
    """Return the text of factors: ``2``, or ``2x1`` for (2, 1)."""
    rows, columns = factor
    return f"{rows:g}" if rows == columns else f"{rows:g}x{columns:g}"


@dataclass(frozen=True)
class Surveyed:
    """Facts about a file, known before any work on it.

    Attributes:
        file: the file.
        numbers: indices of the slices to evaluate, ascending.
        energy: sum of squares of each of these slices.
        pixels: number of pixels of a slice.
        maximum: largest magnitude of the volume.
        empty: number of slices left out as air.
        sha256: SHA-256 of the file.
        complex: whether its values are complex.
        matrix, told_by, zero: as in ``Truth``.
    """

    file: TestFile
    numbers: np.ndarray
    energy: np.ndarray
    pixels: int
    maximum: float
    empty: int
    sha256: str
    complex: bool = False
    matrix: Matrix | None = None
    told_by: str = ""
    zero: float = 0.0


class Truths:
    """Ground truths of an evaluation's files.

    Files that the survey has read are kept for the later work, up to ``limit`` bytes in total.
    """

    def __init__(self, job: Evaluation, limit: int = 0) -> None:
        self._job, self._room = job, limit
        self._kept: dict[str, Truth] = {}

    def read(self, file: TestFile) -> Truth:
        """Read a file, and keep it if the limit allows."""
        truth = self._read(file)
        if truth.stack.nbytes <= self._room:
            self._room -= truth.stack.nbytes
            self._kept[file.name] = truth
        return truth

    def take(self, file: TestFile) -> Truth:
        """Return the ground truth of a file and drop it; if it was not kept, read it again."""
        truth = self._kept.pop(file.name, None)
        return self._read(file) if truth is None else truth

    def _read(self, file: TestFile) -> Truth:
        return load_truth(file, self._job.factor, self._job.max_slices, self._job.phase_seed)


def checked_methods(job: Evaluation) -> dict[str, Method]:
    """Return the methods by name, each once.

    Raises MRCascadeError for unknown methods and for options that do not fit together.
    """
    methods = choose_methods(job.methods)
    check_factor(job.factor)
    check_counts(methods, job.steps, job.samples)
    return methods


def averaged_samples(job: Evaluation) -> int:
    """Return K of methods that average samples."""
    return SAMPLES if job.samples is None else job.samples


def recipes_of(
    methods: Mapping[str, Method], priors: Mapping[str, CascadePrior], job: Evaluation
) -> list[tuple[CascadePrior, Recipe]]:
    """Return prior and settings of each method that has a prior."""
    samples = averaged_samples(job)
    return [(p, methods[name].settings(p, job.steps, samples)) for name, p in priors.items()]


def survey_files(
    files: Sequence[TestFile],
    job: Evaluation,
    recipes: Iterable[tuple[CascadePrior, Recipe]],
    weights: LPIPSFiles | None,
    truths: Truths | None = None,
) -> list[Surveyed]:
    """Read every file, so that errors appear before the work starts.

    If the job sets ``anatomy_slices``, up to that number of slices per anatomy is drawn, and files
    without any of them are left out.

    Args:
        files: the test files.
        job: the evaluation.
        recipes: prior and settings of each method that has a prior.
        weights: weights of LPIPS, if found.
        truths: reads the files, and may keep them.

    Raises:
        MRCascadeError: a file cannot be evaluated.
    """
    truths = Truths(job) if truths is None else truths
    found = []
    for file in files:
        with naming(file.name):
            found.append(survey_file(file, job, recipes, weights, truths.read(file)))
    if job.anatomy_slices is None:
        return found
    drawn: list[Surveyed] = []
    for anatomy in dict.fromkeys(s.file.anatomy for s in found):
        members = [s for s in found if s.file.anatomy == anatomy]
        owner = np.repeat(np.arange(len(members)), [len(s.numbers) for s in members])
        rng = np.random.default_rng(
            [job.seed, zlib.crc32(anatomy.encode("utf-8", "surrogatepass"))]
        )
        count = min(job.anatomy_slices, len(owner))
        chosen = np.isin(np.arange(len(owner)), rng.choice(len(owner), count, replace=False))
        for index, member in enumerate(members):
            mine = chosen[owner == index]
            if mine.any():
                numbers, energy = member.numbers[mine], member.energy[mine]
                drawn.append(replace(member, numbers=numbers, energy=energy))
    return drawn


def survey_file(
    file: TestFile,
    job: Evaluation,
    recipes: Iterable[tuple[CascadePrior, Recipe]],
    weights: LPIPSFiles | None,
    truth: Truth,
) -> Surveyed:
    """Check that a file can be evaluated, and return the facts about it."""
    shape, smallest = truth.stack.shape[1:], MINIMUM_SIZE if weights else SSIM_WINDOW
    try:
        if min(shape) < smallest:
            raise MRCascadeError(
                f"{shape[0]}x{shape[1]} pixels are too few for {'LPIPS' if weights else 'SSIM'}"
                f" ({smallest}); leave the file out"
            )
        operator = truth_operator(truth, job.kernel, job.factor)
        for prior, settings in recipes:
            check_measurement((1, *operator.out_shape), truth.stack.dtype, operator, prior)
            make_plan(prior, operator, job.noise, settings)
    except MRCascadeError as error:
        raise MRCascadeError(f"{file.path}: {error}") from error
    return Surveyed(
        file=file,
        numbers=truth.kept,
        energy=np.square(comparable(truth.slices)).sum((1, 2)),
        pixels=shape[0] * shape[1],
        maximum=truth.maximum,
        empty=truth.empty,
        sha256=truth.sha256,
        complex=np.iscomplexobj(truth.stack),
        matrix=truth.matrix,
        told_by=truth.told_by,
        zero=truth.zero,
    )


def prior_folders(method: Method, job: Evaluation) -> list[Path]:
    """Return the folders of a method's priors, its own first.

    Raises MRCascadeError if one does not exist.
    """
    names = [name for name in (method.prior, method.coarsest) if name is not None]
    return [
        prior_folder(job.prior)
        if name == CASCADE
        else prior_folder(job.baselines, name.format(factor=factor_text(job.factor)))
        for name in names
    ]


def load_priors(methods: Mapping[str, Method], job: Evaluation) -> dict[str, CascadePrior]:
    """Load the prior of every method that has one.

    Raises MRCascadeError if a prior does not fit its method.
    """
    loaded: dict[Path, CascadePrior] = {}
    compiler = Compiler() if job.compile else None
    priors: dict[str, CascadePrior] = {}
    for name, method in methods.items():
        folders = prior_folders(method, job)
        for folder in set(folders) - loaded.keys():
            prior = CascadePrior.from_pretrained(folder, job.device, job.precision)
            loaded[folder] = prior if compiler is None else prior.compile(compiler)
        if folders:
            first, *others = (loaded[folder] for folder in folders)
            priors[name] = first.with_coarsest(others[0]) if others else first
            method.settings(priors[name], job.steps, averaged_samples(job))
            check_maximum(max(job.factor), priors[name].limits)
    return priors


def without_device(job: Evaluation) -> Evaluation:
    """Return the job with its networks on the CPU, in the precision of its own device."""
    return replace(job, device="cpu", precision=resolve_precision(job.precision, job.device))


def common_settings(
    job: Evaluation, survey: Sequence[Surveyed], weights: LPIPSFiles | None
) -> dict[str, Any]:
    """Return the settings that every row depends on.

    The path of the folder, the device and the batch size are left out.
    """
    kind: dict[str, Any] = {"complex": True} if any(s.complex for s in survey) else {}
    if job.simulate_phase:
        kind["simulated_phase"] = True
    if job.noise_handling == "estimated":  # no entry means known noise, as in older files
        kind["noise_handling"] = job.noise_handling
    if any(s.zero for s in survey):
        kind["zero"] = {s.file.name: s.zero for s in survey if s.zero}
    return kind | {
        "split": job.split,
        "factor": factor_text(job.factor),
        "kernel": job.kernel,
        "noise": job.noise,
        "seed": job.seed,
        "slices": {s.file.name: s.numbers.tolist() for s in survey},
        "lpips": None if weights is None else weights.digest,
        "files": {s.file.name: s.sha256 for s in survey},
        "effective_matrix": {s.file.name: s.matrix for s in survey if s.told_by},
    }


def method_settings(method: Method, job: Evaluation, prior: CascadePrior | None) -> dict[str, Any]:
    """Return the settings that the rows of one method depend on besides the common ones.

    prior: prior of the method, if any.
    """
    settings: dict[str, Any] = {}
    samples = averaged_samples(job) if method.averaged else 1
    if prior is not None:
        folders = prior_folders(method, job)
        settings["prior"] = " + ".join(folder.resolve().name for folder in folders)
        settings["precision"] = prior.levels[0].precision
        settings["prior_sha256"] = prior.digest
        settings["sampler"] = method.settings(prior, job.steps, samples).record(samples)
    if method.sampled:
        settings["steps"] = job.steps
    if method.averaged:
        settings["samples"] = samples
    return settings
