"""Processes that a launcher, such as torchrun or ``accelerate launch``, has started together.

Launchers tell each process its place by environment variables, which are read here without torch.
"""

from __future__ import annotations

import os
import time

# Time in seconds that the main process has to report what all processes run into. Launchers end
# the other processes as soon as one has failed.
HEAD_START = 5.0
_PRECISIONS = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}


def launched() -> tuple[int, int]:
    """Return the number of this process, 0 for the main one, and the number of all processes.

    Without a launcher it is (0, 1).
    """
    number, count = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    if not (number.isdigit() and count.isdigit() and int(number) < int(count)):
        return 0, 1
    return int(number), int(count)


def launcher_precision() -> str:
    """Return the precision that ``accelerate launch`` was given, float32 without it.

    A precision that the project does not have keeps Accelerate's name.
    """
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    return _PRECISIONS.get(asked, asked)


def let_main_speak() -> None:
    """Wait before a process other than the main one reports an error.

    All processes of a launch run into the same bad input, and one line should say so.
    """
    if launched()[0]:
        time.sleep(HEAD_START)
