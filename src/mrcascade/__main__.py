"""``python -m mrcascade``."""

import sys

from mrcascade.cli import main

sys.exit(main())
