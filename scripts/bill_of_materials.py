"""Writes the bill of materials of an environment: every package with its version and licence, in CycloneDX's JSON.

``python scripts/bill_of_materials.py ENVIRONMENT FILE``; ``SOURCE_DATE_EPOCH`` is its time. Links to other places are left
out: the identifiers (``pkg:pypi/...``) name each package without them, and no path of this machine can be among them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from lemmy_safety import __version__

ROOT = Path(__file__).resolve().parent.parent
_SPECIFICATION = SchemaVersion.V1_6
_OPTIONS = (
    *("--pyproject", str(ROOT / "pyproject.toml")),
    *("--spec-version", _SPECIFICATION.to_version(), "--output-reproducible"),
    "--no-validate",  # done here, after the changes
)


def bill(environment: Path) -> str:
    """The bill of the packages that are installed in a virtual environment.

    :raises ValueError: cyclonedx-py failed, or what it made does not follow CycloneDX's schema.
    """
    made = subprocess.run(  # noqa: S603 - a program of our own environment
        [sys.executable, "-m", "cyclonedx_py", "environment", str(environment), *_OPTIONS],
        # Packages on this path would count as installed.
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,  # it warns of the validation that is left out
        encoding="utf-8",
        check=False,
    )
    if made.returncode:
        raise ValueError(f"cyclonedx-py ended with {made.returncode}: {made.stderr}")
    content = _without_links(json.loads(made.stdout))
    # pyproject.toml leaves the version to the package.
    content["metadata"]["component"]["version"] = __version__
    text = json.dumps(content, indent=2) + "\n"
    if fault := JsonStrictValidator(_SPECIFICATION).validate_str(text):
        raise ValueError(f"The bill of materials does not follow CycloneDX {_SPECIFICATION.to_version()}: {fault}")
    return text


def _without_links(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_links(inner) for name, inner in value.items() if name != "externalReferences"}
    return [_without_links(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(bill(Path(sys.argv[1])), encoding="utf-8", newline="\n")
