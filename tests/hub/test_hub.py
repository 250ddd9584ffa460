"""Priors of a hub: cache, revisions, download, damage, upload."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from hub_server import Hub
from huggingface_hub import ModelCard

from mrcascade import CascadePrior, MRCascadeError
from mrcascade.cli import main
from mrcascade.prior.format import prior_folder as folder_of
from mrcascade.prior.hub import Repository
from mrcascade.storage.digest import file_sha256

NAME = "lab/knee"
Files = dict[str, bytes]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lab/knee", Repository("lab/knee")),
        ("lab/knee@v1.0", Repository("lab/knee", "", "v1.0")),
        ("lab/knee@refs/pr/1", Repository("lab/knee", "", "refs/pr/1")),
        ("lab/a-b.c/single-scale@main", Repository("lab/a-b.c", "single-scale")),
        *((text, None) for text in ("mr-small", "/a/b", "./a/b", "../a", "a/../b", "a/b@", "a//b")),
        *((text, None) for text in ("a/b@../../x", "a/b--c", "a\\b/c", "ä/b", "a/b c", "~/b", "")),
    ],
)
def test_names(text: str, found: Repository | None) -> None:
    assert Repository.of_name(text) == found
    if found is not None and not text.endswith("@main"):
        assert str(found) == text


def test_download_then_offline(hub: Hub, files: Files, tmp_path: Path) -> None:
    code = {"train.py": b"1 / 0", "old/pytorch_model.bin": b"\x80\x04.", "model.pkl": b"\x80\x04."}
    hub.publish(NAME, files | code)
    with pytest.raises(MRCascadeError, match=r"unknown prior 'lab/knee'.*knee --download"):
        CascadePrior.from_pretrained(NAME)
    assert hub.requests == []

    prior = CascadePrior.from_pretrained(NAME, download=True)
    assert prior.folder is not None
    assert {p.name: p.read_bytes() for p in prior.folder.iterdir()} == files
    assert not [one for one in hub.requests if one.endswith((".py", ".bin", ".pkl"))]
    hub.requests.clear()
    assert CascadePrior.from_pretrained(NAME).digest == prior.digest
    assert folder_of(NAME) == prior.folder
    assert hub.requests == []


def test_revisions(hub: Hub, files: Files) -> None:
    first = hub.publish(NAME, files)
    renamed = files["prior.json"].replace(b'"random"', b'"second"')
    assert hub.publish(NAME, files | {"prior.json": renamed}, "v2") != first
    for revision, name in (("", "random"), ("@v2", "second"), (f"@{first}", "random")):
        assert CascadePrior.from_pretrained(NAME + revision, download=True).name == name
        assert CascadePrior.from_pretrained(NAME + revision).name == name
    with pytest.raises(MRCascadeError, match=r"^lab/knee@v9: .* no revision 'v9'"):
        CascadePrior.from_pretrained(f"{NAME}@v9", download=True)
    with pytest.raises(MRCascadeError, match="unknown prior 'lab/knee@v9'"):
        CascadePrior.from_pretrained(f"{NAME}@v9")


def test_a_collection(hub: Hub, files: Files) -> None:
    hub.publish(NAME, {f"single-scale/{name}": content for name, content in files.items()})
    whole = f"{NAME}/single-scale"
    digest = CascadePrior.from_pretrained(whole, download=True).digest
    assert CascadePrior.from_pretrained(folder_of(NAME, "single-scale")).digest == digest
    with pytest.raises(MRCascadeError, match=r"^lab/knee: there is no prior\.json"):
        CascadePrior.from_pretrained(NAME)


def test_a_repository_without_a_prior_costs_no_download(hub: Hub) -> None:
    hub.publish(NAME, {"model.safetensors": bytes(1000), "config.json": b"{}"})
    with pytest.raises(MRCascadeError, match=r"^lab/knee: there is no prior\.json"):
        CascadePrior.from_pretrained(NAME, download=True)
    assert not [one for one in hub.requests if "resolve" in one]


def test_what_a_hub_refuses(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MRCascadeError, match=r"lab/knee: not downloaded: .* no such repository"):
        CascadePrior.from_pretrained(NAME, download=True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MRCascadeError, match=r"127\.0\.0\.1:9 cannot be reached") as error:
        CascadePrior.from_pretrained(NAME, download=True)
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_fetched_again(hub: Hub, files: Files) -> None:
    hub.publish(NAME, files)
    folder = CascadePrior.from_pretrained(NAME, download=True).folder
    assert folder is not None
    weights = (folder / "level2.safetensors").resolve()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(MRCascadeError, match=r"level2\.safetensors: checksum differs"):
        CascadePrior.from_pretrained(NAME)
    assert CascadePrior.from_pretrained(NAME, download=True).name == "random"
    hub.replaced["level2.safetensors"] = bytes(content)
    weights.write_bytes(content)
    with pytest.raises(MRCascadeError, match=r"not those that its prior\.json names"):
        CascadePrior.from_pretrained(NAME, download=True)


def test_a_half_copy_is_not_taken(hub: Hub, files: Files) -> None:
    hub.publish(NAME, files)
    folder = CascadePrior.from_pretrained(NAME, download=True).folder
    assert folder is not None
    (folder / "level3.safetensors").unlink()
    with pytest.raises(MRCascadeError, match=r"wholly|weight file is missing"):
        CascadePrior.from_pretrained(NAME)


def test_folders_come_before_repositories(
    hub: Hub, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(NAME, files)
    cached = folder_of(NAME, download=True)
    monkeypatch.chdir(tmp_path)
    assert folder_of(NAME) == cached
    with pytest.raises(MRCascadeError, match="not a folder"):
        folder_of(Path(NAME))
    Path(NAME).mkdir(parents=True)
    assert folder_of(NAME) == cached
    Path(NAME, "prior.json").write_bytes(files["prior.json"])
    assert folder_of(NAME) == Path(NAME)
    assert main(["info", NAME, "--download"]) == 2


def test_without_the_library(tmp_path: Path) -> None:
    with (
        patch.dict(sys.modules, {"huggingface_hub": None}),
        pytest.raises(MRCascadeError, match=r"unknown prior 'lab/knee'.*'mrcascade\[hub\]'"),
    ):
        CascadePrior.from_pretrained(NAME)


def test_commands(hub: Hub, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    hub.publish(NAME, files)
    assert main(["info", NAME]) == 2
    assert "or fetch a repository of that name with --download" in capsys.readouterr().err
    assert main(["info", NAME, "--download"]) == 0
    assert "prior random: magnitude" in capsys.readouterr().out
    assert main(["info", NAME]) == 0
    assert main(["info", "mr-small", "--download"]) == 2
    assert "--download needs a repository" in capsys.readouterr().err
    start = ["train", "--data", str(tmp_path), "-o", str(tmp_path / "run"), "--start"]
    assert main([*start, "lab/other"]) == 2
    assert "unknown prior 'lab/other'" in capsys.readouterr().err


def test_a_process_of_its_own(hub: Hub, files: Files, tmp_path: Path) -> None:
    """As users have it: the address and the cache in the environment, no terminal."""
    hub.publish(NAME, files)
    place = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "mrcascade", "info", NAME, "--download"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **place})
    assert done.returncode == 0, done.stderr
    assert "prior random" in done.stdout
    assert str(tmp_path / "home" / "hub") in done.stdout


def test_push(hub: Hub, prior: CascadePrior, prior_folder: Path) -> None:
    pushed = prior.push_to_hub(f"{NAME}@trial", license="cc-by-4.0", message="A trial")
    commit = hub.refs[NAME]["trial"]
    assert pushed == f"{NAME}@{commit}"
    sent = hub.commits[NAME][commit]
    assert sorted(sent) == sorted(["README.md", *(p.name for p in prior_folder.iterdir())])
    assert "level1.safetensors" not in hub.commits[NAME][hub.refs[NAME]["main"]]
    again = CascadePrior.from_pretrained(pushed, download=True)
    assert again.digest == file_sha256(prior_folder / "prior.json")
    assert f'"name": {json.dumps(prior.name)}' in sent["prior.json"].decode()
    data = ModelCard(sent["README.md"].decode()).data
    assert (data.license, data.library_name) == ("cc-by-4.0", "mrcascade")
    with pytest.raises(MRCascadeError, match="'knee' is not the name of a repository"):
        prior.push_to_hub("knee")


def test_a_push_that_is_refused_is_one_line(hub: Hub, prior: CascadePrior) -> None:
    with patch("hub_server._Handler._create", lambda self: 1 / 0), pytest.raises(MRCascadeError):
        prior.push_to_hub(NAME)
