"""A secret in a place that is shown, such as the name of a file or of a host, is refused without being repeated."""

from __future__ import annotations

import subprocess

import pytest

from lemmy_safety.errors import SettingsError
from lemmy_safety.ledger.database.urls import parse_url

SSH = {"SSH_HOSTNAME": "127.0.0.1", "SSH_PORT": "9", "SSH_USERNAME": "pictrs", "PICTRS_FILES_DIRECTORY": "/files"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The text of a key in OpenSSH's form, and of one in the older form."""
    folder = tmp_path_factory.mktemp("keys")
    texts = []
    for name, form in (("new", []), ("old", ["-m", "PEM"])):
        options = ["-q", "-t", "rsa", "-b", "2048", *form, "-N", "", "-f", str(folder / name)]
        subprocess.run(["ssh-keygen", *options], check=True)
        texts.append((folder / name).read_text(encoding="ascii"))
    return texts


@pytest.mark.parametrize("args", [("--all", "--dry-run"), ("doctor", "--quick")], ids=" ".join)
@pytest.mark.parametrize("form", ["as it is", "on one line", "with written line ends", "without its frame"])
def test_a_key_in_the_place_of_its_file_is_not_shown(command, keys, tmp_path, args, form):
    """Container platforms and CI hand keys over as text, and people paste them."""
    for text in keys:
        body = "".join(text.splitlines()[1:-1])
        value = {
            "as it is": text,
            "on one line": text.replace("\n", ""),
            "with written line ends": text.replace("\n", "\\n"),
            "without its frame": body,
        }[form]
        env = SSH | {"SSH_PRIVKEY": value, "DETECTORS": "hashes", "SQLITE_FILENAME": str(tmp_path / "new.db")}
        process = command(*args, env=env)
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 3
        assert "SSH_PRIVKEY" in out + errors
        assert all(body[at : at + 16] not in out + errors for at in range(0, len(body) - 16, 16))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host=127.0.0.1 password=hunter2hunter2",
        "postgresql://127.0.0.1 user=u password=hunter2hunter2/x",
        "postgresql://127.0.0.1/x password=hunter2hunter2",
        "postgresql://password=hunter2hunter2/x",
    ],
)
def test_a_connection_string_of_libpq_is_no_url(url):
    """Its password would be taken for the name of a host or of a database, looked up, and shown."""
    with pytest.raises(SettingsError) as refused:
        parse_url(url)
    assert "hunter2" not in str(refused.value) + refused.value.hint
