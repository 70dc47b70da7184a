"""Makes the test suite's generators, and the helpers of ``benchmarks/``, importable for a program in this folder.

Import it before any of them; it does nothing else.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(_ROOT / "tests"), str(_ROOT / "benchmarks")]
