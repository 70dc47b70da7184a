"""Reports which extra to install before a command that needs it starts work."""

from __future__ import annotations

import importlib

from lemmy_safety.errors import MissingExtra
from lemmy_safety.packages import imported, is_recorded, is_there

_WEB = ("fastapi", "httpx", "prometheus_client", "python_multipart", "uvicorn")


def require_web(needed_for: str) -> None:
    """:raises MissingExtra: a package of the extra ``web`` is not installed, or only in part."""
    missing = [name for name in _WEB if not is_there(name)]
    if missing:
        damaged = any(is_recorded(name) for name in missing)
        raise MissingExtra("web", needed_for=needed_for, cause=f"missing: {', '.join(missing)}", damaged=damaged)
    with imported(*_WEB, extra="web", needed_for=needed_for):
        for name in _WEB:
            importlib.import_module(name)
