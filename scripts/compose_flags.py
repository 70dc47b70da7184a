"""Prints the flags of ``podman run`` that mean what a service of docker-compose.yml says, each ended by a zero byte.

``python scripts/compose_flags.py lemmy-safety``. A key that has no flag here is an error, so that the check of the image
cannot leave out what the file says.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent

#: What is not about how one container runs: where the image comes from, what docker does around it.
_ELSEWHERE = frozenset(
    {"build", "image", "env_file", "restart", "profiles", "depends_on", "networks", "ports", "command"}
)


def flags(service: dict[str, Any]) -> list[str]:
    """The flags, in podman's words.

    :raises SystemExit: the service has a key that has no flag here.
    """
    made: list[str] = []
    for key, value in service.items():
        if key in _ELSEWHERE:
            continue
        if key not in _FLAGS:
            sys.exit(f"compose_flags.py knows no flag for {key!r} of docker-compose.yml.")
        made += _FLAGS[key](value)
    return made


_FLAGS = {
    "init": lambda on: ["--init"] * on,
    "read_only": lambda on: ["--read-only", "--read-only-tmpfs=false"] * on,
    "tmpfs": lambda folders: [f"--tmpfs={folder}" for folder in folders],
    "cap_drop": lambda names: [f"--cap-drop={name}" for name in names],
    "security_opt": lambda items: [f"--security-opt={item.removesuffix(':true')}" for item in items],
    "ulimits": lambda limits: [f"--ulimit={name}={limit}:{limit}" for name, limit in limits.items()],
    "environment": lambda values: [f"--env={name}={value}" for name, value in values.items()],
    "volumes": lambda volumes: [f"--volume={volume}" for volume in volumes],
    "stop_grace_period": lambda period: [f"--stop-timeout={period.removesuffix('s')}"],
    # Run by hand: podman's own timer needs systemd.
    "healthcheck": lambda check: [f"--health-cmd={' '.join(check['test'][1:])}", "--health-interval=disable"],
}


if __name__ == "__main__":
    services = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    sys.stdout.write("".join(f"{flag}\0" for flag in flags(services[sys.argv[1]])))
