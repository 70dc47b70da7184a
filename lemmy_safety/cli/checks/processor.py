"""Processors older than libraries are built for: those libraries crash the program silently (SIGILL)."""

from __future__ import annotations

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

#: What x86-64-v2 has beyond the original x86-64, by Linux's names: https://gitlab.com/x86-psABIs/x86-64-ABI (pni is
#: SSE3).
_V2 = ("cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2")


def too_old(cpuinfo: Path = _CPUINFO, *, machine: str = "") -> str | None:
    """A warning if this processor is below x86-64-v2; None if it is not, or if that is unknown.

    Not an error: older builds of numpy still run there.
    """
    if (machine or platform.machine()) not in ("x86_64", "AMD64"):
        return None
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), None)
    missing = [name for name in _V2 if flags is not None and name not in flags]
    if not missing:
        return None
    return (
        f"This processor lacks {', '.join(missing)} (x86-64-v2). If the program ends without a word (illegal instruction), "
        "that is why: in a virtual machine choose the CPU type 'host' or 'x86-64-v2'; else use another machine."
    )
