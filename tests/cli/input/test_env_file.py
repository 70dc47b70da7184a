"""``.env``: each line is taken exactly as it is written, or the load is refused with file and line. Nothing is dropped."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.env_files import DEFAULTS, DRY_RUN, loaded, refused, written
from support.examples import examples
from support.needs import needs

from lemmy_safety.cli.app import app
from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import SettingsError
from lemmy_safety.settings import ENV_FILE_NAME, OPTIONS, load_settings

#: How people write an assignment, right and wrong. {n} is the name, {v} the value.
FORMS = [
    "{n}={v}",
    "{n} = {v}",
    "  {n}\t=\t{v}  ",
    "export {n}={v}",
    "{n}='{v}'",
    '{n}="{v}"',
    "{n}={v}\r",
    "{n}={v} # why",
    "{n}='{v}' # why",
    '{n}="{v}"# why',
    "\ufeff{n}={v}",
    "\u00a0{n}\u00a0=\u00a0{v}\u00a0",
    "\u200b{n}={v}",
    "{n}=\u200b{v}",
    "{n}=\u201c{v}\u201d",
    "{n}=`{v}`",
    "{n}\uff1d{v}",
    "{n}: {v}",
    "{n}:{v}",
    "{n}:={v}",
    "{n} {v}",
    "{n}",
    "export {n}",
    "- {n}={v}",
    "- {n}: {v}",
    "-{n}={v}",
    "SET {n}={v}",
    "set {n} {v}",
    "setx {n} {v}",
    "ENV {n}={v}",
    "$env:{n}={v}",
    '$env:{n} = "{v}"',
    "-e {n}={v}",
    '"{n}"={v}',
    "'{n}'={v}",
    '"{n}={v}"',
    '{{"{n}": "{v}"}}',
    "environment: {n}={v}",
    '{n}="{v}',
    "{n}='{v}",
    '{n}={v}"',
    "{n}= # {v}",
    "{n}=\n  {v}",
    "Environment={n}={v}",
    "X='\n{n} {v}\n'",
    "<{n}>{v}</{n}>",
    "unset {n}",
    "%{n}%={v}",
    "{n}=\n{n}={v}",
    "{n}={v}\n{n}=",
    "OTHER=1 {n}={v}",
    "OTHER=1; export {n}={v}",
    "OTHER=1 && {n}={v}",
    'OTHER="1\n{n}={v}\nMORE="2"',
    'OTHER="1\n{n}={v}\nMORE=2"',
    "OTHER='1\n{n}={v}\nMORE='2'",
    "'OTHER\n{n}={v}\nMORE'=2",
    "OTHER=1\x00\n{n}={v}",
    "# note\u2028{n}={v}",
    "# note\x0b{n}={v}",
    "OTHER=1\x85{n}={v}",
    "OTHER=1\r{n}={v}",
]


def values_for(item) -> st.SearchStrategy[str]:
    """Values of the option that are not its default."""
    if item.kind is bool:
        return st.just("false" if item.default else "true")
    if item.choices:
        return st.sampled_from([choice for choice in item.choices if choice != item.default])
    if item.kind in (int, float):
        return st.integers(int(item.minimum) + 1, int(item.maximum)).map(str).filter(lambda v: float(v) != item.default)
    if item.kind is tuple:
        return st.sampled_from(["10.0.0.0/8", "::1,127.0.0.1"])
    tricky = st.sampled_from(
        [
            "D:\\backup\\new",
            "\\\\server\\share",
            "${HOME}",
            "ab$cd",
            "a$$b",
            "a #b",
            "a#b",
            "it's",
            'say "hi"',
            "a=b",
            "x\\",
        ]
    )
    return tricky | st.text(
        st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="~"), min_size=1
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(600))
@given(data=st.data(), form=st.sampled_from(FORMS), item=st.sampled_from(list(OPTIONS.values())))
def test_an_option_is_taken_as_it_is_written_or_refused(tmp_path, data, form, item):
    """For each option, in each form: the value itself, or an error with file and line. Never the default instead."""
    value = data.draw(values_for(item))
    try:
        meant = load_settings({item.name: value}, environ={})
    except SettingsError:
        return  # not a value that could be meant, such as one in quotes
    # "NAME=" and then "a=b" or "#b" are two lines, each as it is written.
    assume("=\n" not in form or not ("=" in value or value.startswith("#")))
    assume("{n} {v}" not in form or not value.startswith("="))  # "NAME =b" assigns "b"
    name = data.draw(st.sampled_from(item.env))
    file = written(tmp_path, form.format(n=name, v=value) + "\n")
    got, said = loaded(file)
    if said:
        assert re.search(rf"^{re.escape(str(file))}, line [1-3]: ", said, re.MULTILINE)
    else:
        assert got == meant, file.read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_a_dry_run_is_never_overlooked(tmp_path, form):
    """However the line is written, a dry run is a dry run or nothing runs at all."""
    file = written(tmp_path, form.format(n=DRY_RUN, v="true") + "\n")
    got, said = loaded(file)
    assert f"{file}, line " in said or (got is not None and got.dry_run)


@pytest.mark.parametrize(
    "line",
    [
        f"{DRY_RUN}: true",
        f"- {DRY_RUN}=true",
        f"SET {DRY_RUN}=true",
        DRY_RUN,
        'LEMMY_SAFETY_ACTION="report',
        f"{DRY_RUN}:true",
    ],
)
@needs("process")  # doctor starts programs
def test_a_line_that_does_not_parse_ends_with_3_and_doctor_says_so(tmp_path, line):
    """File, line number and fault are named by the pass and by doctor, and the exit code is that of settings."""
    file = written(tmp_path, f"# first\n\nPICTRS_FILES_DIRECTORY={tmp_path}\n{line}\n")
    for call in (["--all", "--env-file", str(file)], ["doctor", "--quick", "--env-file", str(file)]):
        done = CliRunner().invoke(app, call)
        assert done.exit_code == 3, done.output
        assert f"{file}, line 4: " in done.output
        assert "all names are known" not in done.output


@pytest.mark.parametrize("name", ["PICTRS_BUCKET", "LEMMY_SAFETY_THREADS"])
def test_a_word_alone_below_an_empty_setting_is_refused(tmp_path, name):
    """It may be the value. A name alone elsewhere is compose's way to pass a variable on."""
    said = refused(written(tmp_path, f"{name}=\n\n# note\nHTTP_PROXY\n"))
    assert f"line 4: this word is on a line of its own below {name}=" in said
    assert (
        load_settings(environ={}, env_file=written(tmp_path, f"HTTP_PROXY\n{name}=\nOTHER=1\nHTTP_PROXY\n")) == DEFAULTS
    )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_saved_as_utf_16_is_named_as_that(tmp_path, encoding):
    """Notepad's "Unicode", and what PowerShell writes: no talk of a byte that cannot be decoded."""
    file = tmp_path / "utf16.env"
    file.write_bytes(f"\ufeff{DRY_RUN}=true\n".encode(encoding))
    said = refused(file)
    assert "UTF-16" in said
    assert "Save it as UTF-8 text." in said
    assert "0xf" not in said


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_name_of_the_settings_file_is_told_as_that(empty):
    """``--env-file "$FILE"`` with FILE not set; it is neither the folder "." nor no option at all."""
    done = CliRunner().invoke(app, ["--all", "--env-file", empty])
    assert done.exit_code == 2
    assert "--env-file" in done.output
    assert "it is empty" in done.output


def test_a_pass_with_such_a_file_deletes_nothing(tmp_path):
    """The program itself, as a process: nothing in the storage is touched."""
    store = tmp_path / "files"
    store.mkdir()
    (store / "a.png").write_bytes(canary_png())
    before = {path: path.read_bytes() for path in store.iterdir()}
    assert before
    (tmp_path / ".env").write_text(
        f'PICTRS_FILES_DIRECTORY={store}\nDETECTORS=hashes\nOTHER="oops\n{DRY_RUN}=true\nMORE="x"\n', encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "lemmy_safety", "--all"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert ".env, line 3: " in done.stderr
    assert {path: path.read_bytes() for path in store.iterdir()} == before


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("PICTRS_BUCKET=D:\\backup\\new", "D:\\backup\\new"),
        ("PICTRS_BUCKET=\\\\server\\share", "\\\\server\\share"),
        ("PICTRS_BUCKET=${PATH}", "${PATH}"),
        ("PICTRS_BUCKET=${x:-y}", "${x:-y}"),
        ('PICTRS_BUCKET="${PATH}"', "${PATH}"),
        ("PICTRS_BUCKET=ab$cd", "ab$cd"),
        ("PICTRS_BUCKET=a#b", "a#b"),
        ("PICTRS_BUCKET='a #b'", "a #b"),
        ("PICTRS_BUCKET='a b' # ours", "a b"),
        ("PICTRS_BUCKET='D:\\backup\\new'", "D:\\backup\\new"),
        ("PICTRS_BUCKET==x", "=x"),
    ],
)
def test_values_do_not_change_on_the_way(tmp_path, line, value):
    """Backslashes, dollars, hash signs: what is written is what is used."""
    assert load_settings(environ={}, env_file=written(tmp_path, line + "\n")).s3_bucket == value


@pytest.mark.parametrize(
    "line",
    [
        'PICTRS_BUCKET="D:\\backup\\new"',
        'PICTRS_BUCKET="\\\\server\\share"',
        "PICTRS_BUCKET='\\\\server\\share'",
        "PICTRS_BUCKET='it\\'s'",
        "PICTRS_BUCKET=a #b",
        'PICTRS_BUCKET=pictrs"',
        "PICTRS_BUCKET=\u201cpictrs\u201d",
        "PICTRS_BUCKET=pic\u200btrs",
        "PICTRS_BUCKET=' pictrs'",
        'PICTRS_BUCKET="pic\ntrs"',
        "LEMMY_SAFETY_MINUTES=2_0",
    ],
)
def test_values_that_could_mean_two_things_are_refused(tmp_path, line):
    """With file, line and name."""
    file = written(tmp_path, f"OTHER=1\n{line}\n")
    assert re.search(
        rf"{re.escape(str(file))}, line 2: .*{line.split('=')[0]}|line 2: {line.split('=')[0]}", refused(file)
    )


def test_two_lines_that_contradict_are_refused_with_both_numbers(tmp_path):
    """The last one would win, without a word about the first. Saying the same twice is no contradiction."""
    for second in ("false", ""):
        file = written(tmp_path, f"\n{DRY_RUN}=true\nX=1\n{DRY_RUN}={second}\n")
        said = refused(file)
        assert "line 4" in said
        assert "line 2" in said
    assert load_settings(environ={}, env_file=written(tmp_path, f"{DRY_RUN}=true\n" * 2)).dry_run


@pytest.mark.parametrize(
    "text",
    [
        "POSTGRES_PASSWORD=x\nLEMMY_DATABASE_URL=postgres://u:p@h/d\nLEMMY_HOSTNAME=lemmy.example\nRUST_LOG=info\n",
        "COMPOSE_PROJECT_NAME=lemmy\nCOMPOSE_PROFILES=gpu\nPICTRS__SERVER__API_KEY=x\nPICTRS_HOST=y\nTAG\n",
        "X=1\nX=2\nX=\n",
        "IMAGE=lemmy-safety:latest\nUPSTREAM=lemmy-safety-hook:14051\nARGS=a --dry-run=true -t 4\n",
        'CONF="upstream lemmy-safety {\n  server lemmy-safety-relay:14051;\n}"\n',
        "HOOK=http://lemmy-safety-hook:14051/validate/x\nDATA=/var/lib/lemmy-safety/lemmy_safety.db\n",
        'KEY="-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA75==\n-----END KEY-----"\n',
        'GREETING="a\\nb" # hello\nJSON=\'{"prefix": "a", "minutes": 5}\'\nOPTS=-Ddebug=true --threads=4\n',
        "URL=https://example.org/?cache_dir=x&device=1\nDEBUG=1\nfoo.bar=1\nfoo-bar=2\n",
        "AWS_PROFILE=p\nAWS_REGION=r\nPIP_CACHE_DIR=/c\nSSH_AUTH_SOCK=/s\n",
    ],
)
def test_other_programs_may_use_the_file(tmp_path, text):
    """Their names, their values over several lines, and their repetitions are none of our business."""
    assert load_settings(environ={}, env_file=written(tmp_path, text)) == DEFAULTS


@pytest.mark.parametrize(
    "line",
    [
        "FOO: bar",
        "this is prose",
        'FOO="bar',
        "FOO='a'b",
        "[section]",
        "{",
        "true",
        "  clip",
        "ViT-L-14",
        "export A B",
        "FOO:bar",
    ],
)
def test_a_broken_line_of_another_program_is_refused_too(tmp_path, line):
    """It may hide a setting of ours."""
    file = written(tmp_path, f"X=1\n{line}\nY=2\n")
    assert f"{file}, line 2: " in refused(file)


@pytest.mark.parametrize(
    "value", ['"pictrs"', "'pictrs'", '"pictrs', "pictrs\r", "pictrs ", "\u201cpictrs\u201d", "pic\x07trs"]
)
def test_quotes_and_blanks_that_a_container_engine_left_in_a_value_are_refused(value):
    """``docker --env-file`` and compose's ``format: raw`` take no quotes off."""
    with pytest.raises(SettingsError, match="PICTRS_BUCKET: the value"):
        load_settings(environ={"PICTRS_BUCKET": value})
    with pytest.raises(SettingsError, match=DRY_RUN):
        load_settings(environ={DRY_RUN: '"true"'})


@pytest.mark.parametrize("item", [item for item in OPTIONS.values() if item.secret], ids=lambda item: item.name)
@pytest.mark.parametrize("form", FORMS)
def test_no_message_about_the_file_shows_a_secret(tmp_path, item, form):
    """A broken line may hold a password."""
    file = written(tmp_path, form.format(n=item.env[0], v="hunter2hunter2hunter2") + "\n")
    assert "hunter2" not in loaded(file)[1]


def test_line_numbers_are_those_of_an_editor(tmp_path):
    """Blank lines, comments, CRLF and broken lines before it do not move the number."""
    for end in ("\n", "\r\n", "\r"):
        file = written(tmp_path, end.join(["", "# a", "oops here", "", 'X="1', '2"', f"{DRY_RUN}: true", ""]))
        said = refused(file)
        assert f"{file}, line 3: " in said
        assert f"{file}, line 7: " in said
        assert said.count("line ") == 2


def test_a_folder_or_a_broken_link_in_the_place_of_the_file_is_refused(tmp_path, monkeypatch):
    """Docker makes a folder of a file that it is to mount and that does not exist: no settings would be read at all."""
    monkeypatch.chdir(tmp_path)
    Path(".env").mkdir()
    with pytest.raises(SettingsError, match="it is a folder"):
        load_settings(environ={})
    Path(".env").rmdir()
    Path(".env").symlink_to("nowhere")
    with pytest.raises(SettingsError, match="does not exist"):
        load_settings(environ={})


def test_the_file_cannot_name_another_file(tmp_path):
    """Which is looked at in the environment only, so a line for it would do nothing."""
    assert "works in the environment only" in refused(written(tmp_path, f"{ENV_FILE_NAME}=other.env\n"))
