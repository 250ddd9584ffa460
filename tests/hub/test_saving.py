"""``save_pretrained``: the same bytes where nothing changed, and a card that the hub can read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from tests.conftest import SINGLE, write_random_prior

from mrcascade import CascadePrior, MRCascadeError
from mrcascade.prior.card import TAGS
from mrcascade.prior.format import BUNDLED
from mrcascade.prior.level import LevelPrior
from mrcascade.storage.digest import file_sha256


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["mr-small", "mr-small-baselines/regression-4x"])
def test_a_bundled_prior_keeps_its_bytes(name: str, tmp_path: Path) -> None:
    source, saved = BUNDLED / name, tmp_path / "saved"
    before = {path: file_sha256(path) for path in files_below(source)}
    prior = CascadePrior.from_pretrained(name)
    assert prior.save_pretrained(saved, license="apache-2.0") == saved
    for path in before.keys() - {source / "README.md"}:
        assert (saved / path.relative_to(source)).read_bytes() == path.read_bytes(), path
    assert CascadePrior.from_pretrained(saved).digest == prior.digest
    assert {path: file_sha256(path) for path in files_below(source)} == before

    card = ModelCard((saved / "README.md").read_text())
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "mrcascade")
    assert (card.data.pipeline_tag, card.data.tags) == ("image-to-image", list(TAGS))
    assert "](../" not in card.text
    own = source / "README.md"
    if own.exists():
        page = "docs/evidence/in-plane.md"
        without = own.read_text().replace(f"[{page}](../../../../{page})", page)
        assert card.text.strip() == without.strip()
    else:
        assert "Research use; not for diagnosis." in card.text
        assert "factors up to 4 per axis, 2 levels" in card.text


def test_a_changed_prior_is_written_anew(prior_folder: Path, tmp_path: Path) -> None:
    prior = CascadePrior.from_pretrained(prior_folder)
    changed = replace(prior, name="ours", sampling={"paper": {"zeta": 0.5}})
    saved = changed.save_pretrained(tmp_path / "ours")
    assert weights(saved) == weights(prior_folder)
    document = json.loads((saved / "prior.json").read_text())
    before = json.loads((prior_folder / "prior.json").read_text())
    expected = {"name": "ours", "sampling": {"paper": {"zeta": 0.5}}}
    assert document == before | expected
    assert "# ours" in (saved / "README.md").read_text()
    again = CascadePrior.from_pretrained(saved)
    assert (again.name, again.tuned("paper")) == ("ours", {"zeta": 0.5})


def test_a_joined_prior(prior_folder: Path, tmp_path: Path) -> None:
    coarse = CascadePrior.from_pretrained(write_random_prior(tmp_path / "c", cascade=SINGLE))
    joined = CascadePrior.from_pretrained(prior_folder).with_coarsest(coarse)
    saved = joined.save_pretrained(tmp_path / "joined")
    assert list(weights(saved).values()) == [
        weights(prior_folder)["level1.safetensors"],
        weights(tmp_path / "c")["level1.safetensors"],
    ]
    assert len(CascadePrior.from_pretrained(saved).levels) == 2


def test_a_card_with_metadata_stays(prior_folder: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(prior_folder, tmp_path / "source"))
    page = "---\nlicense: mit\ntags: [knee]\n---\n\n# Ours\n"
    (source / "README.md").write_text(page)
    prior = CascadePrior.from_pretrained(source)
    assert (prior.save_pretrained(tmp_path / "saved") / "README.md").read_text() == page
    with pytest.raises(MRCascadeError, match="metadata of its own"):
        prior.save_pretrained(tmp_path / "other", license="cc0-1.0")
    assert not (tmp_path / "other").exists()


def test_what_is_refused_leaves_all_as_it_was(prior_folder: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(prior_folder, tmp_path / "source"))
    prior = CascadePrior.from_pretrained(source)
    saved = prior.save_pretrained(tmp_path / "saved")
    with pytest.raises(MRCascadeError, match="already exists"):
        prior.save_pretrained(saved)
    assert prior.save_pretrained(saved, overwrite=True) == saved
    before = weights(saved)
    (source / "level2.safetensors").write_bytes(b"another")
    with pytest.raises(MRCascadeError, match=r"level2\.safetensors: checksum differs"):
        prior.save_pretrained(saved, overwrite=True)
    assert weights(saved) == before
    in_memory = [LevelPrior(level.spec, level.networks) for level in prior.levels]
    with pytest.raises(MRCascadeError, match="not read from files"):
        replace(prior, levels=in_memory).save_pretrained(tmp_path / "new")
