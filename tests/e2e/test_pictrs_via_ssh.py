"""The desktop at home: a real pict-rs and its PostgreSQL are reached through a real sshd, by the jail that docs describe."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from sqlalchemy import text
from support.admin import Admin, eventually, stop
from support.servers.base import free_port
from support.servers.pictrs_process import API_KEY, Pictrs, alias
from support.servers.pictrs_repos import DUMMY, pictrs_with
from support.servers.sshd import SshBackend, open_backend

from lemmy_safety import wiring
from lemmy_safety.cli.checks.pictrs import check_pictrs
from lemmy_safety.errors import PictrsUnreachable, SettingsError
from lemmy_safety.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.cli.checks.check import Check

pytestmark = pytest.mark.external_service


class Home:
    """A server with pict-rs, whose ports only the server itself can reach, and what the desktop knows of it."""

    def __init__(self, server: Pictrs, url: str | None, backend: SshBackend) -> None:
        self.server, self.backend = server, backend
        self.env = {
            **backend.settings(),
            "PICTRS_FILES_DIRECTORY": backend.seen_root,
            "LEMMY_SAFETY_DETECTORS": "hashes",
            "PICTRS_VIA_SSH": "true",
            "PICTRS_URL": f"http://127.0.0.1:{server.port}",
            "PICTRS_API_KEY": API_KEY,
        }
        if url:
            self.env["PICTRS_DATABASE_URL"] = url.replace("postgresql+psycopg", "postgres")

    def checks(self, **changes: str) -> dict[str, Check]:
        found = check_pictrs(load_settings(environ=self.env | changes), hook_in_use=False)
        return {check.name: check for check in found}


@pytest.fixture(scope="module", params=["0.5-sled", "0.5-postgres"])
def home(request, tmp_path_factory) -> Iterator[Home]:
    with pictrs_with(request.param, tmp_path_factory.mktemp("pictrs"), DUMMY) as (server, url):
        places = [f"127.0.0.1:{server.port}", *([url.rpartition("@")[2].partition("/")[0]] if url else [])]
        with open_backend("sftp", permit_open=places) as backend:
            home = Home(server, url, backend)
            # The jail shows pict-rs's own folder, as the bind mount in the docs does.
            backend.root.rmdir()
            server.files.rename(backend.root)
            server.files.symlink_to(backend.root)
            yield home


def test_doctor_and_picture_work_from_a_jail(home, tmp_path):
    """As the commands of an admin; the ports and keys are what doctor says they are."""
    name = alias(home.server.upload(b"a picture"))
    for path in (home.backend.root, *home.backend.root.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    admin = Admin(tmp_path, home.env)
    shown = admin.json("picture", name)
    assert [each["alias"] for each in shown["aliases"]] == [name]
    said = admin.run("doctor", "--quick").stdout
    assert f"http://127.0.0.1:{home.server.port} is pict-rs, and accepts PICTRS_API_KEY, through the SSH" in said
    assert "newest picture" in said
    if "PICTRS_DATABASE_URL" in home.env:
        assert "is pict-rs's, at schema 14" in said
        assert shown["variants"] == {}


def test_nothing_else_of_the_server_can_be_reached(home):
    """Not even another port of its loopback address, nor pict-rs by another name."""
    for url in (f"http://127.0.0.1:{free_port()}", f"http://localhost:{home.server.port}"):
        found = home.checks(PICTRS_URL=url)["interface"]
        assert (found.ok, found.exit_code) == (False, 89)
        assert "PermitOpen" in found.fix


def test_connections_that_break_are_made_again(home):
    """Of both interfaces, between two questions."""
    settings = load_settings(environ=home.env)
    with wiring.open_finder(settings) as finder, wiring.build_pictrs_api(settings) as api:
        for _ in range(3):
            assert finder.by_alias("none.png") is None
            api.check()
            home.backend.server.kill_sessions()


def test_a_pictrs_that_is_down_is_not_taken_for_a_fault_of_ssh(tmp_path):
    with pictrs_with("0.5-sled", tmp_path / "pictrs", DUMMY) as (server, url), open_backend("ssh") as backend:
        home = Home(server, url, backend)
        with wiring.build_pictrs_api(load_settings(environ=home.env)) as api:
            api.check()
            server.stop(gently=True)
            with pytest.raises(PictrsUnreachable, match="itself gets no connection"):
                api.purge("a.png")
            assert api.sent == 4  # nothing arrived, so it was safe to try again
            server.start()
            assert api.purge("a.png") is None


class Asked:
    """Where a command is on its way to pict-rs."""

    def __init__(self, service: socket.socket, process: psutil.Process, port: int) -> None:
        self._service, self._process, self._port = service, process, port
        service.settimeout(60)
        self._open = contextlib.ExitStack()
        self.close = self._open.close

    def login(self) -> bool:
        return any(each.raddr and each.raddr.port == self._port for each in self._process.net_connections())

    def answer(self) -> bool:
        return self._open.enter_context(self._service.accept()[0]).recv(4) == b"GET "


@pytest.mark.parametrize("moment", ["login", "answer"])
def test_sigterm_ends_a_command_that_waits_in_a_tunnel(tmp_path, moment):
    """Within five seconds: for an SSH server that does not answer, and for a pict-rs behind it that does not."""
    with socket.create_server(("127.0.0.1", 0)) as mute, open_backend("ssh") as backend:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        env = {**backend.settings(), "PICTRS_VIA_SSH": "true", "PICTRS_URL": url, "PICTRS_API_KEY": API_KEY}
        listening = backend.server.process
        if moment == "login":
            listening.suspend()
        try:
            command = Admin(tmp_path, env).start("picture", "none.png")
            with contextlib.closing(Asked(mute, psutil.Process(command.pid), backend.server.port)) as asked:
                eventually(getattr(asked, moment), "it connects", process=command)
                code, seconds = stop(command)
        finally:
            listening.resume()
        assert code != 0
        assert seconds < 5


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """For the name localhost, signed by itself; and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *names, "-out", made, "-keyout", key], check=True, capture_output=True)
    return made, key


def test_certificates_are_checked_against_the_name_in_the_url(certificate, monkeypatch):
    """Not against the tunnel's own address. What pict-rs gets is what it would get without a tunnel."""
    seen: list[tuple[str, str]] = []

    class Https(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Host"]))
            body = b'{"msg": "ok", "aliases": ["a.png"]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), Https) as service, open_backend("ssh") as backend:
        service.socket = context.wrap_socket(service.socket, server_side=True)
        thread = threading.Thread(target=service.serve_forever, daemon=True)
        thread.start()
        port = service.server_address[1]
        env = {**backend.settings(), "PICTRS_VIA_SSH": "true", "PICTRS_API_KEY": API_KEY}
        try:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
            monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # not on this way
            for host, accepted in (("localhost", True), ("127.0.0.1", False)):
                settings = load_settings(environ=env | {"PICTRS_URL": f"https://{host}:{port}/sub"})
                with wiring.build_pictrs_api(settings) as api:
                    if accepted:
                        assert api.aliases("a.png") == ("a.png",)
                    else:
                        with pytest.raises(PictrsUnreachable, match="certificate is not accepted"):
                            api.aliases("a.png")
        finally:
            service.shutdown()
            thread.join(20)
        assert seen == [("/sub/internal/aliases?alias=a.png", f"localhost:{port}")]


def test_the_database_s_certificate_is_checked_against_its_host(home, certificate, tmp_path):
    """``sslmode=verify-full`` means the same as without a tunnel."""
    if "PICTRS_DATABASE_URL" not in home.env:
        pytest.skip("it has no PostgreSQL database")
    url = home.env["PICTRS_DATABASE_URL"].replace("postgres:", "postgresql:")
    with psycopg.connect(url, autocommit=True) as owner:
        folder = Path(owner.execute("SHOW data_directory").fetchone()[0])
        for source, name in zip(certificate, ("server.crt", "server.key"), strict=True):
            shutil.copy(source, folder / name)
            (folder / name).chmod(0o600)
            shutil.chown(folder / name, folder.stat().st_uid)
        owner.execute("ALTER SYSTEM SET ssl = on")
        owner.execute("SELECT pg_reload_conf()")
        port = owner.info.port
    checked = f"?sslmode=verify-full&sslrootcert={certificate[0]}"
    with open_backend("ssh") as backend:
        for host, right in (("localhost", True), ("127.0.0.1", False)):
            named = url.replace("127.0.0.1", host) + checked
            env = home.env | backend.settings() | {"PICTRS_DATABASE_URL": named}
            with wiring.build_pictrs_repo(load_settings(environ=env)) as repo:
                if right:
                    with repo.reading() as connection:
                        told = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
                        assert connection.execute(text(told)).scalar_one() is True
                else:
                    with pytest.raises(PictrsUnreachable, match="does not match host name"), repo.reading():
                        pass
    assert port


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"SSH_HOSTNAME": ""}, "SSH_HOSTNAME is not"),
        ({"PICTRS_DATABASE_URL": "postgresql:///pictrs"}, "does not name one host"),
        ({"PICTRS_DATABASE_URL": "postgresql://me@/pictrs?host=/run/postgresql"}, "does not name one host"),
        ({"PICTRS_DATABASE_URL": "postgresql://me@one,two/pictrs"}, "does not name one host"),
        ({"PICTRS_URL": "pictrs:8080", "PICTRS_DATABASE_URL": ""}, "is not the address of a server"),
    ],
)
def test_settings_that_a_tunnel_cannot_fulfil_are_refused(change, words):
    env = {
        "PICTRS_VIA_SSH": "true",
        "SSH_HOSTNAME": "lemmy.example.com",
        "SSH_USERNAME": "me",
        "SSH_CONFIG": "none",
        "PICTRS_URL": "http://127.0.0.1:8080",
        "PICTRS_API_KEY": API_KEY,
        "PICTRS_DATABASE_URL": "postgresql://me@127.0.0.1/pictrs",
    }
    with pytest.raises(SettingsError, match=words) as caught, wiring.open_finder(load_settings(environ=env | change)):
        pass
    assert caught.value.hint
