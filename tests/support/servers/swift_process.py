"""A whole OpenStack Swift with its S3 API in one process: run as a script by ``support.servers.swift``, never imported.

    python swift_process.py ROOT PORT

Account, container, object and proxy server run as green threads beside each other, all on 127.0.0.1; only the proxy's
port is given, so a second start on the same ROOT serves the same data at the same address. Prints READY. When
its standard input ends, the tests have ended without stopping it: it removes ROOT and ends. Every request to the proxy
is appended to ROOT/requests as a JSON line [method, path with query] before it is answered.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

import eventlet
import eventlet.hubs
import eventlet.wsgi
from swift.common.utils import monkey_patch, set_swift_dir

monkey_patch()

from swift.common.ring import RingBuilder  # noqa: E402 - after the patch, as in Swift's own servers
from swift.common.wsgi import SwiftHttpProtocol, loadapp  # noqa: E402

_FILTERS = {
    "catch_errors": "",
    "gatekeeper": "",
    # Nothing listens on that port: without a memcached, Swift asks its own servers each time.
    "cache": "memcache_servers = 127.0.0.1:1",
    "listing_formats": "",
    "bulk": "",
    "s3api": "s3_acl = true\nlocation = us-east-1\nmax_bucket_listing = 1000",
    "tempauth": "user_test_tester = testing .admin\nuser_test_reader = reading",
    "slo": "",
    "dlo": "",
    "versioned_writes": "allow_versioned_writes = true\nallow_object_versioning = true",
    "symlink": "",
}


def _configure(root: Path, sockets: dict[str, object]) -> Path:
    etc, devices = root / "etc", root / "node"
    for folder in (etc, devices / "d1", root / "cache"):
        folder.mkdir(parents=True, exist_ok=True)
    common = (
        f"[DEFAULT]\nuser = {getpass.getuser()}\nswift_dir = {etc}\ndevices = {devices}\nmount_check = false\n"
        f"disable_fallocate = true\nrecon_cache_path = {root}/cache\nlog_level = ERROR\n"
    )
    (etc / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_prefix = p\nswift_hash_path_suffix = s\n"
        "[storage-policy:0]\nname = default\ndefault = yes\n"
    )
    for kind in ("object", "container", "account"):
        (etc / f"{kind}-server.conf").write_text(
            f"{common}[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n"
            "allow_versions = true\n"
        )
        builder = RingBuilder(4, 1, 1)
        port = sockets[kind].getsockname()[1]
        builder.add_dev(
            {
                "region": 1, "zone": 1, "weight": 1, "device": "d1", "meta": "",
                "ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port,
            }
        )  # fmt: skip
        builder.rebalance()
        builder.get_ring().save(str(etc / f"{kind}.ring.gz"))
    filters = "".join(
        f"[filter:{name}]\nuse = egg:swift#{'memcache' if name == 'cache' else name}\n{options}\n"
        for name, options in _FILTERS.items()
    )
    (etc / "proxy-server.conf").write_text(
        f"{common}[pipeline:main]\npipeline = {' '.join(_FILTERS)} proxy-server\n[app:proxy-server]\n"
        f"use = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true\n{filters}"
    )
    return etc


def _logged(app, log):
    def answer(environ, start_response):
        path = unquote(environ.get("RAW_PATH_INFO", environ["PATH_INFO"]))
        query = environ.get("QUERY_STRING", "")
        log.write(json.dumps([environ["REQUEST_METHOD"], f"{path}?{query}" if query else path]) + "\n")
        log.flush()
        return app(environ, start_response)

    return answer


def main() -> None:
    root, proxy_port = Path(sys.argv[1]), int(sys.argv[2])
    sockets = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in ("account", "container", "object")}
    sockets["proxy"] = eventlet.listen(("127.0.0.1", proxy_port))
    etc = _configure(root, sockets)
    set_swift_dir(str(etc))
    quiet = Path(os.devnull).open("w")  # noqa: SIM115 - open for the life of the process
    request_log = (root / "requests").open("a", encoding="utf-8")
    for kind, listener in sockets.items():
        app = loadapp(str(etc / f"{kind}-server.conf"))
        if kind == "proxy":
            app = _logged(app, request_log)
        eventlet.spawn(eventlet.wsgi.server, listener, app, log=quiet, protocol=SwiftHttpProtocol, max_size=64)
    sys.stdout.write("READY\n")
    sys.stdout.flush()
    while True:
        eventlet.hubs.trampoline(sys.stdin.fileno(), read=True)
        if not os.read(sys.stdin.fileno(), 1):
            shutil.rmtree(root, ignore_errors=True)
            os._exit(0)


if __name__ == "__main__":
    main()
