"""The OpenAPI document is true: generated requests against the running service find no difference."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.web.hook import running_hook
from support.web.pictrs_client import get

from lemmy_safety.access.rules import Access

SECRET = "an-example-of-a-secret"


def test_document_is_true(tmp_path):
    """schemathesis, with all of its checks, finds no failure: statuses, content types, methods, faulty data, access."""
    with running_hook(tmp_path, access=Access(secrets=[SECRET])) as hook:
        ran = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "--no-color",
                "run",
                f"http://127.0.0.1:{hook.port}/openapi.json",
                "--checks=all",
                "--max-examples=3",
                "--seed=1",
                "--generation-database=none",
                f"--header=X-Api-Key:{SECRET}",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "No issues found" in ran.stdout


def test_document_asks_for_a_secret_only_where_one_is_set(tmp_path):
    """Without a secret the document has no security; nothing of it comes from another server."""
    with running_hook(tmp_path) as hook:
        document = json.loads(get(hook.port, "/openapi.json").body)
        assert get(hook.port, "/docs").status == 404
    assert "securitySchemes" not in document.get("components", {})
    assert set(document["paths"]) == {
        "/validate",
        "/validate/{secret}",
        "/api/v1/scan/{id}",
        "/health",
        "/ready",
        "/metrics",
    }
    assert "422" not in document["paths"]["/validate/{secret}"]["post"]["responses"]
