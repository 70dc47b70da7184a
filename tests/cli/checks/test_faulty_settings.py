"""What ``doctor`` says of faulty settings: all of them at once, each by its name, and nothing else waits for them."""

from __future__ import annotations

import json

import pytest
from support.needs import needs
from support.planted_faults import FAULTS, SSH

from lemmy_safety import errors

OVER_SSH = SSH | {"SSH_HOSTNAME": "127.0.0.1", "LEMMY_SAFETY_STORAGE": "ssh"}


def doctored(call, **env):
    """What ``doctor`` says: the faults, and the areas in which something was found to be good."""
    checks = json.loads(call("doctor", "--quick", "--json", env=env).stdout)["checks"]
    return [check for check in checks if check["ok"] is False], {check["area"] for check in checks if check["ok"]}


@pytest.mark.usefixtures("store")
def test_a_fault_of_the_settings_postpones_no_other_check(call, tmp_path, monkeypatch) -> None:
    """Every fault at once: the missing list is found beside the wrong number, the folder and the database are tried."""
    monkeypatch.chdir(tmp_path)
    list_of_hashes = str(tmp_path / "list.txt")
    found, good = doctored(call, LEMMY_SAFETY_MINUTES="0", HOOK_SECRET="x", HASH_LIST=list_of_hashes)
    assert [fault["area"] for fault in found] == ["Settings", "Upload hook", "Detectors"]
    assert {"Storage", "Database"} <= good


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("wrong", "area"),
    [
        (OVER_SSH | {"SSH_PORT": "0"}, "Storage"),
        ({"DETECTORS": "eyes"}, "Detectors"),
        ({"HOOK_PORT": "0"}, "Upload hook"),
    ],
)
def test_what_a_faulty_setting_is_about_is_not_checked_with_its_default(
    call, tmp_path, monkeypatch, wrong, area
) -> None:
    """It would be the wrong storage or detector; everything else is checked."""
    monkeypatch.chdir(tmp_path)
    found, good = doctored(call, **wrong)
    assert [fault["area"] for fault in found] == ["Settings"]
    assert good >= {"Storage", "Database", "Detectors"} - {area}
    assert area not in good


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("wrong", "hidden", "area"),
    [
        ({"SSH_PORT": "0"}, {"PICTRS_FILES_DIRECTORY": "missing"}, "Storage"),
        ({"CACHE_DIR": "~nobody-here/x"}, {"SQLITE_FILENAME": "missing/x.db"}, "Database"),
        ({"NUDENET_MIN_SCORE": "7", "CLIP_BATCH": "x"}, {"HASH_LIST": "missing"}, "Detectors"),
        ({"HOOK_QUEUE": "0"}, {"HOOK_HOST": "0.0.0.0"}, "Upload hook"),  # noqa: S104
        ({"HOOK_SECRET": "'"}, {"HOOK_NETWORKS": "here"}, "Upload hook"),
    ],
)
def test_a_faulty_setting_hides_no_fault_of_its_neighbours(call, tmp_path, monkeypatch, *, wrong, hidden, area) -> None:
    """Only what needs it waits, not all that is set in the same section."""
    monkeypatch.chdir(tmp_path)
    found, _ = doctored(call, **wrong, **hidden)
    assert [fault["area"] for fault in found] == ["Settings"] * len(wrong) + [area]
    (name,) = hidden
    assert name in f"{found[-1]['detail']} {found[-1]['fix']}"


#: Every setting of the hook and of the relay that can be wrong by itself, as an admin may write it.
WRONG_HOOK = {
    "HOOK_HOST": "999.1.1.1",
    "HOOK_NETWORKS": "10.0.0.0/99",
    "HOOK_TRUSTED_PROXIES": "foo/8",
    "HOOK_SECRET": "short",
    "RELAY_APIKEY": "~brief",
}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("prefix", ["", "LEMMY_SAFETY_"])
@pytest.mark.parametrize("in_file", [False, True])
def test_each_wrong_setting_of_the_hook_is_a_fault_by_the_name_it_is_written_with(
    call, tmp_path, monkeypatch, prefix, in_file
) -> None:
    """All at once, with a fix each; ``serve`` refuses to start with the same words. No secret is shown."""
    monkeypatch.chdir(tmp_path)
    wrong = {f"{prefix}{name}": value for name, value in WRONG_HOOK.items()}
    if in_file:
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in wrong.items()), encoding="utf-8")
        (tmp_path / ".env").chmod(0o600)
    env = {} if in_file else wrong
    found, _ = doctored(call, **env)
    assert [fault["area"] for fault in found] == ["Upload hook"] * len(wrong)
    refused = call("serve", "--relay", env=env)
    assert refused.exit_code == errors.SettingsError.exit_code
    for line, name in enumerate(wrong, start=1):
        written = f".env, line {line}: {name}" if in_file else name
        (fault,) = [fault for fault in found if fault["detail"].startswith(written)]
        assert fault["fix"]
        assert f" {fault['detail']} {fault['fix']}\n" in refused.output
    assert "~brief" not in f"{found}{refused.output}"


@pytest.mark.usefixtures("store")
def test_everything_that_a_worker_lacks_is_said_at_once(call) -> None:
    """The address is that of the flag where there is one."""
    refused = call("worker", "--url", "relay")
    assert refused.exit_code == errors.SettingsError.exit_code
    assert "--url is not the address of a server." in refused.output
    assert "PICTRS_SAFETY_APIKEY" in refused.output
    assert "--url" in call("worker").output


@pytest.mark.usefixtures("store")
def test_a_settings_file_that_cannot_be_read_postpones_no_check(call, tmp_path, monkeypatch) -> None:
    """The storage is in the environment here; where it is in that file, its absence is no second fault."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").mkdir()
    found, good = doctored(call)
    assert [fault["area"] for fault in found] == ["Settings"]
    assert {"Storage", "Database", "Detectors"} <= good
    found, good = doctored(call, PICTRS_FILES_DIRECTORY="")
    assert [fault["area"] for fault in found] == ["Settings"]
    assert "Storage" not in good


@pytest.mark.usefixtures("store")
def test_a_fault_of_a_proxy_is_not_taken_for_a_storage_that_is_missing(call, tmp_path, monkeypatch) -> None:
    """No file of settings holds it, so that it is a fault beside one of theirs as well."""
    monkeypatch.chdir(tmp_path)
    plant, _, _ = FAULTS["a proxy with one slash"]
    found, _ = doctored(call, LEMMY_SAFETY_MINUTES="0", **plant(tmp_path))
    assert [fault["area"] for fault in found] == ["Settings", "Storage"]


@pytest.mark.usefixtures("store")
def test_the_fix_names_the_file_that_was_read(call, tmp_path, monkeypatch) -> None:
    """``other.env``, where that is the file of the settings; what is in it is corrected there only."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.env").write_text("LEMMY_SAFETY_MINUTES=ten\n", encoding="utf-8")
    result = call("doctor", "--quick", "--json", "--env-file", "other.env", env={"LEMMY_SAFETY_THREADS": "many"})
    fixes = {
        check["detail"].split(":")[0]: check["fix"]
        for check in json.loads(result.stdout)["checks"]
        if check["ok"] is False
    }
    assert fixes == {
        "LEMMY_SAFETY_THREADS": "Correct it in other.env or the environment.",
        "other.env, line 1": "Correct it in other.env.",
    }


@pytest.mark.parametrize(
    ("variables", "said"),
    [({}, "in the environment or in other.env:"), ({"LEMMY_SAFETY_STORAGE": "s3"}, "fix: Set it in other.env.")],
)
@needs("process")  # doctor starts programs
def test_what_is_missing_is_to_be_set_in_the_file_that_was_read(call, tmp_path, monkeypatch, variables, said) -> None:
    """A sweep and ``doctor`` say the same, also of a storage that cannot be chosen."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.env").touch(mode=0o600)
    for command in ("--all", "doctor --quick"):
        result = call(*command.split(), "--env-file", "other.env", env=variables)
        assert said in result.output
        assert result.exit_code == errors.SettingsError.exit_code
