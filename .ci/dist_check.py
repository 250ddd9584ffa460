"""Checks of a built sdist and wheel: their size, the bundled priors, and nothing besides."""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

LARGEST_WHEEL = 45e6
PRIORS = Path("src/mrcascade/weights")
TOP = {
    *("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md"),
    *("pyproject.toml", "setup.cfg", "src"),
}
JUNK = re.compile(r"__pycache__|\.py[co]$|~$|\.(swp|orig|rej|log)$|/\.|\.egg-info/.*\.egg-info")


def main(folder: Path) -> None:
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    size = wheel.stat().st_size
    assert size < LARGEST_WHEEL, f"{wheel.name} has {size / 1e6:.1f} MB"
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        names = [Path(one.name) for one in archive.getmembers() if one.isfile()]
    sources = {Path(*name.parts[1:]).as_posix() for name in names}
    for path in (p for p in PRIORS.rglob("*") if p.is_file()):
        assert path.as_posix() in sources, f"{sdist.name} lacks {path}"
        assert path.relative_to("src").as_posix() in packed, f"{wheel.name} lacks {path}"
    strangers = {name.split("/")[0] for name in sources} - TOP
    assert not strangers, f"{sdist.name} holds {', '.join(sorted(strangers))}"
    strangers = {name.split("/")[0] for name in packed if not name.startswith("mrcascade")}
    assert not strangers, f"{wheel.name} holds {', '.join(sorted(strangers))}"
    junk = [name for name in sources | packed if JUNK.search(name)]
    assert not junk, f"not for others: {', '.join(sorted(junk))}"
    print(f"{wheel.name}: {size / 1e6:.1f} MB; {sdist.name}: {len(names)} files")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
