"""Images that a run trains on: splits by subject, balanced sampling, exclusions, provenance."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_training_slices import by_file, save, stack
from training_data import TINY, volume

from mrcascade import MRCascadeError
from mrcascade.cli import main
from mrcascade.data.subjects import digest
from mrcascade.training.forecast import forecast
from mrcascade.training.run import train_cascade
from mrcascade.training.selection import describe_selection, slice_weights, without
from mrcascade.training.slice_cache import write_cache
from mrcascade.training.slices import load_volumes
from mrcascade.training.volume import Volume


def one(file: str, subject: str | None, slices: int = 1, contrast: str = "") -> Volume:
    facts = {"contrast": contrast} if contrast else {}
    empty = np.zeros((slices, 4, 4), np.float32)
    volume = Volume(file, file.split("/")[0], "train", empty, {2: 1.0})
    return replace(volume, subject=subject, facts=facts, sha256=digest(file) * 4)


def per_volume(
    volumes: list[Volume], contrasts: float = 0.0, anatomies: float = 1.0
) -> list[float]:
    weights = slice_weights(volumes, anatomies, contrasts)
    assert weights.sum() == pytest.approx(1)
    ends = np.cumsum([len(v.slices) for v in volumes])
    parts = np.split(weights, ends[:-1])
    assert all(np.ptp(part) == 0 for part in parts)
    return [float(part.sum()) for part in parts]


# ---- splits ----


def test_a_subject_lies_in_one_split_and_stays_there(tmp_path: Path) -> None:
    names = [f"sub-{i:02d}/{c}.npy" for i in range(30) for c in ("T1w", "T2w", "FLAIR")]
    for name in names[:60]:
        save(tmp_path, name, stack(1, 16))
    before = {f: v.split for f, v in by_file(tmp_path).items()}
    for name in names[60:]:
        save(tmp_path, name, stack(1, 16))
    after = {f: v.split for f, v in by_file(tmp_path).items()}
    assert before.items() <= after.items()
    people = {(v.subject, v.split) for v in by_file(tmp_path).values()}
    assert len(people) == 30
    assert {split for _, split in people} == {"train", "val"}


def test_split_folders_go_before_the_hash(tmp_path: Path) -> None:
    for i in range(12):
        save(tmp_path, f"brain/train/sub-{i:02d}.npy", stack(1, 16))
    save(tmp_path, "brain/val/sub-20.npy", stack(1, 16))
    assert [v.file for v in by_file(tmp_path).values() if v.split == "val"] == [
        "brain/val/sub-20.npy"
    ]


def test_a_person_on_both_sides_is_told(tmp_path: Path) -> None:
    train, other = replace(volume(), subject="anna"), replace(volume(split="val"), subject="anna")
    lines = list(forecast([train], [other], TINY, {}, "cpu"))
    assert lines[0].startswith("training data: 1 file of 1 subject, 4 slices (a 4)")
    assert lines[1].startswith("careful: 1 subject to train on also validate")
    berta = replace(other, subject="berta")
    assert not any("careful" in s for s in forecast([train], [berta], TINY, {}, "cpu"))


# ---- sampling ----


def test_patches_are_drawn_by_anatomy_subject_contrast_file_and_slice() -> None:
    echoes = [one(f"knee/e{i}", "k", 16, f"echo {i}: PD") for i in range(8)]
    brains = [
        one("brain/a1", "a", 100, "T1w"),
        one("brain/a2", "a", 2, "T2w"),
        one("brain/a3", "a", 3, "T2w TSE"),
        one("brain/b", "b", 7, "T1w"),
        one("brain/c", None, 5),
    ]
    shares = per_volume(echoes + brains)
    assert shares[:8] == pytest.approx([1 / 16] * 8)
    third = 1 / 6  # of one anatomy in two: three subjects, the unknown one being its file
    quarters = [third / 2, third / 4, third / 4, third, third]
    assert shares[8:] == pytest.approx(quarters)


def test_copies_of_a_file_share_its_part() -> None:
    files = [one("a/1", "p", 4), one("a/2", "q", 4), one("a/1", "p", 4)]
    assert per_volume(files) == pytest.approx([0.25, 0.5, 0.25])


def test_contrasts_can_be_balanced() -> None:
    files = [one(f"a/{i}", f"p{i}", 4, "T1w") for i in range(9)] + [one("a/9", "p9", 4, "T2w")]
    files.append(one("b/x", "p10", 4, "T1w"))
    assert per_volume(files) == pytest.approx([0.05] * 10 + [0.5])
    assert per_volume(files, 1.0) == pytest.approx([0.25 / 9] * 9 + [0.25, 0.5])
    # In between: shares 9/10 and 1/10 of the anatomy to the power of a half.
    t1, t2 = 0.9**0.5, 0.1**0.5
    expected = [0.5 * t1 / (t1 + t2) / 9] * 9 + [0.5 * t2 / (t1 + t2), 0.5]
    assert per_volume(files, 0.5) == pytest.approx(expected)


def test_anatomies_can_be_drawn_by_their_subjects() -> None:
    files = [one(f"a/{i}", f"p{i}", 3) for i in range(4)] + [one("b/x", "q", 90)]
    assert per_volume(files) == pytest.approx([1 / 8] * 4 + [1 / 2])
    assert per_volume(files, anatomies=0.5) == pytest.approx([2 / 3 / 4] * 4 + [1 / 3])
    assert per_volume(files, anatomies=0.0) == pytest.approx([1 / 5] * 5)


def test_without_any_subject_the_older_rule_holds() -> None:
    files = [one("a/1", None, 4), one("b/2", None, 9), one("a/3", None, 16)]
    assert per_volume(files) == pytest.approx([0.5 * 2 / 6, 0.5, 0.5 * 4 / 6])


# ---- exclusions ----


def test_a_word_of_a_field_leaves_files_out() -> None:
    files = [
        one("brain/a", "p1", contrast="T2w TSE"),
        one("knee/b", "p10", contrast="echo 8: T2-weighted"),
        one("brain/c", None, contrast="FLAIR (2-D)"),
    ]

    def left(*exclude: str) -> list[str]:
        return [v.file for v in without(files, exclude, Path("data"))]

    assert left() == ["brain/a", "knee/b", "brain/c"]
    assert left("contrast=t2") == ["brain/c"]
    assert left("contrast=T2w") == ["knee/b", "brain/c"]
    assert left("subject=p1") == ["knee/b", "brain/c"]
    assert left("anatomy=brain") == ["knee/b"]
    assert left("contrast=FLAIR", "file=knee/b") == ["brain/a"]
    with pytest.raises(MRCascadeError, match="names no file; of 'contrast' there are FLAIR") as e:
        left("contrast=PD")
    assert "\n" not in str(e.value)
    with pytest.raises(MRCascadeError, match="names no file; of 'vendor' no file says it"):
        left("vendor=GE")


@pytest.mark.parametrize("text", ["FLAIR", "=FLAIR", "contrast="])
def test_an_exclusion_names_field_and_word(text: str) -> None:
    with pytest.raises(MRCascadeError, match="give FIELD=WORD, such as contrast=FLAIR"):
        replace(TINY, exclude=(text,))


def prepared(root: Path) -> Path:
    entries = []
    for split, subject in (("train", "anna"), ("train", "berta"), ("val", "clara")):
        for contrast in ("T1w", "FLAIR"):
            name = f"brain/{split}/{subject}_{contrast}.npy"
            save(root, name, stack(2, seed=len(entries)))
            entries.append({"file": name, "subject": subject, "contrast": contrast, "field_T": 3})
    (root / "manifest.json").write_text(json.dumps(entries))
    return root


def test_a_cache_keeps_what_the_folder_says(tmp_path: Path) -> None:
    folder = load_volumes(prepared(tmp_path / "data"), 4, (2, 4))
    write_cache(folder, tmp_path / "c.hdf5")
    cached = load_volumes(tmp_path / "c.hdf5", 4, (2, 4))
    for a, b in zip(folder, cached, strict=True):
        for name in ("subject", "sha256", "facts", "private"):
            assert getattr(a, name) == getattr(b, name)
    assert cached[0].facts["field_T"] == "3"
    assert len(cached[0].sha256) == 64
    left = load_volumes(tmp_path / "c.hdf5", 4, (2, 4), exclude=("contrast=FLAIR",))
    assert [v.facts["contrast"] for v in left] == ["T1w"] * 3
    with pytest.raises(MRCascadeError, match=r"no training images found \(anatomy=brain left out"):
        load_volumes(tmp_path / "c.hdf5", 4, (2, 4), exclude=("anatomy=brain",))


@pytest.mark.slow
@pytest.mark.usefixtures("_no_plot")
def test_a_prior_says_whom_it_has_seen(tmp_path: Path, capsys) -> None:
    data, run = prepared(tmp_path / "data"), tmp_path / "run"
    arguments = ["train", "--data", str(data), "-o", str(run), "--network", "tiny"]
    arguments += ["--images", "8", "--batch-size", "8", "--set", "patch=32", "--set"]
    arguments += ["coarse_patch=16", "--exclude", "contrast=FLAIR"]
    assert main(arguments) == 0
    assert "training data: 2 files of 2 subjects, 4 slices" in capsys.readouterr().out
    document = json.loads((run / "prior" / "prior.json").read_text())
    told = document["provenance"]
    assert told["files"] == ["brain/train/anna_T1w.npy", "brain/train/berta_T1w.npy"]
    assert told["validation_files"] == ["brain/val/clara_T1w.npy"]
    assert told["subjects"] == sorted([digest("anna"), digest("berta")])
    assert told["validation_subjects"] == [digest("clara")]
    assert len(told["contents"]) == 2
    assert told["sampling"]["drawn"] == [
        {"anatomy": "brain", "contrast": "T1", "subjects": 2, "files": 2, "slices": 4, "share": 1.0}
    ]
    assert document["levels"][0]["training"]["config"]["exclude"] == ["contrast=FLAIR"]
    # An image of a person who validated: her other contrast, and the very file elsewhere.
    save(tmp_path / "new", "x.npy", np.load(data / "brain/train/anna_T1w.npy"))
    for folder, split, count, same in ((data, "val", 2, 1), (tmp_path / "new", "test", 1, 1)):
        command = ["evaluate", "--data", str(folder), "--methods", "zero-fill,mean", "--factor"]
        command += ["2", "--prior", str(run / "prior"), "--device", "cpu", "--split", split]
        assert main([*command, "-o", str(tmp_path / f"eval-{split}")]) == 0
        text = (tmp_path / f"eval-{split}" / "table.md").read_text()
        assert f"Careful: {count} of {count} files" in text
        assert f"{same} of them, such as" in text
    assert "### Per contrast" in (tmp_path / "eval-val" / "table.md").read_text()
    assert "brain/FLAIR" in (tmp_path / "eval-val" / "table.md").read_text()
    resumed = ["contrast=T1" if a == "contrast=FLAIR" else a for a in arguments]
    assert main([*resumed, "--resume"]) == 2
    assert "other settings (exclude)" in capsys.readouterr().err


def test_private_names_are_hashes() -> None:
    private = replace(one("x/Doe_Jane", "patient 1f"), private=True)
    (name,) = describe_selection([private], [], TINY)["files"]
    assert name == f"sha256:{private.sha256[:16]}"


@pytest.mark.slow
@pytest.mark.usefixtures("_no_plot")
def test_an_older_checkpoint_goes_on(data: Path, run: Path) -> None:
    """One without the newer settings, which were as their defaults are."""
    import torch

    state = torch.load(run / "level1.ckpt", weights_only=True)
    config = json.loads(state["config"])
    newer = [k for k in config if k == "exclude" or k.startswith(("contrast", "bias", "blur"))]
    assert newer
    for key in newer:
        del config[key]
    torch.save(state | {"config": json.dumps(config)}, run / "level1.ckpt")
    assert train_cascade(data, run, TINY, resume=True) == run / "prior"
    with pytest.raises(MRCascadeError, match=r"other settings \(blur_share\)"):
        train_cascade(data, run, replace(TINY, blur_share=0.5), resume=True)
