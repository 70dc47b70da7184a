"""Old processors are told of before anything heavy is imported. The cpuinfo is made up: no such processor runs here."""

from __future__ import annotations

import pytest

from lemmy_safety.cli import app as app_module
from lemmy_safety.cli.checks.processor import too_old

V2 = "fpu sse sse2 pni cx16 lahf_lm popcnt ssse3 sse4_1 sse4_2"


@pytest.mark.parametrize(
    ("flags", "machine", "named"),
    [
        (V2, "x86_64", ""),
        (V2.replace(" ssse3", ""), "x86_64", "ssse3"),
        ("fpu sse sse2 pni cx16 lahf_lm", "AMD64", "popcnt, ssse3, sse4_1, sse4_2"),
        ("fp asimd", "aarch64", ""),
        (None, "x86_64", ""),
    ],
)
def test_what_is_missing_is_named(tmp_path, flags, machine, named) -> None:
    """Only where the system says what the processor has."""
    file = tmp_path / "cpuinfo"
    file.write_text("processor : 0\n" + (f"flags\t\t: {flags}\n" if flags else ""), encoding="ascii")
    said = too_old(file, machine=machine)
    assert (said is None) == (not named)
    assert named in (said or "")


def test_a_system_without_cpuinfo_is_not_spoken_of(tmp_path) -> None:
    """Windows and macOS."""
    assert too_old(tmp_path / "none", machine="x86_64") is None


def test_the_warning_comes_before_the_command(call, monkeypatch) -> None:
    """And stops nothing."""
    monkeypatch.setattr(app_module, "too_old", lambda: "This processor lacks ssse3")
    result = call("canary", "-o", "c.png")
    assert result.exit_code == 0
    assert "warning: This processor lacks ssse3" in result.stderr
