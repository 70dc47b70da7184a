"""Makes the test suite's generators importable (``from support... import``) for a program in this folder.

Import it before any of them; it does nothing else.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
