"""OpenSSH's config file is read as ssh reads it, and what is wrong in it is said with file and line."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples

from lemmy_safety.errors import SettingsError
from lemmy_safety.storage.ssh import match_exec
from lemmy_safety.storage.ssh.route import SshRoute
from lemmy_safety.storage.ssh.ssh_config import SshConfig, SshHost, read_ssh_config

#: ``Match exec`` runs a command.
STARTS = pytest.mark.process


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    return folder


def looked_up(tmp_path: Path, text: str, name: str = "pictures", **settings) -> SshHost:
    path = tmp_path / "config"
    path.write_text(text, encoding="utf-8")
    return read_ssh_config(path, os.environ.get).lookup(name, **settings)


def test_without_a_file_a_name_is_an_address() -> None:
    """Nothing changes for those who have none."""
    assert read_ssh_config(None).lookup("example.org", username="me") == SshHost(
        name="example.org", address="example.org", port=22, username="me"
    )


def test_the_default_file_is_read_where_it_exists(home: Path) -> None:
    """And can be left out."""
    file = home / ".ssh" / "config"
    file.write_text("Host pictures\n HostName example.org\n")
    file.chmod(0o600)
    assert read_ssh_config(None).lookup("pictures").address == "example.org"
    assert read_ssh_config(Path("none")).lookup("pictures").address == "pictures"


def test_a_default_file_that_others_can_change_is_refused(home: Path) -> None:
    """As ssh does: its lines can have programs run."""
    file = home / ".ssh" / "config"
    file.write_text("")
    file.chmod(0o622)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_ssh_config(None)


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    """And be a file."""
    for path in (tmp_path / "nothing", tmp_path / "nothing" / "below"):
        with pytest.raises(SettingsError, match="SSH_CONFIG: there is no file"):
            read_ssh_config(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_ssh_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Host pictures\n HostName h1\n", {"address": "h1"}),
        ("host=pictures\nhostname=h1\nport = 2222\n", {"address": "h1", "port": 2222}),
        ('Host "pictures"\n HostName "h1"\n', {"address": "h1"}),
        ("Host other pictures\n HostName %h.example.org\n", {"address": "pictures.example.org"}),
        ("Host * !pictures\n HostName h1\n", {"address": "pictures"}),
        ("Host pic*\n User u1\nHost *\n User u2\n Port 23\n", {"username": "u1", "port": 23}),
        ("Host PICTURES\n User u1\n", {"username": None}),
        ("Host pictures # mine\n User u1 # me\n", {"username": "u1"}),
        ("# Host pictures\n\n\tHost\tpictures\r\n\tUser\tu1\r\n", {"username": "u1"}),
        ("\ufeffHost pictures\n User u1\n", {"username": "u1"}),
        ("Match host pictures\n User u1\n", {"username": "u1"}),
        pytest.param("Match originalhost pictures exec true\n User u1\n", {"username": "u1"}, marks=STARTS),
        pytest.param("Match host pictures exec false\n User u1\n", {"username": None}, marks=STARTS),
        ("Match all\n User u1\n", {"username": "u1"}),
        ("Match localnetwork 10.0.0.0/8\n User u1\nMatch tagged x\n User u2\n", {"username": None}),
        ("Host pictures\n IdentitiesOnly yes\n", {"identities_only": True}),
        ("Host pictures\n HostKeyAlias k\n", {"host_key_alias": "k"}),
        ("Host pictures\n IdentityFile /a/%h\n IdentityFile none\n", {"identity_files": (Path("/a/pictures"),)}),
        ('Host pictures\n UserKnownHostsFile /a "/b c"\n', {"known_hosts": (Path("/a"), Path("/b c"))}),
        (
            "Host pictures\n CertificateFile /a/%r-%n-%p%%\n User u\n",
            {"certificate_files": (Path("/a/u-pictures-22%"),)},
        ),
        ("Host pictures\n ProxyJump a,b@c:22\n", {"jumps": ("a", "b@c:22")}),
        ("Host pictures\n ProxyJump none\nHost *\n ProxyJump a\n", {"jumps": ()}),
        ("Host pictures\n ProxyCommand none\nHost *\n ProxyJump a\n", {"jumps": (), "proxy_command": None}),
        (
            "Host pictures\n ProxyCommand nc %h %p # %%\n ProxyJump a\n",
            {"jumps": (), "proxy_command": "nc pictures 22 # %"},
        ),
        ("Host pictures\n ProxyJump a\n ProxyCommand nc %h %p\n", {"jumps": ("a",), "proxy_command": None}),
        ("Host pictures\n ProxyCommand ssh -W [%h]:%p ~/x a~b\n", {"proxy_command": "ssh -W [pictures]:22 ~/x a~b"}),
        ("Host pictures\n ForwardAgent yes\n StrictHostKeyChecking no\n Unheard of\n", {"known_hosts": ()}),
    ],
)
def test_blocks_are_read_as_ssh_reads_them(tmp_path: Path, text: str, wanted: dict[str, object]) -> None:
    """Patterns, order, quotes, comments and tokens."""
    found = looked_up(tmp_path, text)
    assert {name: getattr(found, name) for name in wanted} == wanted


@STARTS
def test_the_command_of_a_match_knows_what_stands_above_it(tmp_path: Path) -> None:
    """Host, port and user are filled in; a block whose other criteria fail runs nothing; ``!exec`` turns it round."""
    ran = tmp_path / "ran"
    text = (
        f"Host pictures\n HostName h1\n Port 23\n User u1\n"
        f"Match host other exec 'touch {ran}'\n HostKeyAlias wrong\n"
        "Match host h1 !exec 'test %h-%p-%r-%n != h1-23-u1-pictures'\n HostKeyAlias right\n"
    )
    assert looked_up(tmp_path, text).host_key_alias == "right"
    assert not ran.exists()


@STARTS
def test_a_command_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its line, not with a standstill at the start."""
    monkeypatch.setattr(match_exec, "_TIMEOUT_S", 0.2)
    with pytest.raises(SettingsError, match="did not end"):
        looked_up(tmp_path, "Match exec 'sleep 60'\n Port 1\n")


def test_a_tilde_is_the_home_folder(tmp_path: Path, home: Path) -> None:
    """In the names of files."""
    found = looked_up(tmp_path, "IdentityFile ~/.ssh/key\nUserKnownHostsFile %d/known\n")
    assert found.identity_files == (home / ".ssh" / "key",)
    assert found.known_hosts == (home / "known",)


def test_included_files_are_read_in_their_place(tmp_path: Path, home: Path) -> None:
    """Relative to ~/.ssh, by patterns, within each other, and without ending the block they stand in."""
    folder = home / ".ssh" / "config.d"
    folder.mkdir()
    (folder / "1").write_text("Host pictures\n User u1\n Include more\n")
    (home / ".ssh" / "more").write_text("HostName h1\n")
    (folder / "2").write_text("Host pictures\n User u2\n Port 2222\n")
    found = looked_up(tmp_path, "Include nothing config.d/*\nPort 23\n")
    assert (found.username, found.address, found.port) == ("u1", "h1", 2222)
    inside = looked_up(tmp_path, "Host other\n Include config.d/1\n Port 23\n")
    assert inside.port == 22


def test_settings_count_before_the_file(tmp_path: Path) -> None:
    """As options of ssh's command line do, for Match too."""
    text = "Match user me\n Port 2222\nHost pictures\n User u1\n"
    assert looked_up(tmp_path, text).username == "u1"
    found = looked_up(tmp_path, text, username="me")
    assert (found.username, found.port) == ("me", 2222)
    assert looked_up(tmp_path, text, username="me", port=24).port == 24


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("Host pictures\n\n Port\n", 3, "makes no sense"),
        ("Port 0\n", 1, "Port '0'"),
        ("Host pictures\n Port ssh\n", 2, "Port 'ssh'"),
        ("Port 65536\n", 1, "Port '65536'"),
        ("Host pictures\n User u\n Host 'x\n", 3, "makes no sense"),
        ("Match host\n", 1, "makes no sense"),
        ("Match host 'x\n", 1, "makes no sense"),
        ("\n\nMatch all host pictures\n", 3, "makes no sense"),
        ("Host pictures\n ProxyJump a,,b\n", 2, "empty part"),
        ("Host pictures\n ProxyCommand nc %x %p\n", 2, "'%x'"),
        ("Host pictures\n IdentityFile ~no-such-user/x\n", 2, "no account 'no-such-user'"),
        ("Host pictures\n HostName $(id)\n", 2, "not a name that SSH can use"),
        ("Host pictures\n User -oProxyCommand=x\n", 2, "not a name that SSH can use"),
        ("CanonicalizeHostname yes\n", 1, "CanonicalDomains"),
        ("Include 'x\n", 1, "Close the quotes"),
        ("Include config\n", 1, "include each other"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, home: Path, text: str, line: int, said: str) -> None:
    """File, line, and what is wrong with it, in one line."""
    (home / ".ssh" / "config").write_text("Include config\n")
    with pytest.raises(SettingsError) as caught:
        looked_up(tmp_path, text)
    assert f"config, line {line}" in caught.value.message
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    """With the line that is not."""
    (tmp_path / "config").write_bytes(b"Host a\nHost \xff\xfe\n")
    with pytest.raises(SettingsError, match="line 2: not UTF-8"):
        read_ssh_config(tmp_path / "config")


@pytest.mark.parametrize(
    "name", ["", "-oProxyCommand=x", "a b", "a;b", "$(id)", "a`b", "a|b", "a'b", "a\nb", "a&b", "a>b"]
)
def test_names_that_mean_something_to_a_shell_are_refused(tmp_path: Path, name: str) -> None:
    """They end up in the command lines of the file."""
    text = "Host *\n ProxyCommand nc %h %p\n"
    for how in ({"name": name}, {"username": name}):
        if name or "name" in how:
            with pytest.raises(SettingsError, match="not a name that SSH can use"):
                looked_up(tmp_path, text, **{"name": "pictures", **how})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("me@server", "SSH_USERNAME"),
        ("server:22", "SSH_PORT"),
        ("ssh://server", "ssh://"),
        ("[::1]", "brackets"),
        ("b..a.example", "1 to 63"),
        ("a" * 80, "1 to 63"),
    ],
)
def test_what_can_be_no_host_is_a_fault_of_the_settings(tmp_path: Path, name: str, said: str) -> None:
    """With or without a config file, and in that file as well; no name service is asked."""
    for ask in (
        lambda: SshConfig().lookup(name),
        lambda: looked_up(tmp_path, "Host other\n User u\n", name=name),
        lambda: looked_up(tmp_path, f"Host pictures\n HostName {name}\n", name="pictures"),
    ):
        with pytest.raises(SettingsError) as caught:
            ask()
        assert said in caught.value.hint


@pytest.mark.parametrize("name", ["::1", "fe80::1%eth0", "10.0.0.5", "my_server", "server.", "ümlaut.example"])
def test_other_names_of_hosts_are_left_to_the_name_service(name: str) -> None:
    """Also those that S3 clients refuse."""
    assert SshConfig().lookup(name).address == name


def route(config: SshConfig) -> SshRoute:
    return SshRoute(config, private_key=None, passphrase=None, known_hosts=None, ask_passphrase=None)


@pytest.mark.parametrize("jump", ["u@", "@h", "h:0", "h:70000", "h:x", "[::1]:x", "[]", "h; id"])
def test_a_jump_host_that_makes_no_sense_is_named(tmp_path: Path, jump: str) -> None:
    """In one line, with the right form."""
    (tmp_path / "config").write_text(f"Host pictures\n User u\n ProxyJump {jump}\n")
    config = read_ssh_config(tmp_path / "config")
    with pytest.raises(SettingsError, match=r"cannot be understood|not a name that SSH can use"):
        route(config).login(config.lookup("pictures"))


@pytest.mark.parametrize(
    ("jump", "where"),
    [
        ("h", "{me}@h:22"),
        ("u@h", "u@h:22"),
        ("h:2222", "{me}@h:2222"),
        ("ssh://u@h:2222", "u@h:2222"),
        ("u@[::1]:23", "u@::1:23"),
        ("::1", "{me}@::1:22"),
        ("u@dom@h", "u@dom@h:22"),
    ],
)
def test_jump_hosts_are_written_as_for_ssh(tmp_path: Path, jump: str, where: str) -> None:
    """User, port, brackets and URLs; a user who is not named is the one who runs this."""
    (tmp_path / "config").write_text(f"Host pictures\n User u\n ProxyJump {jump}\n")
    config = read_ssh_config(tmp_path / "config")
    shown = route(config).login(config.lookup("pictures")).way.shown
    assert shown == "through " + where.format(me=getpass.getuser())


def test_a_server_without_a_user_name_is_refused() -> None:
    """It is the settings or the config file that must say it."""
    with pytest.raises(SettingsError, match="SSH_USERNAME"):
        route(SshConfig()).login(SshConfig().lookup("pictures"))


_WORDS = st.sampled_from(
    ["pictures", "other", "*", "pic*", "!pictures", "p?ctures", "u1", "h1.example.org", "2222", "22"]
)
_LINES = st.lists(
    st.one_of(
        st.builds("Host {}".format, st.lists(_WORDS, min_size=1, max_size=3).map(" ".join)),
        st.builds("Match host {}".format, _WORDS.filter(lambda word: not word.startswith("!"))),
        st.builds("  User {}".format, st.sampled_from(["u1", "u2"])),
        st.builds("  Port {}".format, st.sampled_from(["22", "2222"])),
        st.builds("  HostName {}".format, st.sampled_from(["h1", "h2.example.org"])),
        st.builds("  ProxyJump {}".format, st.sampled_from(["none", "a", "a,b"])),
        st.just("# comment"),
        st.just(""),
    ),
    max_size=8,
)


@pytest.mark.external_service
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=_LINES)
def test_it_says_the_same_as_ssh(tmp_path: Path, lines: list[str]) -> None:
    """``ssh -G`` prints what OpenSSH itself makes of a file."""
    if shutil.which("ssh") is None:
        pytest.skip("OpenSSH's client is not installed: ITS CONFIG FILE IS NOT COMPARED")
    path = tmp_path / "config"
    path.write_text("\n".join(lines) + "\n")
    shown = subprocess.run(["ssh", "-F", path, "-G", "pictures"], check=True, capture_output=True, text=True).stdout
    theirs = dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)
    ours = read_ssh_config(path).lookup("pictures")
    assert ours.address == theirs["hostname"]
    assert str(ours.port) == theirs["port"]
    assert (ours.username or getpass.getuser()) == theirs["user"]
    assert ",".join(ours.jumps) == theirs.get("proxyjump", "").replace("none", "")


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=80)
    | st.lists(
        st.sampled_from(["Host ", "Match ", "x", '"', "'", "%", "~", "\n", " ", "=", "Port ", "!"]), max_size=20
    ).map("".join)
)
def test_whatever_a_file_holds_it_is_read_or_one_clear_line(tmp_path: Path, text: str) -> None:
    """No exception of paramiko or of Python comes out."""
    said = ""
    try:
        host = looked_up(tmp_path, text.replace("exec", ""))
    except SettingsError as error:
        said = str(error)
    assert "config" in said if said else host.address


@pytest.mark.parametrize(
    "line", ["Match final all", "match FINAL All  ", "Match=final all", "Match final", "Match all"]
)
def test_all_may_follow_final(tmp_path: Path, line: str) -> None:
    """ssh_config(5) says so; config files of Fedora and its kin have such a block."""
    text = f"Host pictures\n HostName h1\n{line}\n User u1\n"
    assert looked_up(tmp_path, text).username == "u1"


@STARTS
@pytest.mark.parametrize(
    ("line", "applies"),
    [
        ("Match HOST other", False),
        ("Match Host h1", True),
        ("Match OriginalHost other", False),
        ("Match originalHOST pictures", True),
        ("Match !HOST h1", False),
        ("Match LocalUser no-such-user", False),
        ("Match CANONICAL", False),
        ("Match CANONICAL all", False),
        ("Match host h1 USER somebody-else", False),
        ('Match EXEC "exit 1"', False),
        ('Match Host h1 Exec "exit 0"', True),
    ],
)
def test_criteria_are_known_in_any_case(tmp_path: Path, line: str, applies: bool) -> None:
    """As ssh takes them: a block for another host must not lend this one its keys."""
    text = f"Host pictures\n HostName h1\n User u0\n{line}\n Port 2222\n"
    assert looked_up(tmp_path, text).port == (2222 if applies else 22)


def test_names_of_files_may_hold_environment_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """In ``${}``, as ssh takes them; one that is not set is said with its line."""
    monkeypatch.setenv("KEYS", str(home / "keys"))
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    lines = [
        "Host pictures",
        "IdentityFile ${KEYS}/%n",
        "CertificateFile ${KEYS}/c",
        "UserKnownHostsFile ${KEYS}/k ~/k",
    ]
    host = looked_up(tmp_path, "\n".join(lines))
    assert host.identity_files == (home / "keys" / "pictures",)
    assert host.certificate_files == (home / "keys" / "c",)
    assert host.known_hosts == (home / "keys" / "k", home / "k")
    assert looked_up(tmp_path, "IdentityFile /x/$KEYS").identity_files == (Path("/x/$KEYS"),)
    with pytest.raises(SettingsError, match=r"line 2: the environment variable NO_SUCH_VARIABLE is not set"):
        looked_up(tmp_path, "IdentityFile /x\nIdentityFile ${NO_SUCH_VARIABLE}/x\n")
    looked_up(tmp_path, "Host other\nIdentityFile ${NO_SUCH_VARIABLE}/x\n")


def test_a_folder_in_the_place_of_the_file_is_not_called_a_matter_of_permissions(tmp_path: Path) -> None:
    """No one should run chmod over it."""
    with pytest.raises(SettingsError) as caught:
        read_ssh_config(tmp_path)
    assert "permission" not in caught.value.hint
    assert "SSH_CONFIG" in caught.value.hint
