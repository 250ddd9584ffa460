"""Damaged priors and JSON files give one clear line, or a right result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcascade import CascadePrior
from mrcascade.cli.info import describe_prior
from mrcascade.data.folder import list_data, read_slices
from mrcascade.evaluation.data import read_matrices
from mrcascade.evaluation.ledger import SETTINGS_FILE, Ledger
from mrcascade.io import (
    choose_planes,
    find_dataset,
    image_file,
    inherited_metadata,
    kept_metadata,
    open_source,
    parse_selection,
    write_bids_root,
)
from mrcascade.jobs import Request, SuperResolution, super_resolve_file
from mrcascade.jobs.batch import FileBatch, Part
from mrcascade.jobs.common import Item, sr_targets
from mrcascade.jobs.inputs import check_dataset, find_inputs
from mrcascade.operators import SeparableOperator
from mrcascade.prior.format import Limits, read_document
from mrcascade.restore import resolve_settings, super_resolve
from mrcascade.storage.digest import file_sha256
from mrcascade.storage.outputs import check_record, claim_result
from mrcascade.studies.study import read_study
from mrcascade.training.log import cut_log
from tests.bids.bids_dataset import dataset, volume, write_json
from tests.damage import (
    cut,
    damaged_files,
    damaged_json,
    done_or_refused,
    flipped,
    overwritten,
)

pytestmark = pytest.mark.slow

PRIORS = damaged_files(100)
FILES = damaged_files(100)  # of each kind
JOB = SuperResolution(factor=(2.0, 2.0), noise=0.0)
SETTINGS = {"slices": {"a.npy": [0, 1]}, "factor": 2.0, "noise": 0.0, "complex": False}
METHODS = {"mean": {"prior": "p", "sampler": {"name": "mean", "steps": None}}, "bicubic": {}}
DCM2NIIX = {
    "MRAcquisitionType": "2D",
    "AcquisitionMatrix": [0, 12, 10, 0],
    "AcquisitionMatrixPE": 12,
    "BaseResolution": 14,
    "PhaseEncodingDirection": "j-",
    "InPlanePhaseEncodingDirectionDICOM": "COL",
    "SliceEncodingDirection": "k",
    "ImageOrientationPatientDICOM": [1, 0, 0, 0, 1, 0],
    "InPlaneAxes": [0, 1],
    "InPlaneMatrix": [16, 18],
    "Units": "arbitrary",
    "SliceTiming": [0.0, 1.0, 0.5],
    "EchoTime": 0.08,
}
Case = tuple[Path, Any, Callable[[], Any]]


# ---- priors ----


def loaded(folder: Path) -> CascadePrior:
    """A prior, after all that is made of it before and while it restores."""
    Limits.of_document(read_document(folder))
    describe_prior(folder)
    prior = CascadePrior.from_pretrained(folder)
    for mode in ("mean", "balanced", "paper"):
        if prior.generative or mode == "mean":
            resolve_settings(prior, mode)
    return prior


@pytest.fixture
def copied_prior(prior_folder: Path, tmp_path: Path) -> Path:
    """A prior with settings of its own, which a test may damage."""
    folder = Path(shutil.copytree(prior_folder, tmp_path / "prior"))
    document = json.loads((folder / "prior.json").read_text())
    document["sampling"] = {
        "paper": {"zeta": 0.5, "sigma_min": [0.05, 0.02]},
        "mean": {"orientations": 2},
    }
    (folder / "prior.json").write_text(json.dumps(document))
    return folder


def test_damaged_prior_document(copied_prior: Path, capfd: pytest.CaptureFixture) -> None:
    path = copied_prior / "prior.json"
    document = json.loads(path.read_text())
    named = (copied_prior, Path("prior.json"))
    assert done_or_refused(lambda: loaded(copied_prior), named, capfd) is not None
    found = {False: 0, True: 0}
    for number in range(PRIORS):
        path.write_bytes(damaged_json(document, np.random.default_rng(number), number))
        prior = done_or_refused(lambda: loaded(copied_prior), named, capfd)
        found[prior is None] += 1
        if prior is None:
            continue
        told = json.loads(path.read_bytes())
        assert (prior.kernel, prior.channels) == (told["kernel"], told["channels"])
        assert prior.spectrum == [float(v) for v in told["spectrum"]]
        assert len(prior.levels) == len(told["levels"])
        for level, entry in zip(prior.levels, told["levels"], strict=True):
            assert level.spec.sigma_max == float(entry["sigma_max"])
        if prior.channels == 1 and prior.minimum_size <= 32:
            restored(prior, capfd)
    assert min(found.values()) > PRIORS / 20


def restored(prior: CascadePrior, capfd: pytest.CaptureFixture) -> None:
    """A prior that loads gives numbers, or says why it cannot."""
    measured = np.random.default_rng(0).normal(size=(16, 16)) + 100
    operator = SeparableOperator.from_kernel("fourier", 2, (32, 32))

    def work() -> np.ndarray:
        return super_resolve(measured, operator, prior, noise=0.01, mode="mean").mean

    image = done_or_refused(work, (Path("prior"),), capfd)
    assert image is None or np.isfinite(image).all()


def test_damaged_prior_weights(copied_prior: Path, capfd: pytest.CaptureFixture) -> None:
    """Damage is noticed by the checksum; a file that was damaged before is refused, or read."""
    path, described = copied_prior / "level2.safetensors", copied_prior / "prior.json"
    raw, document = path.read_bytes(), described.read_text()
    read = 0
    for number in range(PRIORS):
        damage = (cut, flipped, overwritten)[number % 3]
        path.write_bytes(damage(bytearray(raw), np.random.default_rng(number)))
        sealed = number % 2 == 1
        changed = json.loads(document)
        if sealed:
            changed["levels"][1]["sha256"] = file_sha256(path)
        described.write_text(json.dumps(changed))
        prior = done_or_refused(lambda: loaded(copied_prior), (path,), capfd)
        assert prior is None or sealed or path.read_bytes() == raw
        read += prior is not None
    assert read > PRIORS / 20


# ---- beside images ----


def of_image(tmp_path: Path) -> Case:
    path = volume(tmp_path / "scan.nii")

    def work() -> bool:
        with open_source(path) as source:
            assert choose_planes(source).axes in ((0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1))
            assert source.shape == (16, 18, 3)
        return True

    return path.with_suffix(".json"), DCM2NIIX, work


def of_bids_images(tmp_path: Path) -> Case:
    root = dataset(tmp_path / "raw")
    path = root / "T2w.json"
    image = root / "sub-01" / "ses-01" / "anat" / "sub-01_ses-01_T2w.nii.gz"

    def work() -> str:
        with open_source(image) as source:
            axes = choose_planes(source).axes
        return json.dumps(kept_metadata(inherited_metadata(image), axes))

    return path, DCM2NIIX, work


def of_bids_dataset(tmp_path: Path) -> Case:
    root, out = dataset(tmp_path / "raw"), tmp_path / "out"
    path = root / "dataset_description.json"

    def work() -> dict[str, Any]:
        out.mkdir()
        try:
            items = find_inputs([root])
            assert len(items) == 5
            check_dataset(items, out)
            found = find_dataset(root)
            assert found is not None
            write_bids_root(found, out)
            return json.loads((out / "dataset_description.json").read_text())
        finally:
            shutil.rmtree(out)

    return path, json.loads(path.read_text()), work


def of_bids_derivative(tmp_path: Path) -> Case:
    root, out = dataset(tmp_path / "raw"), tmp_path / "out"
    items = find_inputs([root])
    out.mkdir()
    write_bids_root(items[0].dataset, out)
    path = out / "dataset_description.json"

    def work() -> bool:
        check_dataset(items, out)
        return True

    return path, json.loads(path.read_text()), work


def of_bids_filter(tmp_path: Path) -> Case:
    root, path = dataset(tmp_path / "raw"), tmp_path / "filter.json"
    wanted = {"suffix": "T2w", "session": ["01", "02"], "run": [None, 1, 2], "datatype": "anat"}

    def work() -> int:
        selection = parse_selection(str(path))
        return len(find_dataset(root).images(root, selection))

    return path, wanted, work


def of_data(tmp_path: Path) -> Case:
    names = ["brain/train/a.nii", "brain/test/b.nii", "knee/test/c.nii"]
    for name in names:
        volume(tmp_path / name)
    facts = {"subject": "s1", "contrast": "T2w", "slice_axis": 2, "effective_matrix": [14, 12]}

    def work() -> list[Any]:
        found = list_data(tmp_path, pairs=False, complex_kspace=False)
        told = [(f.name, f.group, f.split, f.contrast, f.axes, f.matrix, f.subject) for f in found]
        image, _, stack, acquired = read_slices(found[0])
        assert stack.size == image.data.size
        assert all(n >= 1 for n in acquired.matrix)
        return told

    return tmp_path / "manifest.json", [{"file": name, **facts} for name in names], work


def of_matrices(tmp_path: Path) -> Case:
    path = tmp_path / "matrices.json"
    table = [{"file": f"{n}.nii", "effective_matrix": [n, 2 * n]} for n in range(20, 24)]

    def work() -> bool:
        matrices = read_matrices(path)
        return all(rows >= 1 and columns >= 1 for rows, columns in matrices.values())

    return path, table, work


def of_study(tmp_path: Path) -> Case:
    path = tmp_path / "study.json"
    document = {
        "title": "A study",
        "split": "test",
        "max_slices": 1,
        "noise": 0.01,
        "reference": "mean",
        "metrics": ["psnr_slice", "ssim_slice"],
        "tasks": [
            {"name": "2x", "factor": 2, "methods": ["bicubic", "mean"], "figure": "errors"},
            {"name": "4x", "factor": [4, 2], "methods": ["paper"], "figure": "errors", "noise": 0},
        ],
    }
    return path, document, lambda: read_study(str(path)).tasks


# ---- beside results ----


def of_result(tmp_path: Path, prior: CascadePrior) -> Case:
    item, out = Item(image_file(volume(tmp_path / "scan.nii"))), tmp_path / "out"
    super_resolve_file(item, out, prior, JOB, say=lambda _: None, progress=lambda _: lambda _: None)
    batch = FileBatch([item], out, Request.of(prior, JOB), resume=True)
    targets = sr_targets(item, out, JOB)
    path = targets["sidecar"]

    def work() -> bool:
        assert batch.to_do(item) is None  # it is finished, and with the same settings
        claim_result(list(targets.values()), path, [item.image.path], overwrite=True)
        return True

    return path, json.loads(path.read_text()), work


def of_batch(tmp_path: Path, prior: CascadePrior) -> Case:
    item, out = Item(image_file(volume(tmp_path / "scan.nii"))), tmp_path / "out"
    out.mkdir()
    batch = FileBatch([item], out, Request.of(prior, JOB), Part(0, 2))
    path = out / batch.part.record_name
    document = {"Description": "Record of mrcascade sr.", "Files": 1, "Results": [{"Input": "a"}]}

    def work() -> bool:
        batch._check_record()
        return True

    return path, document, work


def of_folder(tmp_path: Path) -> Case:
    path = tmp_path / "files.json"
    (tmp_path / "a.png").touch()
    document = {"Software": [{"Name": "mrcascade", "Version": "1"}], "Files": ["a.png", "b.png"]}
    return path, document, lambda: check_record(tmp_path, path.name, ["a.png", "b.png"])


def of_evaluation(tmp_path: Path) -> Case:
    folder = tmp_path / "evaluation"
    Ledger.open(folder, SETTINGS, METHODS)
    path = folder / SETTINGS_FILE

    def work() -> list[str]:
        ledger = Ledger.open(folder, SETTINGS, METHODS)
        ledger.add([], "here")
        assert json.loads(path.read_text())["settings"] == SETTINGS
        return [*ledger.methods, *ledger.unfinished]

    return path, json.loads(path.read_text()), work


def of_training(tmp_path: Path) -> Case:
    path = tmp_path / "level1.jsonl"

    def work() -> bool:
        path.write_bytes(path.read_bytes().replace(b"\n", b"") + b"\n")
        cut_log(path, 20)
        return True

    return path, {"images": 10, "loss": 0.5, "val_ema0.1": {"s0.2": 1.0, "s3": 2.0}}, work


ALONE = {
    "sidecar of an image": of_image,
    "metadata of a dataset": of_bids_images,
    "description of a dataset": of_bids_dataset,
    "description of a derivative": of_bids_derivative,
    "filter": of_bids_filter,
    "manifest": of_data,
    "matrices": of_matrices,
    "study": of_study,
    "record of a folder": of_folder,
    "settings of an evaluation": of_evaluation,
    "log": of_training,
}
WITH_PRIOR = {"sidecar of a result": of_result, "record of a batch": of_batch}
NEVER_REFUSED = ("sidecar of an image",)  # which is optional


@pytest.mark.parametrize("kind", [*ALONE, *WITH_PRIOR])
@pytest.mark.filterwarnings("error")
def test_damaged_json(
    tmp_path: Path, prior: CascadePrior, kind: str, capfd: pytest.CaptureFixture
) -> None:
    case = ALONE[kind](tmp_path) if kind in ALONE else WITH_PRIOR[kind](tmp_path, prior)
    path, document, work = case
    named = (path, path.parent)  # as a file of a result, or the folder of a whole one
    write_json(path, document)
    capfd.readouterr()
    assert done_or_refused(work, named, capfd) is not None  # whole, it is read
    found = {False: 0, True: 0}
    for number in range(FILES):
        damaged = damaged_json(document, np.random.default_rng(number), number)
        path.write_bytes(damaged)
        found[done_or_refused(work, named, capfd, escaped=True) is None] += 1
        if kind not in ("settings of an evaluation", "log"):  # which are written again
            assert path.read_bytes() == damaged
    assert found[False] > FILES / 20
    assert (found[True] > FILES / 20) is (kind not in NEVER_REFUSED)
