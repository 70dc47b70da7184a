"""A dry run names every key that a real one would delete."""

from __future__ import annotations

import logging

import pytest

from lemmy_safety.detectors.hashes.canary import canary_png


@pytest.mark.parametrize("copies", [1, 3, 15])
@pytest.mark.parametrize("passes", ["one pass", "a later pass"])
def test_every_key_with_the_same_bytes_is_named(call, store, caplog, copies, passes) -> None:
    """By the log of the pass that finds it, and by the dry run of the deletion, however many there are."""
    keys = {f"01/cc/copy {number}.png" for number in range(copies)}
    if passes == "a later pass":
        call("--all", "--dry-run")
    for key in keys:
        store.put(key, canary_png())
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="lemmy_safety.scan"):
        assert call("--all", "--dry-run").exit_code == 0
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("flagged key=")]
    assert {key for key in keys for line in said if f"key={key!r}" in line} == keys
    shown = call("delete-flagged", "--dry-run").stderr
    assert all(key in shown for key in keys | store.canaries)
    assert f"{copies + 2} objects would be deleted" in shown
    assert keys <= store.present()
