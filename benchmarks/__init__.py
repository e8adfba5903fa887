"""Measures accuracy, speed and file sizes, by hand, from the repository root.

    python -m benchmarks.speed.train_step --help

The programs share parts with those in scripts/, whose folders this file makes importable.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "scripts"))
