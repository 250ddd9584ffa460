"""Checks of an installed mrcascade: every module imports, its data is there, its command works."""

import importlib
import pkgutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import nibabel as nib

import mrcascade

BASED_ON_EXTRAS = ("mrcascade.adapters.monai", "mrcascade.adapters.torchio")


def import_error(name: str) -> str:
    """Import a module; return the message where a library of an extra is not installed."""
    try:
        importlib.import_module(name)
    except mrcascade.MRCascadeError as error:
        return str(error)
    return ""


def main() -> None:
    package = Path(mrcascade.__file__).parent
    assert package.is_relative_to(sys.prefix), f"{package} is not the installed one"
    assert (package / "py.typed").is_file()
    modules = [m.name for m in pkgutil.walk_packages([str(package)], "mrcascade.")]
    for name in modules:
        if name.endswith("__main__"):
            continue
        wanted = import_error(name)
        assert not wanted or (name in BASED_ON_EXTRAS and "pip install 'mrcascade[" in wanted), name

    sample = files("nibabel") / "tests/data/anatomical.nii"
    with tempfile.TemporaryDirectory() as folder:
        run("simulate", sample, "-o", folder, "--factor", 2)
        low = f"{folder}/anatomical_desc-low2x.nii.gz"
        run("sr", low, "-o", f"{folder}/sharp.nii.gz", "--factor", 2)
        rows, columns, slices = nib.load(low).shape
        assert nib.load(f"{folder}/sharp.nii.gz").shape == (2 * rows, 2 * columns, slices)
    run("list")
    run("doctor")
    print(f"mrcascade {mrcascade.__version__}: {len(modules)} modules")


def run(*words: object) -> None:
    subprocess.run(["mrcascade", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
