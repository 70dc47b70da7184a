"""Makes a release in ``dist/``: wheel, source archive, image archive, bill of materials, what a user copies, checksums.

``make release`` runs it; docs/releasing.md describes it. It refuses a commit that is not ready, with one line that says why.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"

#: The extras without torch: some 100 MB instead of some GB.
SMALL_EXTRAS = "nudenet,heic,jxl,web,postgres"

#: What an installation in a container needs besides the image; an installed package prints its own env_example.
COPIED = ("docker-compose.yml", "env_example")


def version_of(tree: Path) -> str:
    """The version that the package names.

    :raises ValueError: it names none.
    """
    text = (tree / "lemmy_safety" / "__init__.py").read_text(encoding="utf-8")
    if found := re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE):
        return found[1]
    raise ValueError("lemmy_safety/__init__.py has no __version__.")


def not_ready(tree: Path, tag: str | None = None) -> str | None:
    """Why the tree cannot be released, as one line with the fix; None if it can.

    :param tag: the tag that is being published; without one the commit may still be untagged.
    """
    if not (tree / ".git").exists():
        return "this is not a git repository. Release from a clone, so that each release belongs to a commit."
    if changed := _git(tree, "status", "--porcelain").splitlines():
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return f"the tree has changes that are not committed: {changed[0][3:]}{others}. Commit them or undo them."
    version = version_of(tree)
    return _unready_changelog(tree, version) or _wrong_tag(tree, version, tag)


def _unready_changelog(tree: Path, version: str) -> str | None:
    text = (tree / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(rf"^## \[{re.escape(version)}\](.*)$", text, re.MULTILINE)
    wanted = f"## [{version}] - YYYY-MM-DD"
    if heading is None:
        return f"CHANGELOG.md has no section for {version}, the package's version. Write one: {wanted}"
    if not re.fullmatch(r" - \d{4}-\d\d-\d\d", heading[1]):
        return f'CHANGELOG.md gives {version} no date: "{heading[0]}". Write it: {wanted}'
    return None


def _wrong_tag(tree: Path, version: str, tag: str | None) -> str | None:
    right = f"v{version}"
    here = [name for name in _git(tree, "tag", "--points-at", "HEAD").splitlines() if re.match(r"v\d", name)]
    if wrong := [name for name in {*here, *([tag] if tag else [])} if name != right]:
        return (
            f"the tag is {wrong[0]} and the package's version is {version}. Use the tag {right}, or change __version__."
        )
    if tag and tag not in here:
        return f"the tag {tag} does not point to this commit. Check out the tag: git checkout {tag}"
    if not here and _git(tree, "tag", "--list", right):
        return f"{right} is the tag of another commit. Change __version__ in lemmy_safety/__init__.py."
    return None


def _git(tree: Path, *args: str) -> str:
    return subprocess.run(  # noqa: S603
        ["git", "-C", str(tree), *args],  # noqa: S607
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    ).stdout


def readme(version: str) -> str:
    """What a person reads who has only the files of the release."""
    return (SCRIPTS / "release_readme.md").read_text(encoding="utf-8").replace("{version}", version)


def checksums(folder: Path) -> str:
    """One line for each file, as ``sha256sum --check`` reads them."""
    lines = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    return "".join(lines)


class Steps:
    """Says what is done, and how long it took."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def done(self, what: str) -> None:
        now = time.monotonic()
        print(f"--- release: {what:<18} {now - self._started:4.0f} s", flush=True)
        self._started = now


def make(dist: Path, *, image: bool) -> None:
    """Fill the folder, which is emptied before."""
    version = version_of(ROOT)
    # hatchling, cyclonedx and pip take it as the time of what they write: the same commit gives the same files.
    os.environ["SOURCE_DATE_EPOCH"] = _git(ROOT, "log", "-1", "--format=%ct").strip()
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    steps = Steps()
    _run(sys.executable, "-m", "build", "--quiet", "--installer", "uv", "--outdir", dist, ROOT)
    steps.done("wheel and source")
    (wheel,) = dist.glob("*.whl")
    with tempfile.TemporaryDirectory(prefix="lemmy-safety-release-") as scratch:
        environment = Path(scratch) / "environment"
        _run(sys.executable, "-m", "uv", "venv", "--quiet", environment)
        python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        _run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python, f"{wheel}[{SMALL_EXTRAS}]")
        steps.done("installation")
        printed = _run(python, "-m", "lemmy_safety", "env-example", cwd=scratch, stdout=subprocess.PIPE).stdout
        if printed.decode().splitlines() != (ROOT / "env_example").read_text(encoding="utf-8").splitlines():
            raise RuntimeError("The installed wheel does not print the committed env_example.")
        _run(sys.executable, SCRIPTS / "bill_of_materials.py", environment, dist / f"lemmy-safety-{version}.cdx.json")
        steps.done("bill of materials")
    if image:
        archive = dist / f"lemmy-safety-{version}-image.tar.zst"
        _run("bash", SCRIPTS / "build_image.sh", version, archive, env=os.environ | {"EXTRAS": SMALL_EXTRAS})
        steps.done("image")
    for name in COPIED:
        shutil.copy(ROOT / name, dist / name)
    (dist / "README.md").write_text(readme(version), encoding="utf-8", newline="\n")
    sums = checksums(dist)
    (dist / "SHA256SUMS").write_text(sums, encoding="utf-8", newline="\n")
    steps.done("checksums")
    for path in sorted(dist.iterdir()):
        print(f"{path.stat().st_size:>12,} {path.name}")


def _run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(word) for word in command], check=True, **options)  # type: ignore[call-overload,no-any-return]  # noqa: S603


def main() -> None:
    parser = argparse.ArgumentParser(prog="make release", description="Make a release in dist/.")
    parser.add_argument(
        "--tag",
        default=os.environ.get("RELEASE_TAG"),
        help="The tag that is being published: it must be this commit's and this version's. [env: RELEASE_TAG]",
    )
    parser.add_argument("--without-image", action="store_true", help="Make no image archive.")
    arguments = parser.parse_args()
    if reason := not_ready(ROOT, arguments.tag):
        sys.exit(f"make release: {reason}")
    make(ROOT / "dist", image=not arguments.without_image)


if __name__ == "__main__":
    main()
