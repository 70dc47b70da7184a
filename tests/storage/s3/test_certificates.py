"""Files that variables name for boto3: what is wrong with them is not the server's fault."""

from __future__ import annotations

import pytest
from support.servers.proxying import refusing_proxy, set_proxies

from lemmy_safety.errors import LoginRefused, StorageError, StorageUnreachable
from lemmy_safety.storage.s3.client import connect
from lemmy_safety.storage.s3.errors import translated

PLACE = "bucket 'pictrs' at the server"


def ask(url: str) -> None:
    client = connect(url, login=("key", "secret", None), region="auto", addressing="path", connections=1, attempts=1)
    with translated(PLACE):
        client.list_objects_v2(Bucket="pictrs")


@pytest.fixture(autouse=True)
def _no_other_variables(monkeypatch, tmp_path):
    set_proxies(monkeypatch)
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_certificates_that_cannot_be_used_are_not_waited_for(monkeypatch, tmp_path, variable, content):
    """A file that is missing, is empty, or holds something else; it is told apart from a server without TLS."""
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    monkeypatch.setenv(variable, str(file))
    with refusing_proxy(503) as port, pytest.raises(StorageError, match="the file with certificates cannot") as caught:
        ask(f"https://127.0.0.1:{port}")
    assert not isinstance(caught.value, StorageUnreachable)
    assert variable in caught.value.hint


def test_certificates_that_the_aws_files_name_are_meant_too(tmp_path):
    """A folder is no file of certificates."""
    (tmp_path / "config").write_text(f"[default]\nca_bundle = {tmp_path}\n", encoding="utf-8")
    with refusing_proxy(503) as port, pytest.raises(StorageError, match="the file with certificates cannot") as caught:
        ask(f"https://127.0.0.1:{port}")
    assert "ca_bundle" in caught.value.hint


def test_a_server_without_tls_is_still_the_servers_fault():
    """It may be starting behind its own front."""
    with refusing_proxy(503) as port, pytest.raises(StorageUnreachable) as caught:
        ask(f"https://127.0.0.1:{port}")
    assert "does not speak TLS" in caught.value.hint


def test_a_profile_that_does_not_exist_is_told_by_its_variable(monkeypatch):
    """Also where the keys are set, as the profile is looked for all the same."""
    monkeypatch.setenv("AWS_PROFILE", "nope")
    with pytest.raises(LoginRefused) as caught:
        ask("https://s3.example.invalid")
    assert caught.value.hint == "Correct or unset AWS_PROFILE."
