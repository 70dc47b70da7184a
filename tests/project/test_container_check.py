"""scripts/check_container.sh: when it runs, what it takes from the compose file, and how the Dockerfile keeps layers apart.

The image itself is built and run by the script (``make container``), not here: that takes minutes and needs root.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "check_container.sh"
ENGINE = ROOT / "scripts" / "container_engine.sh"
FLAGS = runpy.run_path(str(ROOT / "scripts" / "compose_flags.py"))["flags"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a bash script for Linux")


@pytest.fixture
def history(tmp_path):
    """A git repository with the script, to which commits can be added; answers what the script says of them."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    shutil.copy(ENGINE, tmp_path / "scripts")
    git = [
        "git",
        "-C",
        str(tmp_path),
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "-c",
        "commit.gpgsign=false",
    ]
    subprocess.run([*git, "init", "-q"], check=True)

    def commit(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(len(list(tmp_path.rglob("*")))) + os.urandom(4).hex())
        subprocess.run([*git, "add", name], check=True)
        subprocess.run([*git, "commit", "-q", "-m", name], check=True)

    def run(*args):
        # No program but git and the shell's own: where the check is due it stops at once, because it finds no kernel name.
        tools = tmp_path / "tools"
        tools.mkdir(exist_ok=True)
        for name in ("git", "grep", "dirname", "cat"):
            (tools / name).unlink(missing_ok=True)
            (tools / name).symlink_to(str(shutil.which(name)))
        (tools / "uname").unlink(missing_ok=True)
        (tools / "uname").write_text("#!/bin/sh\necho Elsewhere\n")
        (tools / "uname").chmod(0o755)
        return subprocess.run(
            [str(shutil.which("bash")), str(tmp_path / "scripts" / "check_container.sh"), *args],
            env={"PATH": str(tools), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    run.commit = commit
    return run


@pytest.mark.parametrize("name", ["Dockerfile", "docker-compose.yml", "pyproject.toml", ".ci/run", ".dockerignore"])
def test_the_gate_checks_the_image_for_ten_commits_after_a_change(history, name):
    """A commit that changes what the image is made of counts among the last ten; then it does not."""
    history.commit(name)
    for number in range(9):
        history.commit(f"docs/{number}")
    due = history("--if-changed")
    assert (due.returncode, "WAS NOT CHECKED" in due.stderr) == (1, True)
    history.commit("docs/last")
    over = history("--if-changed")
    assert (over.returncode, over.stderr) == (0, "")
    assert "not checked" in over.stdout


@pytest.mark.parametrize("name", ["docs/Dockerfile.md", "lemmy_safety/pyproject.toml.py", "my-docker-compose.yml"])
def test_files_that_are_only_called_alike_do_not_count(history, name):
    """Whole paths are compared."""
    history.commit(name)
    assert history("--if-changed").returncode == 0


def test_without_a_history_the_image_is_checked(tmp_path, history):
    """No one knows then what changed."""
    shutil.rmtree(tmp_path / ".git")
    assert history("--if-changed").returncode == 1


def test_where_it_cannot_run_it_fails_loudly(history):
    """It never passes without having checked anything; asked for by name, it does not look at the history."""
    history.commit("docs/x")
    done = history()
    assert done.returncode == 1
    assert "THE CONTAINER IMAGE WAS NOT CHECKED" in done.stderr


def test_the_gate_and_make_run_it():
    """.ci/run where something changed, ``make container`` always."""
    assert "bash scripts/check_container.sh --if-changed\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "bash scripts/check_container.sh\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_service_runs_in_the_check_as_the_compose_file_says():
    """Each key has its flag; one that is new and unknown stops the check."""
    services = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    for service in services.values():
        service.pop("deploy", None)  # a graphics card, which the check has not
        made = FLAGS(service)
        assert {"--init", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--stop-timeout=15"} <= {
            *made
        }
        assert "--env=LEMMY_SAFETY_FAULT_FILE=/tmp/fault" in made
    with pytest.raises(SystemExit, match="privileged"):
        FLAGS({"privileged": True})


def test_code_and_dependencies_are_layers_of_their_own():
    """A changed line of code invalidates nothing before the project's own stage, and the final image copies both apart."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    dependencies, project, final = stages
    assert dependencies.splitlines()[0].endswith(" AS dependencies")
    assert re.findall(r"^COPY (.*)$", dependencies, re.MULTILINE) == ["pyproject.toml ./"]
    assert project.startswith("dependencies AS project")
    copies = re.findall(r"^COPY (.*)$", final, re.MULTILINE)
    assert copies == ["--from=dependencies /venv /venv", "--from=project /project /venv"]
    assert "compileall" in final[: final.index("COPY")]
