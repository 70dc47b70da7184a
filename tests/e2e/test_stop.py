"""A stop is over within five seconds, whatever the other side does."""

from __future__ import annotations

import socket
import sys

import pytest
from support.admin import Admin, stop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals to other processes are POSIX here")


@pytest.mark.parametrize(("args", "code"), [(("--all",), 130), ((), 0)])
@pytest.mark.parametrize("kind", ["s3", "ssh"])
def test_a_server_that_accepts_and_then_says_nothing_cannot_hold_up_a_stop(tmp_path, kind, args, code):
    """Connected, no answer, SIGTERM: the command ends in time all the same."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        silent.settimeout(60)
        settings = {
            "s3": {
                "OBJECT_STORAGE_ENDPOINT": f"http://{host}:{port}",
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
            },
            "ssh": {
                "SSH_HOSTNAME": host,
                "SSH_PORT": str(port),
                "SSH_USERNAME": "somebody",
                "PICTRS_FILES_DIRECTORY": "/files",
            },
        }[kind]
        admin = Admin(tmp_path, {"LEMMY_SAFETY_DETECTORS": "hashes", **settings})
        process = admin.start(*args)
        connection, _ = silent.accept()
        with connection:
            ended, seconds = stop(process)
    assert seconds < 5
    assert ended == code, admin.log()
