"""``make release``: what it refuses, and what it makes. scripts/build_image.sh is run by ``make release`` alone."""

from __future__ import annotations

import hashlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import lemmy_safety

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
RELEASE = runpy.run_path(str(SCRIPTS / "release.py"))
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
EPOCH = "1700000000"


class Clone:
    """A git repository that can be released, at version 1.2.3."""

    def __init__(self, folder):
        self.folder = folder
        self.git("init", "-q")
        self.write("lemmy_safety/__init__.py", '__version__ = "1.2.3"\n')
        self.write("CHANGELOG.md", "# Changelog\n\n## [1.2.3] - 2026-12-01\n\n## [1.2.2] - 2026-11-01\n")
        self.commit()

    def git(self, *args):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(self.folder), *identity, *args], check=True)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def commit(self):
        self.git("add", ".")
        self.git("commit", "-q", "-m", "a commit")

    def refused(self, tag=None):
        return RELEASE["not_ready"](self.folder, tag)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    return Clone(tmp_path)


@pytest.mark.parametrize("tagged", [False, True])
def test_a_clean_commit_with_a_dated_section_is_released(clone, tagged):
    """With the version's tag, and, to try it out, without any."""
    if tagged:
        clone.git("tag", "v1.2.3")
        assert clone.refused("v1.2.3") is None
    assert clone.refused() is None


@pytest.mark.parametrize(
    ("name", "text"), [("CHANGELOG.md", "changed"), ("new.py", ""), ("lemmy_safety/__init__.py", "")]
)
def test_changes_that_are_not_committed_are_refused(clone, name, text):
    """Files that git does not know too: they would be packed."""
    clone.write(name, text)
    assert clone.refused() == (f"the tree has changes that are not committed: {name}. Commit them or undo them.")
    clone.write("zzz", "")
    assert f"{name} and 1 more" in clone.refused()


def test_a_version_without_a_section_is_refused(clone):
    """1.2.30 is another version than 1.2.3."""
    clone.write("lemmy_safety/__init__.py", '__version__ = "1.2.30"\n')
    clone.commit()
    assert clone.refused() == (
        "CHANGELOG.md has no section for 1.2.30, the package's version. Write one: ## [1.2.30] - YYYY-MM-DD"
    )


@pytest.mark.parametrize("date", ["", " - unreleased", " - 1.12.2026"])
def test_a_section_without_a_date_is_refused(clone, date):
    """The date says that its text is complete."""
    clone.write("CHANGELOG.md", f"## [1.2.3]{date}\n")
    clone.commit()
    assert clone.refused().startswith(f'CHANGELOG.md gives 1.2.3 no date: "## [1.2.3]{date}".')


def test_another_versions_tag_is_refused(clone):
    """Whether git has it at this commit, or the workflow was started by it."""
    assert clone.refused("v1.2.4").startswith("the tag is v1.2.4 and the package's version is 1.2.3.")
    clone.git("tag", "v1.2.4")
    assert clone.refused().startswith("the tag is v1.2.4 and the package's version is 1.2.3.")
    clone.git("tag", "v1.2.3")
    assert clone.refused().startswith("the tag is v1.2.4 and the package's version is 1.2.3.")


def test_a_tag_of_another_commit_is_refused(clone):
    """The version is taken."""
    clone.git("tag", "v1.2.3")
    clone.write("new", "")
    clone.commit()
    assert clone.refused().startswith("v1.2.3 is the tag of another commit.")
    assert clone.refused("v1.2.3").startswith("the tag v1.2.3 does not point to this commit.")


def test_tags_that_are_not_of_versions_do_not_count(clone):
    """A person may mark commits as they like."""
    clone.git("tag", "very-good")
    assert clone.refused() is None


def test_without_git_nothing_is_released(tmp_path):
    """An unpacked source archive has no commit."""
    assert RELEASE["not_ready"](tmp_path).startswith("this is not a git repository.")


def test_what_is_refused_leaves_the_last_release_alone(clone):
    """One line, exit code 1, and dist/ as it was."""
    shutil.copy(SCRIPTS / "release.py", clone.folder / "lemmy_safety" / "release.py")
    clone.write(".gitignore", "/dist/\n")
    clone.write("dist/last.whl", "x")
    done = subprocess.run(
        [sys.executable, str(clone.folder / "lemmy_safety" / "release.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(r"make release: the tree has changes .*\n", done.stderr)
    assert done.stdout == ""
    assert (clone.folder / "dist" / "last.whl").exists()


def built(target, source, folder):
    """What hatchling makes, without the network."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source,
        env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = Path(folder).iterdir()
    return path


@pytest.fixture(scope="module")
def source_archive(tmp_path_factory):
    return built("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


def test_the_source_archive_has_what_a_user_and_a_packager_need(source_archive):
    """Documentation, what builds the image, settings, tests; and no file of an installation or a run."""
    with tarfile.open(source_archive) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = {"docs", "alembic", "tests", "scripts", "lemmy_safety", "benchmarks", "evaluation", ".ci", ".github"}
    for folder in tracked:
        sources = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert sources
        assert sources <= names
    assert {
        *("Dockerfile", ".dockerignore", "docker-compose.yml", "env_example", "Makefile", "pyproject.toml"),
        *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
    } <= names
    assert {name.partition("/")[0] for name in names} - tracked == {
        *("Dockerfile", ".dockerignore", "docker-compose.yml", "env_example", "Makefile", "pyproject.toml"),
        *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "PKG-INFO", ".gitignore"),
    }
    assert not [name for name in names if "__pycache__" in name or name.endswith((".db", ".env"))]


def test_the_same_source_makes_the_same_wheel(source_archive, tmp_path):
    """Byte for byte, also from the unpacked source archive."""
    with tarfile.open(source_archive) as archive:
        # Our own archive. Python 3.11.2, that of Debian 12, has no filters yet.
        archive.extractall(tmp_path / "unpacked", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # noqa: S202
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    here = built("wheel", ROOT, tmp_path / "here")
    assert built("wheel", unpacked, tmp_path / "there").read_bytes() == here.read_bytes()
    assert built("sdist", ROOT, tmp_path / "again").read_bytes() == source_archive.read_bytes()


def test_checksums_are_those_of_the_files(tmp_path):
    """In the form that sha256sum reads."""
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"one")
    assert RELEASE["checksums"](tmp_path) == "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in (("a", b"one"), ("b", b"two"))
    )


@pytest.fixture
def environment(tmp_path):
    """A virtual environment with two packages; one was installed from a file of this machine."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    (packages,) = [*(tmp_path / "env").glob("lib/python*/site-packages"), *(tmp_path / "env").glob("Lib/site-packages")]
    for name in ("example", "local"):
        info = packages / f"{name}-4.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.4\nName: {name}\nVersion: 4.5\nLicense-Expression: MIT\n"
            "Project-URL: Download, https://index.example/simple\n"
        )
    (info / "direct_url.json").write_text('{"url": "file:///home/user/local.whl", "archive_info": {}}')
    return tmp_path / "env"


def test_the_bill_of_materials_names_packages_and_no_places(environment, monkeypatch):
    """It follows CycloneDX's schema, and is the same for the same packages and the same commit."""
    pytest.importorskip("cyclonedx_py", reason="needs the extra release")
    bill = runpy.run_path(str(SCRIPTS / "bill_of_materials.py"))["bill"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    monkeypatch.setenv("PYTHONPATH", sysconfig.get_path("purelib"))  # packages that are elsewhere
    text = bill(environment)
    content = YAML(typ="safe").load(text)  # JSON is YAML
    assert content["bomFormat"] == "CycloneDX"
    assert content["metadata"]["component"]["name"] == "lemmy-safety"
    assert content["metadata"]["component"]["version"] == lemmy_safety.__version__
    assert [(item["name"], item["version"]) for item in content["components"]] == [("example", "4.5"), ("local", "4.5")]
    assert content["components"][0]["purl"] == "pkg:pypi/example@4.5"
    assert [item["licenses"][0]["license"]["id"] for item in content["components"]] == ["MIT", "MIT"]
    assert set(re.findall(r"\w+://[^\"]+", text)) == {"http://cyclonedx.org/schema/bom-1.6.schema.json"}
    assert str(environment.parent) not in text
    assert bill(environment) == text


def test_the_files_of_a_release_are_named_alike_everywhere():
    """Documents, the compose file and the release's README name the files of this version, as ``make release`` makes them."""
    version = lemmy_safety.__version__
    texts = [RELEASE["readme"](version), (ROOT / "docker-compose.yml").read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
    named = {name for text in texts for name in re.findall(r"lemmy[_-]safety-\d[\w.-]*\w", text)}
    assert named == {
        f"lemmy_safety-{version}-py3-none-any.whl",
        f"lemmy_safety-{version}.tar.gz",
        f"lemmy-safety-{version}-image.tar.zst",
        f"lemmy-safety-{version}.cdx.json",
    }
    assert "{" not in texts[0]


def test_the_first_commands_are_those_of_the_repositorys_readme():
    """Up to the dry run and its list, in the same order; tests/project/test_readme.py runs them."""
    text = RELEASE["readme"]("1.2.3")
    shown = re.findall(
        r"^(lemmy-safety +[^#\n]*[^#\s]) +#", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    first = shown[: shown.index("lemmy-safety flagged") + 1]
    assert len(first) > 3
    positions = [text.find(command) for command in first]
    assert -1 not in positions
    assert positions == sorted(positions)


def test_small_extras_are_all_but_those_with_torch():
    """A new extra is either among them or named here."""
    import tomllib  # noqa: PLC0415

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    small = set(RELEASE["SMALL_EXTRAS"].split(","))
    assert set(extras) - small == {"clip", "openvino", "all", "test", "release", "dev"}
    assert small <= set(extras)


def test_the_workflow_follows_the_schema(tmp_path):
    """By the schema that check-jsonschema carries; a misspelt key is found."""

    def check(path):
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = check(WORKFLOW)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "release.yml"
    wrong.write_text(WORKFLOW.read_text(encoding="utf-8").replace("timeout-minutes:", "timeout-minuets:"), "utf-8")
    assert check(wrong).returncode == 1


def test_the_workflow_has_pinned_actions_and_few_permissions():
    """Each action at a full version; each job with the one permission that it is for, and no secret of the repository."""
    text = WORKFLOW.read_text(encoding="utf-8")
    workflow = YAML(typ="safe").load(text)
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == {
        "make": {"contents": "read"},
        "package-index": {"id-token": "write"},
        "container-registry": {"packages": "write"},
        "files": {"contents": "write"},
    }
    actions = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert actions
    assert all(re.fullmatch(r"(actions|pypa)/[\w-]+@v\d+\.\d+\.\d+", action) for action in actions)
    assert "secrets." not in text
    # Expressions in a shell line are filled in before the shell reads it: a tag could be a command.
    assert not [
        step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "${{" in step.get("run", "")
    ]
