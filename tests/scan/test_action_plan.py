"""Settings become one plan of what is done; a dry run is the empty one."""

from __future__ import annotations

import pytest

from lemmy_safety.records import ActionPlan
from lemmy_safety.scan import ScanOptions
from lemmy_safety.settings import Settings
from lemmy_safety.wiring import build_action_plan


@pytest.mark.parametrize(
    ("settings", "plan"),
    [
        ({"action": "delete", "unreadable_action": "delete"}, ActionPlan("delete", "delete")),
        ({"action": "delete", "unreadable_action": "report"}, ActionPlan("delete", None)),
        ({"action": "delete", "unreadable_action": "delete", "skip_unreadable": True}, ActionPlan("delete", None)),
        ({"action": "report", "unreadable_action": "delete"}, ActionPlan()),
        ({"action": "delete", "unreadable_action": "delete", "dry_run": True}, ActionPlan()),
    ],
)
def test_settings_become_a_plan(settings, plan) -> None:
    """An admin who wants reports gets reports about unreadable objects too, and a dry run plans nothing."""
    assert build_action_plan(Settings(**settings)) == plan
    assert bool(plan) is (plan != ActionPlan())


def test_scan_options_of_a_dry_run_with_a_plan_to_act_are_refused() -> None:
    """No pass can be started that says "dry run" and deletes."""
    assert ScanOptions(dry_run=True, plan=ActionPlan()).plan == ActionPlan()
    for plan in (ActionPlan(flagged="delete"), ActionPlan(unreadable="delete")):
        with pytest.raises(ValueError, match="a dry run acts on nothing"):
            ScanOptions(dry_run=True, plan=plan)
