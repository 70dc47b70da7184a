"""The only place that turns settings into objects; it closes what it opened in reverse order.

Heavy rooms are imported only when needed, so that ``--help`` and commands without models stay fast.
"""

from lemmy_safety.wiring.acting import (
    build_action_plan,
    build_removed_hook,
    build_runner,
    open_repairer,
    open_runner,
)
from lemmy_safety.wiring.decoding import (
    decode_workers,
    max_bytes,
    media_limits,
    memory_bytes,
    start_decoder,
)
from lemmy_safety.wiring.detection import (
    build_detectors,
    build_policy,
)
from lemmy_safety.wiring.estimating import open_estimator
from lemmy_safety.wiring.folders import (
    cache_dir,
)
from lemmy_safety.wiring.ledger import (
    database_file,
    database_path,
    ledger_url,
    open_ledger,
    open_upload_ledger,
)
from lemmy_safety.wiring.pausing import build_pauses
from lemmy_safety.wiring.pictrs import build_pictrs_api, build_pictrs_repo, open_finder
from lemmy_safety.wiring.scanning import (
    engine_limits,
    open_inspector,
    open_scanner,
)
from lemmy_safety.wiring.serving import build_access, serve_hook, serve_relay, work_for_server
from lemmy_safety.wiring.storage import (
    build_storage,
)
from lemmy_safety.wiring.watching import open_daemon

__all__ = [
    "build_access",
    "build_action_plan",
    "build_detectors",
    "build_pauses",
    "build_pictrs_api",
    "build_pictrs_repo",
    "build_policy",
    "build_removed_hook",
    "build_runner",
    "build_storage",
    "cache_dir",
    "database_file",
    "database_path",
    "decode_workers",
    "engine_limits",
    "ledger_url",
    "max_bytes",
    "media_limits",
    "memory_bytes",
    "open_daemon",
    "open_estimator",
    "open_finder",
    "open_inspector",
    "open_ledger",
    "open_repairer",
    "open_runner",
    "open_scanner",
    "open_upload_ledger",
    "serve_hook",
    "serve_relay",
    "start_decoder",
    "work_for_server",
]
