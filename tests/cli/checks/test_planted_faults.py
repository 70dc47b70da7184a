"""Planted faults, and what ``doctor`` says of each: found, with the right fix and exit code. Each is planted for real."""

from __future__ import annotations

import json
import os

import pytest
from support.needs import needs
from support.planted_faults import FAULTS

from lemmy_safety import errors


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found_with_its_fix(call, tmp_path, monkeypatch, fault) -> None:
    """One fault at a time on a good installation: one finding, its words, a fix, its exit code, and no secret."""
    if "links to itself" in fault and os.name == "nt":
        pytest.skip("Windows lets few users make links")
    if "database server" in fault:
        pytest.importorskip("psycopg")
    monkeypatch.chdir(tmp_path)
    plant, error, words = FAULTS[fault]
    result = call("doctor", "--quick", "--json", env=plant(tmp_path))
    faults = [check for check in json.loads(result.stdout)["checks"] if check["ok"] is False]
    assert len(faults) == 1, result.stdout
    assert faults[0]["fix"]
    said = f"{faults[0]['detail']} {faults[0]['fix']}"
    assert [word for word in words if word not in said] == [], said
    assert result.exit_code == faults[0]["exit_code"] == error.exit_code
    assert "secret-" not in said


@needs("process")  # doctor starts programs
def test_storages_of_which_none_is_chosen_are_checked_for_what_is_wrong_in_their_settings(call) -> None:
    """None is connected to, but no fault waits until the choice is made."""
    filled = {"OBJECT_STORAGE_ENDPOINT": "http://a:99999", "SSH_HOSTNAME": "b", "PICTRS_FILES_DIRECTORY": "/c"}
    result = call("doctor", "--quick", "--json", env=filled | {"SSH_USERNAME": "", "DETECTORS": "hashes"})
    checks = [check for check in json.loads(result.stdout)["checks"] if check["area"] == "Storage"]
    said = [check["detail"] for check in checks if check["ok"] is False]
    assert "none is chosen" in said[0]
    assert "'http://a:99999' is not the URL of a server" in said[1]
    assert "No user name is known for the SSH server b" in said[2]
    assert len(said) == 3
    assert result.exit_code == errors.SettingsError.exit_code


@pytest.mark.usefixtures("store")
def test_without_a_fault_nothing_is_found(call, tmp_path, monkeypatch) -> None:
    """The installation in which the faults are planted is a good one."""
    monkeypatch.chdir(tmp_path)
    result = call("doctor", "--quick", "--json")
    assert [check for check in json.loads(result.stdout)["checks"] if check["ok"] is False] == []
    assert result.exit_code == 0
