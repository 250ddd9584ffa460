"""An output is whole or absent, whatever happens while it is written."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.processes import ended
from tests.quick import slow

from mrcascade.errors import MRCascadeError
from mrcascade.io import atomic_output, atomic_outputs, check_target


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.nii.gz", ".nii.gz"),
        ("A.NII.GZ", ".NII.GZ"),
        ("x.y.nii.gz", ".nii.gz"),
        ("x.y.png", ".png"),
        ("bare", ".tmp"),
    ],
)
def test_publishes_and_keeps_the_suffix(tmp_path: Path, name: str, suffix: str) -> None:
    target = tmp_path / "new" / "folder" / name
    with atomic_output(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(suffix)
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert names(target.parent) == [name]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with atomic_output(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, MRCascadeError])
def test_exception_leaves_nothing(tmp_path: Path, kind: type[BaseException]) -> None:
    with pytest.raises(kind), atomic_output(tmp_path / "a.nii") as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise kind("stop")
    assert names(tmp_path) == []


def test_exception_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.nii"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_output(target, overwrite=True) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.nii"]


def test_refuses_an_existing_target(tmp_path: Path) -> None:
    target = tmp_path / "a.nii"
    target.write_bytes(b"old")
    with pytest.raises(MRCascadeError, match=r"a\.nii already exists.*--overwrite"):
        check_target(target)
    entered = False
    with pytest.raises(MRCascadeError, match="--overwrite"), atomic_output(target):
        entered = True
    assert not entered
    assert target.read_bytes() == b"old"
    with atomic_output(target, overwrite=True) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"


def test_refuses_a_target_that_appears_meanwhile(tmp_path: Path) -> None:
    target = tmp_path / "a.nii"
    with pytest.raises(MRCascadeError, match="already exists"), atomic_output(target) as temporary:  # noqa: PT012
        temporary.write_bytes(b"mine")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.nii"]


def test_overwrite_replaces_a_link_not_what_it_points_to(tmp_path: Path) -> None:
    original = tmp_path / "original.nii"
    original.write_bytes(b"original")
    link = tmp_path / "link.nii"
    link.symlink_to(original)
    with atomic_output(link, overwrite=True) as temporary:
        temporary.write_bytes(b"new")
    assert original.read_bytes() == b"original"
    assert link.read_bytes() == b"new"


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "link.nii").symlink_to(tmp_path / "nowhere")
    with pytest.raises(MRCascadeError, match="already exists"):
        check_target(tmp_path / "link.nii")


def test_refuses_folders(tmp_path: Path) -> None:
    with pytest.raises(MRCascadeError, match="is a folder"), atomic_output(tmp_path, True):
        pass
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(MRCascadeError, match=r"cannot write .*x\.nii.*another folder"),
        atomic_output(tmp_path / "file" / "x.nii"),
    ):
        pass


def test_very_long_names_have_a_temporary(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 120 + ".nii.gz")  # 247 bytes of at most 255
    with atomic_output(target) as temporary:
        temporary.write_bytes(b"x")
    assert names(tmp_path) == [target.name]


def test_a_leftover_with_the_same_process_number_is_no_obstacle(tmp_path: Path) -> None:
    leftover = tmp_path / f".a.{os.getpid()}.0.tmp.nii"
    leftover.write_bytes(b"from a killed run")
    with atomic_output(tmp_path / "a.nii") as temporary:
        assert temporary != leftover
    assert leftover.read_bytes() == b"from a killed run"


def test_full_disk_inside_the_block_names_the_target(tmp_path: Path) -> None:
    with (  # noqa: PT012
        pytest.raises(MRCascadeError, match=r"no space left to write .*a\.nii\.gz"),
        atomic_output(tmp_path / "a.nii.gz") as temporary,
    ):
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_other_errors_of_the_block_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_output(tmp_path / "a.nii"):
        (tmp_path / "some other input").read_bytes()


def run_out_of_room(code: str, target: Path) -> None:
    """A program that writes ``target`` without room for it says so and leaves nothing."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"no space left to write {target}")
    assert names(target.parent) == []


def test_a_real_size_limit_while_writing_an_image(tmp_path: Path) -> None:
    """A file-size limit of the process: the system itself refuses to write on."""
    code = """
import resource, sys
from pathlib import Path
import numpy as np
import nibabel
from mrcascade.errors import MRCascadeError
from mrcascade.io import Image, write_image
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
noise = np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32)
image = Image(noise, np.eye(4), Path("memory"), "nifti", None, "")
try:
    write_image(image, sys.argv[1])
except MRCascadeError as error:
    print(error)
"""
    run_out_of_room(code, tmp_path / "a.nii.gz")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 10000  # the limit was the child's alone


@pytest.mark.parametrize(
    "write",
    [
        "import numpy; numpy.save(path, numpy.zeros(10**5))",
        slow("import torch; torch.save(torch.zeros(10**5), path)"),
    ],
)
def test_writers_that_do_not_say_that_the_disk_is_full(tmp_path: Path, write: str) -> None:
    code = f"""
import resource, sys
from mrcascade.errors import MRCascadeError
from mrcascade.io import atomic_output
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
try:
    with atomic_output(sys.argv[1]) as path:
        {write}
except MRCascadeError as error:
    print(error)
"""
    run_out_of_room(code, tmp_path / "a.npy")


def test_other_errors_of_torch_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), atomic_output(tmp_path / "a.nii"):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_middle_of_writing(tmp_path: Path, number: signal.Signals) -> None:
    code = """
import sys, time
from mrcascade.io import atomic_output
with atomic_output(sys.argv[1]) as temporary, temporary.open("wb") as stream:
    stream.write(b"half a file")
    stream.flush()
    print("writing", flush=True)
    time.sleep(60)
"""
    target = tmp_path / "scan.nii.gz"
    command = [sys.executable, "-c", code, str(target)]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        child.send_signal(number)
        assert child.wait(timeout=30) == -number
    assert not target.exists()
    assert all(name.startswith(".scan.") and ".tmp" in name for name in names(tmp_path))
    with atomic_output(target) as temporary:  # the next run is not hindered
        temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"


def test_group_publishes_all_or_none(tmp_path: Path) -> None:
    targets = [tmp_path / "a.nii.gz", tmp_path / "b" / "a.json"]
    with pytest.raises(RuntimeError), atomic_outputs(targets) as temporaries:  # noqa: PT012
        temporaries[0].write_bytes(b"1")
        raise RuntimeError
    assert not any(target.exists() for target in targets)
    with atomic_outputs(targets) as temporaries:
        for k, temporary in enumerate(temporaries):
            temporary.write_text(str(k))
            assert not any(target.exists() for target in targets)
    assert [target.read_text() for target in targets] == ["0", "1"]
    assert names(tmp_path) == ["a.nii.gz", "b"]
    assert names(tmp_path / "b") == ["a.json"]


def test_group_is_refused_whole(tmp_path: Path) -> None:
    targets = [tmp_path / "a.nii.gz", tmp_path / "a.json"]
    targets[1].write_text("old")
    with pytest.raises(MRCascadeError, match=r"a\.json already exists"), atomic_outputs(targets):
        pass
    assert names(tmp_path) == ["a.json"]
    with (
        pytest.raises(MRCascadeError, match="named twice"),
        atomic_outputs([targets[0], tmp_path / "b" / ".." / "a.nii.gz"]),
    ):
        pass


def test_a_member_that_appears_meanwhile_stops_the_whole_group(tmp_path: Path) -> None:
    targets = [tmp_path / "a.nii.gz", tmp_path / "a.json"]
    with pytest.raises(MRCascadeError, match="already exists"), atomic_outputs(targets):
        targets[1].write_text("theirs")
    assert names(tmp_path) == ["a.json"]


def test_writers_that_go_by_suffix_work(tmp_path: Path) -> None:
    with atomic_output(tmp_path / "a.npy") as temporary:
        np.save(temporary, np.arange(3))
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
