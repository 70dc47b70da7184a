"""What a person sees when something fails, and the exit code it ends with."""

from __future__ import annotations

import inspect
import logging
import unicodedata

import click
import pytest

from lemmy_safety import errors
from lemmy_safety.cli import app as app_module
from lemmy_safety.cli.output.failures import BUG, INTERRUPTED, present
from lemmy_safety.cli.output.logs import set_up_logging
from lemmy_safety.cli.output.redaction import HIDDEN, Redaction
from lemmy_safety.errors import LemmySafetyError, MediaError, MissingExtra
from lemmy_safety.records import ItemStatus
from lemmy_safety.settings import OPTIONS, load_settings

TREE = sorted(
    (member for _, member in inspect.getmembers(errors, inspect.isclass) if issubclass(member, LemmySafetyError)),
    key=lambda member: member.exit_code,
)


def _made(kind: type[LemmySafetyError]) -> LemmySafetyError:
    if issubclass(kind, MissingExtra):
        return kind("clip", needed_for="The detector")
    if issubclass(kind, MediaError):
        return kind(ItemStatus.UNREADABLE, "What is wrong.")
    return kind("What is wrong.", hint="How to mend it.")


def test_each_class_has_its_own_exit_code():
    """A script can tell every class of error by its code, and none is one that click or the shell use."""
    codes = [kind.exit_code for kind in TREE]
    assert len(set(codes)) == len(codes) > 20
    assert not {0, 2, INTERRUPTED} & set(codes)
    assert all(0 < code < 126 for code in codes)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_is_one_line_and_its_fix(kind, capsys):
    """An error of our tree is shown as what is wrong and how to fix it, and ends with its class's code."""
    error = _made(kind)
    assert present(error, debug=False, redaction=Redaction()) == kind.exit_code
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"error: {error.message}"
    assert lines[1:] == ([f"fix: {error.hint}"] if error.hint else [])


def test_debug_adds_the_traceback(capsys):
    """With --debug the traceback comes too, causes included."""
    error = errors.StorageUnreachable("No answer.")
    error.__cause__ = OSError("the cause")
    present(error, debug=True, redaction=Redaction())
    shown = capsys.readouterr().err
    assert "OSError: the cause" in shown
    assert "StorageUnreachable: No answer." in shown
    assert "error: No answer." in shown


def test_an_unexpected_exception_is_called_a_bug_and_keeps_its_text_to_itself(capsys):
    """Exceptions outside our tree show their type only: their text may hold anything."""
    assert present(KeyError("hunter2"), debug=False, redaction=Redaction()) == BUG
    shown = capsys.readouterr().err
    assert "KeyError" in shown
    assert "bug" in shown
    assert "hunter2" not in shown


def test_the_exit_code_of_an_error_is_that_of_the_process(call, monkeypatch):
    """Whatever a command raises reaches the shell as the code of its class."""

    def fail(*_args, **_kwargs):
        raise errors.DeviceError("No such device.")

    monkeypatch.setattr(app_module, "run", fail)
    assert call("--all").exit_code == errors.DeviceError.exit_code
    monkeypatch.setattr(app_module, "run", lambda *_args, **_kwargs: 1 / 0)
    assert call("--all").exit_code == BUG


def test_secrets_of_the_settings_are_blotted_out_everywhere(capsys):
    """No secret of the settings in use survives in a message, a hint or a traceback."""
    secrets = {item.env[0]: f"s3cr3t-{item.name}" for item in OPTIONS.values() if item.secret}
    secrets["DATABASE_URL"] = "postgresql+psycopg://me:pass%40word9@host/db"
    redaction = Redaction()
    redaction.learn(load_settings(environ=secrets))
    hidden = [*secrets.values(), "pass%40word9", "pass@word9"]
    for secret in hidden:
        error = errors.StorageError(f"Refused {secret}.", hint=f"Not {secret}.")
        present(error, debug=True, redaction=redaction)
    shown = capsys.readouterr().err
    assert not [secret for secret in hidden if secret in shown]
    assert shown.count(HIDDEN) >= 3 * len(hidden)


def test_an_abort_is_an_interruption(capsys):
    """Ctrl-C at a question ends with the code of an interruption."""
    assert present(click.Abort(), debug=False, redaction=Redaction()) == INTERRUPTED
    assert present(KeyboardInterrupt(), debug=True, redaction=Redaction()) == INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


def test_no_settings_at_all_says_what_each_storage_needs(call):
    """On a fresh machine the first answer is a list of what to fill in, and the demo."""
    result = call("--all")
    assert result.exit_code == errors.SettingsError.exit_code
    assert all(
        name in result.output
        for name in ("OBJECT_STORAGE_ENDPOINT", "SSH_HOSTNAME", "PICTRS_FILES_DIRECTORY", "lemmy-safety demo")
    )


def test_two_storages_and_no_choice_is_refused(call):
    """Two storages filled in are both named, with the flag that chooses."""
    env = {"OBJECT_STORAGE_ENDPOINT": "http://127.0.0.1:9", "PICTRS_FILES_DIRECTORY": "files"}
    result = call("--all", env=env)
    assert result.exit_code == errors.SettingsError.exit_code
    assert all(word in result.output for word in ("s3", "local", "--storage"))


@pytest.mark.parametrize(
    ("args", "allowed"),
    [
        (["--minutes", "0"], "1 to 525600"),
        (["--minutes", "x"], "1 to 525600"),
        (["--threads", "0"], "1 to 256"),
        (["--detectors", "hashes,nope"], "hashes, clip, nudenet"),
        (["--storage", "ftp"], "s3, ssh, local"),
        (["--action", "burn"], "delete, report"),
    ],
)
def test_values_out_of_range_are_refused_with_the_range(call, args, allowed):
    """A flag out of its range ends with the code of a settings error and says what is allowed."""
    result = call(*args)
    assert result.exit_code == errors.SettingsError.exit_code
    assert allowed in result.output
    assert args[0] in result.output


def test_unknown_names_in_the_environment_are_refused(call):
    """A misspelt variable is not ignored: the nearest right one is named."""
    result = call("--all", env={"LEMMY_SAFETY_TREADS": "4"})
    assert result.exit_code == errors.SettingsError.exit_code
    assert "LEMMY_SAFETY_THREADS" in result.output


@pytest.mark.parametrize("args", [["--nope"], ["nope"], ["flagged", "--limit", "0"], ["review", "clear"], ["--json"]])
def test_a_wrong_command_line_ends_with_two(call, args, store):
    """Unknown options, commands and missing arguments are click's usage errors."""
    assert call(*args).exit_code == 2


def test_flags_after_the_subcommand_win_over_those_before(call):
    """A setting can stand before or after the subcommand."""
    assert "--storage: 'one'" in call("--storage", "one", "flagged").output
    assert "--storage: 'two'" in call("--storage", "one", "flagged", "--storage", "two").output


def test_what_a_server_says_cannot_steer_the_terminal(capsys):
    """Its words stand in messages, in the log and in tracebacks; only line ends of ours are kept."""
    words = "it said \x1b[2J\u202egnp\u2028\r"
    present(errors.StorageError(f"{words}\nsecond", hint=words), debug=True, redaction=Redaction())
    set_up_logging(debug=False, redaction=Redaction(), quiet=True)
    logging.getLogger("lemmy_safety").warning("%s", words)
    said = capsys.readouterr().err
    assert said.count(r"it said \x1b[2J\u202egnp\u2028\r") >= 4
    assert {char for char in said if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"}} == {"\n"}
