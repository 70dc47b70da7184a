"""Runs a script that builds a server, in an empty folder, with a stand-in for the compiler: a real build takes minutes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"

_NEEDED = ("bash", "dirname", "sh", "mktemp", "rm", "mkdir", "touch", "chmod", "cat", "find", "mv")


class BuildScript:
    """``compiler`` is the stand-in's name and its text, a shell script that appends its arguments to ``$CALLS``."""

    def __init__(self, folder: Path, script: str, compiler: tuple[str, str]) -> None:
        self.builds = folder / "builds"
        self._folder = folder
        self._script = SCRIPTS / script
        self._name, self._text = compiler
        self._programs, self._calls, self._scratch = folder / "programs", folder / "calls", folder / "scratch"
        for made in (self._programs, self._scratch):
            made.mkdir()
        for name in _NEEDED:
            (self._programs / name).symlink_to(shutil.which(name))
        self._calls.touch()

    def __call__(self, *arguments: str, compiler: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        found = self._programs / self._name
        found.unlink(missing_ok=True)
        if compiler:
            found.write_text(self._text)
            found.chmod(0o755)
        done = subprocess.run(
            ["bash", self._script, *arguments],
            env={
                "PATH": str(self._programs),
                "HOME": str(self._folder),
                "SERVER_BUILDS": str(self.builds),
                "TMPDIR": str(self._scratch),
                "CALLS": str(self._calls),
                **more,
            },
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not list(self._scratch.iterdir()), "a build folder was left behind"
        return done

    def calls(self) -> list[str]:
        """The compiler's arguments so far, a line each call."""
        return self._calls.read_text().splitlines()


def default_version(script: str) -> str:
    """The version that a script builds when none is named."""
    text = (SCRIPTS / script).read_text(encoding="utf-8")
    return text.partition("version=${1:-")[2].partition("}")[0]
