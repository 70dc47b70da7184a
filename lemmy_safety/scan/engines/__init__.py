"""Where objects become results: fetch, decode and judge run behind one interface, so that they can run elsewhere."""

from lemmy_safety.scan.engines.base import Engine, EnginePass
from lemmy_safety.scan.engines.threads import EngineLimits, ThreadsEngine

__all__ = ["Engine", "EngineLimits", "EnginePass", "ThreadsEngine"]
