"""The settings table: precedence, ranges, unknown names, and secrets that stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.errors import SettingsError
from lemmy_safety.settings import ENV_FILE_NAME, OPTIONS, Option, choose_storage, load_settings
from lemmy_safety.settings.option import QUOTES
from lemmy_safety.wiring import build_storage


def texts_for(item: Option) -> st.SearchStrategy[str]:
    """Texts that an admin could write for this option."""
    if item.kind is bool:
        return st.sampled_from(["true", "false", "1", "0", "yes", "no", "on", "off", "TRUE", "No"])
    if item.kind is tuple:
        periods = ("22:00-07:00", "12:30-13:00") if item.name == "pause" else ()
        parts = st.sampled_from(item.choices or periods or ("10.0.0.0/8", "::1"))
        return st.lists(parts, min_size=1, unique=bool(periods)).map(",".join)
    if item.choices:
        return st.sampled_from(item.choices)
    if item.kind in (int, float):
        low, high = item.minimum or 0, item.maximum or 0
        whole = st.integers(int(low) if low == int(low) else int(low) + 1, int(high))
        return (whole if item.kind is int else whole | st.floats(low, high)).map(str)
    visible = st.text(
        st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"], exclude_characters="~"), min_size=1
    )
    # Blanks and quotation marks at the ends are refused; see test_env_file.py.
    return visible.map(lambda text: text.strip("".join(QUOTES) + " ")).filter(lambda text: text == text.strip() != "")


def as_text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


@given(data=st.data(), item=st.sampled_from(list(OPTIONS.values())))
def test_every_option_survives_the_way_through_text(data, item):
    """What an admin writes for an option is taken, and writing the taken value again gives the same value."""
    text = data.draw(texts_for(item))
    once = getattr(load_settings(environ={item.env[0]: text}), item.name)
    again = getattr(load_settings(environ={item.env[0]: as_text(once)}), item.name)
    assert isinstance(once, item.kind)
    assert once == again


@given(item=st.sampled_from(list(OPTIONS.values())), text=st.text(st.characters(exclude_categories=["C"]), max_size=20))
def test_an_option_takes_a_text_or_refuses_it_with_its_name(item, text):
    """No text makes an option fail with anything but our own error, which says which setting it was."""
    try:
        said = repr(load_settings(environ={item.env[0]: text}))
    except SettingsError as error:
        said = str(error)
    assert "Settings(" in said or item.env[0] in said


@pytest.mark.parametrize("item", [item for item in OPTIONS.values() if item.is_free_text], ids=lambda i: i.name)
def test_only_names_of_files_may_be_other_than_utf8(item):
    """Servers and libraries take UTF-8, and so do our own messages of a secret, which is not repeated."""
    odd = "srv/caf\udce9-of-someone"
    if item.kind is Path or item.name in {"files_directory", "prefix"}:
        assert str(getattr(load_settings(environ={item.env[0]: odd}), item.name)) == odd
        return
    with pytest.raises(SettingsError, match=f"{item.env[0]}: the value holds a byte that is not UTF-8") as caught:
        load_settings(environ={item.env[0]: odd})
    assert "someone" not in str(caught.value)


def test_a_proxy_with_a_password_of_other_bytes_is_no_bug(call):
    """It is not ours to refuse, and its password is hidden."""
    result = call("db", "upgrade", "--debug", env={"HTTPS_PROXY": "http://me:caf\udce9hunter2@proxy.example"})
    assert result.exit_code == 0, result.output
    assert "hunter2" not in result.output


@pytest.mark.parametrize("item", [item for item in OPTIONS.values() if item.kind is Path], ids=lambda i: i.name)
def test_a_path_of_a_user_that_there_is_not_is_refused(item):
    """The home of an account that does not exist: the message names the setting."""
    with pytest.raises(SettingsError, match=item.env[0]):
        load_settings(environ={item.env[0]: "~nobody-here/x"})


def test_so_is_the_folder_of_a_local_storage():
    """Which is a text, because it may be a folder on another machine."""
    settings = load_settings(environ={"PICTRS_FILES_DIRECTORY": "~nobody-here/x"})
    with pytest.raises(SettingsError, match=r"PICTRS_FILES_DIRECTORY.*~nobody-here"):
        build_storage(settings)


@pytest.mark.parametrize("item", OPTIONS.values(), ids=OPTIONS)
def test_each_name_of_an_option_works(item):
    """All names of an option lead to it, the ancestor's and those with our prefix."""
    free = item.example if item.refuse else "1"
    text = as_text(item.choices[-1] if item.choices else "true" if item.kind is bool else item.maximum or free or "1")
    text = text.removesuffix(".0")
    values = {getattr(load_settings(environ={name: text}), item.name) for name in item.env}
    assert len(values) == 1
    assert values != {item.default} or item.choices or item.default in values


@pytest.mark.parametrize("item", [item for item in OPTIONS.values() if item.kind in (int, float)], ids=lambda i: i.name)
def test_numbers_outside_their_range_are_refused_with_the_range(item):
    """A number below, above or beside the range is refused, and the message says what is allowed."""
    for text in (str(item.minimum - 1), str(item.maximum + 1), "x", "nan"):
        with pytest.raises(SettingsError) as caught:
            load_settings(environ={item.env[0]: text})
        assert item.allowed in str(caught.value)
        assert item.env[0] in str(caught.value)


def test_flags_win_over_environment_over_file_over_default(tmp_path):
    """Precedence is flag, environment, .env, default."""
    file = tmp_path / "settings.env"
    file.write_text("LEMMY_SAFETY_MINUTES=3\nLEMMY_SAFETY_THREADS=4\nSSH_PORT=2222\n", encoding="utf-8")
    environ = {"LEMMY_SAFETY_MINUTES": "5", "LEMMY_SAFETY_THREADS": "6"}
    settings = load_settings({"minutes": "7"}, environ=environ, env_file=file)
    assert (settings.minutes, settings.threads, settings.ssh_port) == (7, 6, 2222)
    assert settings.interval_s == OPTIONS["interval_s"].default


def test_empty_texts_count_as_unset(tmp_path):
    """An empty variable does not hide a value of a weaker source."""
    file = tmp_path / "settings.env"
    file.write_text("PICTRS_BUCKET=from-file\n", encoding="utf-8")
    assert load_settings(environ={"PICTRS_BUCKET": " "}, env_file=file).s3_bucket == "from-file"


@pytest.mark.parametrize("name", ["LEMMY_SAFETY_DRY_RUN", "LEMMY_SAFETY_ACTION"])
def test_a_brake_is_not_left_empty(tmp_path, name):
    """Its default deletes, and anyone who wrote the name may have meant a variable that is not set to hold that back."""
    file = tmp_path / "settings.env"
    file.write_text(f"SSH_PORT=22\n{name}=\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=rf"line 2: {name} has no value"):
        load_settings(environ={}, env_file=file)
    empty = tmp_path / "empty.env"
    empty.touch()
    for value in ("", " "):
        with pytest.raises(SettingsError, match=rf"^{name} has no value"):
            load_settings(environ={name: value}, env_file=empty)
    settings = load_settings({"dry_run": True, "action": "report"}, environ={name: ""}, env_file=file)
    assert (settings.dry_run, settings.action) == (True, "report")


def test_the_file_is_found_in_the_working_folder_or_named_by_the_environment(tmp_path):
    """``.env`` is read without being named; another file can be named by an environment variable."""
    (tmp_path / ".env").write_text("SSH_PORT=1111\n", encoding="utf-8")
    (tmp_path / "other.env").write_text("SSH_PORT=2222\n", encoding="utf-8")
    assert load_settings(environ={}).ssh_port == 1111
    assert load_settings(environ={ENV_FILE_NAME: str(tmp_path / "other.env")}).ssh_port == 2222


def test_a_named_file_must_exist(tmp_path):
    """A settings file that was named and is missing is an error, not an empty file."""
    with pytest.raises(SettingsError, match="does not exist"):
        load_settings(environ={}, env_file=tmp_path / "missing.env")


def test_an_unknown_name_with_our_prefix_is_refused_with_the_nearest_right_one():
    """A misspelt LEMMY_SAFETY_ name stops the start, and the message names what was probably meant."""
    with pytest.raises(SettingsError, match="Did you mean LEMMY_SAFETY_MINUTES"):
        load_settings(environ={"LEMMY_SAFETY_MINUETS": "5"})


def test_a_misspelt_name_in_the_file_is_refused_but_foreign_names_are_not(tmp_path):
    """The file may be shared with docker compose; only near misses of our names are refused in it."""
    file = tmp_path / "settings.env"
    file.write_text("POSTGRES_PASSWORD=x\nCOMPOSE_PROJECT_NAME=lemmy\n", encoding="utf-8")
    assert load_settings(environ={}, env_file=file) == load_settings(environ={})
    file.write_text("PICTRS_BUKCET=x\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="Did you mean PICTRS_BUCKET"):
        load_settings(environ={}, env_file=file)


@pytest.mark.parametrize("line", ["DRY_RUN=true", "dry_run=1", "ACTION=report", "PREFIX=a/", "LOOK_S=3"])
def test_a_name_in_the_file_is_not_overlooked_for_want_of_our_prefix(tmp_path, line):
    """Who writes DRY_RUN=true into the file means it; the name without our prefix is refused, unless the right one is there."""
    file = tmp_path / "settings.env"
    name, _, value = line.partition("=")
    file.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=f"{name} is not a setting. Did you mean LEMMY_SAFETY_{name.upper()}"):
        load_settings(environ={}, env_file=file)
    file.write_text(f"{line}\nLEMMY_SAFETY_{name.upper()}={value}\n", encoding="utf-8")
    assert load_settings(environ={}, env_file=file) != load_settings(environ={})
    file.write_text(f"{name}=\n", encoding="utf-8")
    assert load_settings(environ={}, env_file=file) == load_settings(environ={})


def test_in_the_environment_only_what_nobody_else_uses_is_taken_for_ours():
    """DRY_RUN is refused there too; ACTION and PREFIX are variables of many programs."""
    for name in ("DRY_RUN", "SKIP_UNREADABLE"):
        with pytest.raises(SettingsError, match=f"environment: {name} is not a setting"):
            load_settings(environ={name: "true"})
    assert load_settings(environ={"ACTION": "report", "PREFIX": "/usr"}) == load_settings(environ={})


def test_all_faults_are_told_at_once():
    """Three wrong settings give one error that names all three."""
    environ = {"LEMMY_SAFETY_MINUTES": "0", "LEMMY_SAFETY_THREADS": "x", "LEMMY_SAFETY_NOPE": "1"}
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=environ)
    assert all(name in str(caught.value) for name in environ)


@given(secret=st.text(st.characters(categories=["L", "N"]), min_size=6, max_size=30).map("q9".__add__))
def test_secrets_are_in_no_repr_and_no_message(secret):
    """The value of a secret setting appears neither in the settings' repr nor in an error about other settings."""
    secrets = {item.env[0]: secret for item in OPTIONS.values() if item.secret}
    assert len(secrets) >= 5
    assert secret not in repr(load_settings(environ=secrets))
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=secrets | {"LEMMY_SAFETY_MINUTES": "0"})
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        ({"OBJECT_STORAGE_ENDPOINT": "http://s3.example"}, "s3"),
        ({"SSH_HOSTNAME": "h", "SSH_USERNAME": "u", "PICTRS_FILES_DIRECTORY": "/files"}, "ssh"),
        ({"PICTRS_FILES_DIRECTORY": "/files"}, "local"),
    ],
)
def test_the_storage_is_inferred_from_what_is_filled_in(environ, kind):
    """One storage filled in needs no --storage."""
    assert choose_storage(load_settings(environ=environ)) == kind


def test_two_storages_and_none_chosen_is_refused():
    """With two storages filled in, both and --storage are named; with a choice it is taken."""
    environ = {"OBJECT_STORAGE_ENDPOINT": "http://s3.example", "PICTRS_FILES_DIRECTORY": "/files"}
    with pytest.raises(SettingsError) as caught:
        choose_storage(load_settings(environ=environ))
    assert all(word in str(caught.value) for word in ("s3", "local", "--storage"))
    assert choose_storage(load_settings({"storage": "local"}, environ=environ)) == "local"


def test_no_storage_says_what_is_missing_for_each_kind():
    """Without any settings the message lists what each kind needs, and the demo as a way to look around."""
    with pytest.raises(SettingsError) as caught:
        choose_storage(load_settings(environ={}))
    text = str(caught.value)
    assert all(name in text for name in ("OBJECT_STORAGE_ENDPOINT", "SSH_HOSTNAME", "PICTRS_FILES_DIRECTORY"))
    assert "lemmy-safety demo" in text
