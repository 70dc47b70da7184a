"""The lines that every measurement starts with: which machine, which versions, which options.

A number without them cannot be compared with another one. Host names and paths are never printed.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

import lemmy_safety

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIBRARIES = (
    "numpy", "pillow", "av", "pillow-heif", "pillow-jxl-plugin", "pdqhash", "torch", "open_clip_torch", "horde_safety",
    "openvino", "onnxruntime", "nudenet", "pebble",
)  # fmt: skip
_GIBI = 1024**3


def print_header(title: str, options: Mapping[str, Any]) -> None:
    """Print what ``title`` was measured on and with. ``options`` has the seed where there is one; no paths, no keys."""
    print(f"# {title}")
    print(f"machine:  {describe_machine()}")
    print(f"versions: {describe_versions()}")
    print(f"options:  {', '.join(f'{name}={value}' for name, value in options.items()) or 'none'}", flush=True)


def describe_machine() -> str:
    """Such as ``Intel Xeon, 2 cores (2 usable), 24 GiB, Linux 6.1 x86_64``."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().total / _GIBI
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"{_cpu_model()}, {os.cpu_count()} cores ({usable} usable), {memory:.0f} GiB, {system}"


def describe_versions() -> str:
    """Ours, Python's and those of the libraries that are installed."""
    found = [
        f"lemmy-safety {lemmy_safety.__version__}",
        f"{platform.python_implementation()} {platform.python_version()}",
    ]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _cpu_model() -> str:
    """The name that the system gives its processor; platform.processor() is empty on most Linux machines."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
