"""A package or a folder that the clip detector needs is missing: the error names the way out."""

import pytest
from support.clip.detectors import in_new_process

# horde_safety deprecates its older rules at every call; the settings decide which ones are used.
pytestmark = pytest.mark.filterwarnings("ignore:check_for_csam is deprecated:DeprecationWarning")


@pytest.mark.parametrize("module", ["torch", "open_clip", "horde_safety", "safetensors"])
def test_a_missing_package_names_the_extra(module):
    """Without one of the packages the answer is which extra to install, not a traceback."""
    done = in_new_process(f"""
import sys
sys.modules[{module!r}] = None
from pathlib import Path
from lemmy_safety.detectors.clip.detector import ClipDetector
from lemmy_safety.detectors.clip.heads.horde.head import HordeHead
from lemmy_safety.detectors.clip.model import ClipModel
from lemmy_safety.errors import MissingExtra
detector = ClipDetector(ClipModel(name="ViT-L-14", device="cpu", cache_dir=Path("none")), [HordeHead()])
try:
    detector.open()
except MissingExtra as error:
    print(error)
""")
    assert "lemmy-safety[clip]" in done.stdout
    assert module in done.stdout


def test_a_home_that_cannot_be_written_is_named(tmp_path):
    """horde_safety creates a folder while it is imported; where it cannot, the error says which setting helps."""
    (tmp_path / "file").write_text("in the way")
    done = in_new_process(
        """
from lemmy_safety.errors import DetectorError
try:
    import lemmy_safety.detectors.clip.heads.horde.rules
except DetectorError as error:
    print(error)
""",
        HF_HOME=str(tmp_path / "file" / "below"),
    )
    assert "cannot create its folder" in done.stdout
    assert "HF_HOME" in done.stdout
