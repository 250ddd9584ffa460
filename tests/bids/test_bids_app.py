"""``bids-app``: the arguments of BIDS Apps, and the derivatives of ``sr``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bids_dataset import T1W, T2W

from mrcascade import __version__
from mrcascade.cli import main

App = Callable[..., int]


@pytest.fixture
def app(raw: Path, tmp_path: Path, prior_folder: Path) -> App:
    """``mrcascade bids-app raw out participant ...``; the exit code."""
    fixed = ["--factor", "2", "--noise", "0", "--device", "cpu", "--prior", str(prior_folder)]

    def call(*arguments: object) -> int:
        places = [str(raw), str(tmp_path / "out"), "participant"]
        return main(["bids-app", *places, *map(str, arguments), *fixed])

    return call


def results(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*.nii.gz")}


def derived(names: tuple[str, ...]) -> set[str]:
    return {"_desc-sr2x_".join(name.rsplit("_", 1)) for name in names}


def test_all_participants_as_sr(app: App, tmp_path: Path, raw: Path, prior_folder: Path) -> None:
    assert app("--skip-bids-validator") == 0
    made = tmp_path / "out"
    assert results(made) == derived((*T1W, *T2W))
    description = json.loads((made / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Name"] == "mrcascade"
    plain = ["sr", str(raw), "-o", str(tmp_path / "plain"), "--factor", "2", "--noise", "0"]
    assert main([*plain, "--device", "cpu", "--prior", str(prior_folder)]) == 0
    for name in results(made):
        assert (made / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--participant-label", "02"], (T1W[1],)),
        (["--participant_label", "sub-01", "02", "--bids-filter", "suffix=T1w"], T1W),
        (["--session-label", "ses-02", "--participant-label", "01"], T2W[1:]),
        (["--session_label", "01", "--bids-filter", "suffix=T2w"], T2W[:1]),
    ],
)
def test_labels(app: App, tmp_path: Path, arguments: list[str], names: tuple[str, ...]) -> None:
    assert app(*arguments) == 0
    assert results(tmp_path / "out") == derived(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--participant-label", "03"], "sub-03: no such participant in the dataset"),
        (["--participant-label", "01/ses-01"], "no such participant in the dataset"),
        (["--session-label", "09"], "no image of the BIDS dataset is taken"),
        (["--session-label", "01", "--bids-filter", "f.json"], "name the sessions in that file"),
    ],
)
def test_refused(
    app: App,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert app(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_group_level_and_other_folders(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main(["bids-app", str(raw), out, "group", "--factor", "2"]) == 2
    assert "'group': there is only participant" in capsys.readouterr().err
    assert main(["bids-app", str(tmp_path), out, "participant", "--factor", "2"]) == 2
    assert "not the root of a BIDS dataset" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["bids-app", "--version"])
    assert capsys.readouterr().out == f"mrcascade {__version__}\n"
