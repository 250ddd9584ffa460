"""What a type checker says of a user's script."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = """
import numpy as np
import mrcascade

low, operator = mrcascade.simulate(np.ones((32, 32)), 2)
reveal_type(mrcascade.super_resolve)
reveal_type(operator @ low)
reveal_type(operator.H)
reveal_type(mrcascade.read_image("a.nii"))
reveal_type(mrcascade.super_resolve_file("a.nii", "out", factor=2))
mrcascade.super_resolv  # line 11
mrcascade.super_resolve_file("a.nii", "out", factor=2, kernle="area")  # line 12
mrcascade.super_resolve(low, operator)  # line 13
"""


@pytest.mark.slow
def test_a_users_script(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    os.environ["MYPYPATH"] = str(ROOT / "src")
    try:
        report, _, _ = api.run(
            [str(script), "--config-file", str(ROOT / "pyproject.toml"), "--no-pretty"]
        )
    finally:
        del os.environ["MYPYPATH"]
    revealed = re.findall(r'Revealed type is "(.*)"', report)
    assert len(revealed) == 5, report
    assert "measurement: " in revealed[0]
    assert "-> mrcascade.restore" in revealed[0]
    assert "numpy.ndarray" in revealed[1]
    assert "LinearOperator" in revealed[2]
    assert "Image" in revealed[3]
    assert "list[pathlib.Path]" in revealed[4]
    errors = {int(n): text for n, text in re.findall(r"script\.py:(\d+): error: (.*)", report)}
    assert sorted(errors) == [11, 12, 13], report
    assert 'has no attribute "super_resolv"' in errors[11]
