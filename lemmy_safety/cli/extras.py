"""Says which extra to install, before a command that needs one begins its work."""

from __future__ import annotations

from importlib.util import find_spec

from lemmy_safety.errors import MissingExtra

_WEB = ("fastapi", "httpx", "prometheus_client", "python_multipart", "uvicorn")


def require_web(needed_for: str) -> None:
    """:raises MissingExtra: a package of the extra ``web`` is not installed."""
    missing = [name for name in _WEB if find_spec(name) is None]
    if missing:
        raise MissingExtra("web", needed_for=needed_for, cause=f"missing: {', '.join(missing)}")
