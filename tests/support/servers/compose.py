"""docker-compose.yml read as docker compose would, where no docker engine is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[3]
COMPOSE_FILE = ROOT / "docker-compose.yml"

#: ${NAME}, ${NAME:-default}, ${NAME:?message}.
_VARIABLE = re.compile(r"\$\{(\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


def with_pictrs(text: str) -> str:
    """The file's text with the lines that show pict-rs beside it."""
    return "\n".join(line.replace("#:", "", 1) for line in text.splitlines())


def compose_with_pictrs() -> dict[str, Any]:
    return YAML(typ="safe").load(with_pictrs(COMPOSE_FILE.read_text(encoding="utf-8")))


def environment(service: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
    """A service's environment with variables filled in as compose does; KeyError where a needed one is missing."""

    def value(match: re.Match[str]) -> str:
        if match["kind"] == "-":
            return variables.get(match[1]) or match["rest"]
        return variables[match[1]]

    return {name: _VARIABLE.sub(value, str(text)) for name, text in service["environment"].items()}
