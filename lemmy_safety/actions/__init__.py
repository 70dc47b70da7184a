"""What follows from a verdict: the intent is on disk before the action, the outcome after it."""

from lemmy_safety.actions.base import Action, ActionResult, Wait
from lemmy_safety.actions.delete import DeleteAction
from lemmy_safety.actions.guard import ActionLimits, CircuitBreaker, Limit
from lemmy_safety.actions.runner import ActionReport, ActionRunner

__all__ = [
    "Action",
    "ActionLimits",
    "ActionReport",
    "ActionResult",
    "ActionRunner",
    "CircuitBreaker",
    "DeleteAction",
    "Limit",
    "Wait",
]
