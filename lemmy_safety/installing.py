"""How to add packages to this installation: with pip or, for our container image, by building it again.

The image is read-only and its user owns nothing in it, so a hint to run pip there would not help.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

#: The Dockerfile writes the image's extras here, separated by commas, in the folder of the environment (``sys.prefix``).
IMAGE_EXTRAS_FILE = "image-extras"


def extras_of_the_image() -> list[str] | None:
    """The extras that the container image was built with; None if this is not our image."""
    try:
        text = (Path(sys.prefix) / IMAGE_EXTRAS_FILE).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return [name for name in (part.strip() for part in text.split(",")) if name]


def how_to_install_extra(extra: str) -> str:
    """One sentence for a person: how to add the packages of one of our extras."""
    extras = extras_of_the_image()
    if extras is None:
        return f"Install them with: pip install 'lemmy-safety[{extra}]'"
    wanted = ",".join(dict.fromkeys([*extras, extra]))
    return f"Build the image again with them: docker compose build --build-arg EXTRAS={wanted}"


def how_to_install(package: str) -> str:
    """One sentence for a person: how to add a package that none of our extras has."""
    if extras_of_the_image() is None:
        return f"Install it with: pip install {shlex.quote(package)}"
    return (
        "Add it to the image with a Dockerfile of your own: FROM lemmy-safety, USER root, "
        f"RUN /usr/local/bin/python -m pip --python {sys.executable} install {shlex.quote(package)}, USER lemmy-safety"
    )


def how_to_install_again(package: str, *, alone: bool = False) -> str:
    """One sentence for a person: how to replace a damaged package; ``alone``: without its own dependencies."""
    if extras_of_the_image() is None:
        return f"Install it again: pip install --force-reinstall {'--no-deps ' if alone else ''}{shlex.quote(package)}"
    return "Build the image again from the start: docker compose build --no-cache"


def how_to_install_all_again(extra: str = "") -> str:
    """One sentence for a person: how to replace this program with all its dependencies, or with an extra's."""
    if extras_of_the_image() is None:
        wanted = f"'lemmy-safety[{extra}]'" if extra else "lemmy-safety"
        return f"Install them again: pip install --force-reinstall {wanted}"
    return "Build the image again from the start: docker compose build --no-cache"
