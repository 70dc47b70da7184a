"""Help, options and completion: made from the settings table, quick, and complete."""

from __future__ import annotations

import re

import click
import pytest

from lemmy_safety import __version__
from lemmy_safety.cli.app import app
from lemmy_safety.settings import OPTIONS

FLAGS = [item for item in OPTIONS.values() if item.flag]

HEAVY = {
    *("PIL", "av", "horde_safety", "nudenet", "numpy", "onnxruntime", "open_clip", "pdqhash", "torch", "transformers"),
    *("alembic", "boto3", "botocore", "paramiko", "rich", "sqlalchemy"),
}


def _subcommands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in group.commands.items():
        found += _subcommands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


def test_help_imports_nothing_heavy(command):
    """``--help`` loads no model, storage, database or picture library, which is what keeps it quick."""
    code = (
        "import sys\n"
        "from lemmy_safety.cli.app import app\n"
        "try:\n    app.main(['--help'], prog_name='lemmy-safety')\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    output, errors = command(code=code).communicate(timeout=60)
    assert "LOADED []" in output
    assert not errors


@pytest.mark.parametrize("path", _subcommands(app), ids=" ".join)
@pytest.mark.parametrize("asking", ["-h", "--help"])
def test_every_command_has_help(call, path, asking):
    """Each command explains itself, with whole sentences for each of its options."""
    result = call(*path, asking)
    assert result.exit_code == 0
    assert "Usage: " in result.output
    node: click.Command = app
    for name in path:
        assert isinstance(node, click.Group)
        node = node.commands[name]
    assert node.help
    for parameter in node.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.help.rstrip("]")[-1:], parameter.name


@pytest.mark.parametrize("item", FLAGS, ids=lambda item: item.name)
def test_each_flag_shows_its_environment_name_and_default(call, item):
    """The help of a flag names the variable that means the same, and its default."""
    text = re.sub(r"\s+", " ", call("--help").output)
    assert f"--{item.name.replace('_', '-')}" in text
    assert f"env: {item.env[0]}" in text
    if item.name == "minutes":
        assert "1 to 525600; default: 20" in text


@pytest.mark.parametrize("item", [item for item in OPTIONS.values() if not item.flag], ids=lambda item: item.name)
def test_each_setting_without_a_flag_is_named_in_the_help(call, item):
    """The main help is a complete list of settings, also of those that only the environment can give."""
    assert item.env[0] in call("--help").output


@pytest.mark.parametrize("item", [item for item in FLAGS if "_" in item.name], ids=lambda item: item.name)
def test_both_spellings_are_accepted(call, item):
    """The ancestor's spelling with underscores means the same as the one with hyphens."""
    value = [] if item.kind is bool else ["x"]
    answers = {
        call(spelling, *value).output.replace("_", "-")
        for spelling in (f"--{item.name}", f"--{item.name.replace('_', '-')}")
    }
    assert len(answers) == 1
    assert "No such option" not in answers.pop()


def test_short_options_are_those_of_the_table(call):
    """Short forms reach the same setting as long ones."""
    assert "--minutes: '0' is not valid" in call("-m", "0").output
    assert "--threads: '0' is not valid" in call("-t", "0").output


def test_version_is_shown(call):
    """``--version`` prints the package's version."""
    assert call("--version").output.strip().endswith(__version__)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_this_command(call, shell):
    """The script for each shell calls lemmy-safety back."""
    result = call("completion", shell)
    assert result.exit_code == 0
    assert f"_LEMMY_SAFETY_COMPLETE={shell}_complete" in result.output


def test_a_shell_is_offered_commands_and_choices(command):
    """Completion offers subcommands, and the choices of an option that has some, also after a comma."""

    def offered(line: str) -> str:
        words = line.split(" ")
        env = {
            "_LEMMY_SAFETY_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        return command(env=env).communicate(timeout=60)[0]

    assert "plain,delete-flagged" in offered("lemmy-safety del")
    assert "plain,s3" in offered("lemmy-safety --storage s")[:200]
    assert "plain,hashes,nudenet" in offered("lemmy-safety --detectors hashes,n")
