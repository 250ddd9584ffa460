"""One line of printable text for any error, and no output of other libraries beside it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mrcascade.cli import main, terminal
from mrcascade.errors import MRCascadeError
from mrcascade.messages import faults
from mrcascade.messages.printable import printable
from mrcascade.restore import Restorer
from tests.quick import slow

RNG = np.random.default_rng(5)
EVIL = "\x1b[31mx\n\x1b]0;pwn\x07\u202e\u2028\x9b\x00"
ESCAPED = r"\x1b[31mx\n\x1b]0;pwn\x07\u202e\u2028\x9b\x00"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.npy"
    np.save(path, RNG.normal(size=(16, 16, 2)) + 100)
    return path


@pytest.fixture
def sr(tmp_path: Path, prior_folder: Path) -> Callable[..., int]:
    def call(*arguments: object) -> int:
        fixed = ["--prior", prior_folder, "--device", "cpu", "--factor", "2", "--noise", "0.01"]
        output = tmp_path / "out"
        return main([str(a) for a in ("sr", *arguments, "-o", output, *fixed)])

    return call


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    assert text.endswith("\n")
    return text.rstrip("\n")


# ---- text ----


def test_printable_text() -> None:
    assert printable(EVIL) == ESCAPED
    assert printable("brain T2 µm ü 脳.nii") == "brain T2 µm ü 脳.nii"
    assert printable(os.fsdecode(b"caf\xe9")) == r"caf\xe9"
    assert printable("\ud800") == r"\ud800"


class Ascii:
    """A terminal that knows ASCII alone."""

    encoding = "ascii"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        text.encode("ascii")
        self.text += text

    def flush(self) -> None: ...


def test_characters_that_the_terminal_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Ascii()
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.line("ü.npy: 脳")
    assert stream.text == "\\xfc.npy: \\u8133\n"


def test_only_one_place_prints() -> None:
    source = Path(faults.__file__).parents[1]
    examples = re.compile(r"^ *(>>>|\.\.\.) .*$", re.MULTILINE)
    found = [
        path.name
        for path in source.rglob("*.py")
        if re.search(r"\bprint\(|sys\.std(out|err)\.write", examples.sub("", path.read_text()))
    ]
    # faults: the tracebacks that --debug asks for
    assert sorted(found) == ["faults.py", "terminal.py"]


# ---- errors ----


def broken(*arguments: object, **more: object) -> None:
    raise RuntimeError(f"a bug {EVIL}")


def test_a_bug_is_one_line_and_a_log(
    image: Path, sr: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(Restorer, "__call__", broken)
    monkeypatch.setattr(faults, "_log", None)
    assert sr(image) == 2
    line = one_line(capsys.readouterr().err)
    assert line.startswith(f"mrcascade: {image}: unexpected RuntimeError: a bug {ESCAPED}; ")
    log = Path(re.search(r"the traceback is in (\S+\.log),", line)[1])
    assert "Traceback (most recent call last)" in log.read_text()
    assert EVIL not in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    log.unlink()


def test_debug_shows_the_traceback_instead(
    image: Path, sr: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(Restorer, "__call__", broken)
    assert sr(image, "--debug") == 2
    error = capsys.readouterr().err
    assert "Traceback (most recent call last)" in error
    assert error.splitlines()[-1].startswith(f"mrcascade: {image}: unexpected RuntimeError")
    assert ".log" not in error
    assert not faults.debugging()  # the next command begins anew


def test_a_batch_goes_on_after_a_bug(
    image: Path,
    sr: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    other = tmp_path / "b.npy"
    np.save(other, RNG.normal(size=(16, 16, 2)) + 100)
    works = Restorer.__call__

    def first_broken(*arguments, **more):
        monkeypatch.setattr(Restorer, "__call__", works)
        broken()

    monkeypatch.setattr(Restorer, "__call__", first_broken)
    assert sr(image, other) == 1
    assert (tmp_path / "out" / "b_desc-sr2x.npy").exists()
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith(f"mrcascade: {image}: unexpected RuntimeError")
    assert errors[1] == f"mrcascade: 1 of 2 files failed: {image}"
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [entry["Status"] for entry in record["Results"]] == ["failed", "done"]
    assert record["Results"][0]["Error"].startswith(f"{image}: unexpected RuntimeError: a bug")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/x/y"), "/x/y: permission denied; check its"),
        (OSError(36, "File name too long", "z" * 300), "z: file name too long; give it a shorter"),
        (IsADirectoryError(21, "Is a directory", "/x"), "/x: is a directory; give the name of a"),
        (OSError(28, "No space left on device"), "a.npy: no space left on device; free some"),
        (MemoryError(), "a.npy: not enough memory; free some"),
        (RecursionError("deep"), "a.npy: something in it is nested too deeply"),
        (ValueError("embedded null byte"), "a.npy: a name with a null byte; check the name"),
    ],
)
def test_errors_with_a_known_cause(error: Exception, line: str) -> None:
    told = faults.one_line(error, "a.npy")
    assert line in told
    assert "traceback" not in told


def test_every_message_names_its_file() -> None:
    for message, told in (
        ("is empty; leave it out", "/x/a.npy: is empty; leave it out"),
        ("cannot read /x/a.npy", "cannot read /x/a.npy"),
    ):
        with pytest.raises(MRCascadeError) as error, faults.naming("/x/a.npy"):
            raise MRCascadeError(message)
        assert str(error.value) == told


def test_a_list_with_a_name_that_no_file_can_have(
    image: Path, sr: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "list.txt").write_text(f"{'x' * 300}.npy\na.npy\n")
    assert sr(tmp_path / "list.txt") == 1
    assert "xxx.npy: file name too long; give it a shorter name" in capsys.readouterr().err
    assert (tmp_path / "out" / "a_desc-sr2x.npy").exists()


def test_a_name_that_is_not_utf8(
    sr: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"caf\xe9.npy", b"z.npy"):
        np.save(folder / os.fsdecode(name), RNG.normal(size=(16, 16, 2)) + 100)
    assert sr(folder) == 0
    assert r"1/2 caf\xe9.npy: done" in capsys.readouterr().out
    stated = json.loads((tmp_path / "out" / os.fsdecode(b"caf\xe9_desc-sr2x.json")).read_text())
    assert stated["Sources"] == [os.fsdecode(b"caf\xe9.npy")]  # as it is


def test_options_are_refused_in_one_line(capsys: pytest.CaptureFixture) -> None:
    for arguments in (["sr"], [], ["none"], ["sr", "a", "-o", "b", "--factor", f"{EVIL}"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        line = one_line(capsys.readouterr().err)
        assert line.startswith("mrcascade: ")
        assert line.endswith(" --help")
        assert line.isprintable()


@pytest.mark.parametrize(
    "arguments", [["info", ""], ["sr", "a.npy", "-o", ""], ["info", "--series="]]
)
def test_empty_arguments(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    """As of shell variables that are not set: they do not mean the working folder."""
    more = ["--factor", "2"] * (arguments[0] == "sr")
    assert main([*arguments, *more]) == 2
    assert one_line(capsys.readouterr().err).endswith("; check the variable it comes from")


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    script = "import os, sys; os.rmdir(os.getcwd()); import mrcascade.cli as c; sys.exit(c.main())"
    ended = subprocess.run(
        [sys.executable, "-c", script, "info"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(faults.__file__).parents[1])},
    )
    assert ended.returncode == 2
    assert one_line(ended.stderr) == (
        "mrcascade: the working folder is gone; change to one that exists"
    )


# ---- streams ----


def command(*arguments: object, **streams: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mrcascade", *map(str, arguments)]
    return subprocess.run(words, stderr=subprocess.PIPE, text=True, **streams)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["info"], ["--help"], ["sr", "--help"]])
def test_a_full_device_behind_the_output(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        ended = command(*arguments, stdout=full)
    assert ended.returncode == 2
    assert one_line(ended.stderr).startswith(
        "mrcascade: cannot write the output: no space left on device; "
    )


@pytest.mark.parametrize("arguments", [["info"], ["--help"]])
def test_a_closed_pipe_ends_the_command_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = command(*arguments, stdout=writer)
    os.close(writer)
    assert ended.returncode == 141
    assert ended.stderr == ""


@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "--json"], ["info"], ["completion", "bash"]]
)
def test_a_closed_output_is_an_error(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """As after ``mrcascade list >&-``, where Python has no stdout at all."""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(arguments) == 2
    assert one_line(capsys.readouterr().err) == (
        "mrcascade: cannot write the output: it is closed; send it elsewhere"
    )


def test_a_full_output_is_no_fault_of_the_file(
    image: Path, sr: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(text: str) -> None:
        raise terminal.OutputError(OSError(28, "No space left on device"))

    monkeypatch.setattr(terminal, "line", full)
    assert sr(image) == 2
    assert not (tmp_path / "out").exists()


# ---- other libraries ----


NOISY = """
import logging, sys, warnings
from mrcascade.cli import main
from mrcascade.errors import MRCascadeError
from mrcascade.jobs import opened

def noisy(*arguments, **more):
    warnings.warn("a warning of a library", stacklevel=1)
    logging.getLogger("library").error("a record of a library")
    raise MRCascadeError("ours")

opened.open_source = noisy
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("debug", [False, slow(True)])
def test_libraries_are_quiet(debug: bool, image: Path, tmp_path: Path, prior_folder: Path) -> None:
    arguments = ["sr", image, "-o", tmp_path / "out", "--factor", "2", "--prior", prior_folder]
    ended = subprocess.run(
        [sys.executable, "-c", NOISY, *map(str, arguments), *["--debug"] * debug],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == f"mrcascade: {image}: ours"
    assert ("a warning of a library" in ended.stderr) is debug
    assert ("a record of a library" in ended.stderr) is debug
    assert debug or ended.stderr.count("\n") == 1


def test_c_libraries_are_quiet(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    from PIL import Image

    path = tmp_path / "a.tif"
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(path, compression="jpeg")
    damaged = bytearray(path.read_bytes())
    damaged[20:400:7] = bytes(byte ^ 0x55 for byte in damaged[20:400:7])
    path.write_bytes(damaged)
    assert main(["info", str(path)]) == 2
    one_line(capfd.readouterr().err)
    assert main(["info", str(path), "--debug"]) == 2
    assert "JPEG" in capfd.readouterr().err  # so that the file is one that libtiff complains of
