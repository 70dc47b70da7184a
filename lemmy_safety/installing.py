"""How to add packages to this installation: with pip, uv or pipx or, for our container image, by building it again.

The image is read-only and its user owns nothing in it, so a hint to run pip there would not help. An environment of
"uv tool" has no pip, and one of pipx is not on anyone's path.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

#: The Dockerfile writes the image's extras here, separated by commas, in the folder of the environment (``sys.prefix``).
IMAGE_EXTRAS_FILE = "image-extras"

#: An extra of gigabytes that is in the default settings and not in a release's image: how to do without it.
_WITHOUT = {"clip": " (to flag only what is on hash lists, without it: DETECTORS=hashes,nudenet)"}


def extras_of_the_image() -> list[str] | None:
    """The extras that the container image was built with; None if this is not our image."""
    try:
        text = (Path(sys.prefix) / IMAGE_EXTRAS_FILE).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return [name for name in (part.strip() for part in text.split(",")) if name]


def _install(arguments: str) -> str:
    """The command that adds packages to this environment, as its own tool spells it."""
    environment = Path(sys.prefix)
    if (environment / "uv-receipt.toml").is_file():
        return f"uv pip install --python {shlex.quote(str(environment))} {arguments}"
    if (environment / "pipx_metadata.json").is_file():
        return f"pipx runpip {shlex.quote(environment.name)} install {arguments}"
    return f"pip install {arguments}"


def how_to_install_extra(extra: str) -> str:
    """For a person: how to add the packages of one of our extras, or how to do without."""
    extras = extras_of_the_image()
    if extras is None:
        return "Install them with: " + _install(f"'lemmy-safety[{extra}]'") + _WITHOUT.get(extra, "")
    wanted = ",".join(dict.fromkeys([*extras, extra]))
    return (
        "Build the image again with them, in a clone or in a release's unpacked source: "
        f"docker compose build --build-arg EXTRAS={wanted}{_WITHOUT.get(extra, '')}"
    )


def how_to_install(package: str) -> str:
    """One sentence for a person: how to add a package that none of our extras has."""
    if extras_of_the_image() is None:
        return "Install it with: " + _install(shlex.quote(package))
    return (
        "Add it to the image with a Dockerfile of your own: FROM lemmy-safety, USER root, "
        f"RUN /usr/local/bin/python -m pip --python {sys.executable} install {shlex.quote(package)}, USER lemmy-safety"
    )


def how_to_install_again(package: str, *, alone: bool = False) -> str:
    """One sentence for a person: how to replace a damaged package; ``alone``: without its own dependencies."""
    if extras_of_the_image() is None:
        without_others = "--no-deps " if alone else ""
        return "Install it again: " + _install(f"--force-reinstall {without_others}{shlex.quote(package)}")
    return "Build the image again from the start: docker compose build --no-cache"


def how_to_install_all_again(extra: str = "") -> str:
    """One sentence for a person: how to replace this program with all its dependencies, or with an extra's."""
    if extras_of_the_image() is None:
        wanted = f"'lemmy-safety[{extra}]'" if extra else "lemmy-safety"
        return "Install them again: " + _install(f"--force-reinstall {wanted}")
    return "Build the image again from the start: docker compose build --no-cache"
