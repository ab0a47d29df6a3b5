"""What a rerun takes over from the run that it repeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.core import ops
from perdure.core.ids import shown_step
from perdure.core.ops import Op
from perdure.errors import UsageError

__all__ = ["taken_over"]

Reused = dict[str, Any]
_OUTCOMES = frozenset(
    {ops.STEP_DONE, ops.STEP_FAILED, ops.TIMER_FIRED, ops.EVENT_GIVEN, ops.SIGNAL_GIVEN, ops.CHILD_ENDED}
)
_OPENED = frozenset({ops.TIMER_SET, ops.WAIT_OPENED, ops.CHILD_ISSUED, ops.EVENTS_SENT})


def taken_over(accepted: Sequence[Op], from_step: str, run_id: str) -> list[Reused]:
    """How all that the body asked for before a step has ended, in that order. `accepted` are the ops of the run.

    Raises UsageError for a step that the run has not come to.
    """
    outcomes: dict[str, Op | None] = {}
    for key in _before(accepted, from_step, run_id):
        outcomes[key] = None
    sends: set[str] = set()
    for name, body in accepted:
        key = body.get("key", "")
        if key not in outcomes:
            continue
        if name in _OUTCOMES:
            outcomes[key] = name, body
        elif name == ops.EVENTS_SENT or (name == ops.CHILD_ISSUED and body["detached"]):
            sends.add(key)
    return [{"key": key, "op": op} for key, op in outcomes.items() if op is not None or key in sends]


def _before(accepted: Sequence[Op], from_step: str, run_id: str) -> list[str]:
    """The keys of what was asked for before a step, which is named by its id or by its key."""
    asked: dict[str, None] = {}
    for name, body in accepted:
        keys = body["keys"] if name == ops.ASKED else [body["key"]] if name in _OPENED else []
        for key in keys:
            if from_step in (key, shown_step(key)):
                return list(asked)
            asked[key] = None
    steps = [shown_step(key) for key in asked]
    known = ", ".join(step for step in steps if not step.startswith("~")) or "none"
    raise UsageError(f"run {run_id} has not come to a step {from_step!r:.80}; its steps are {known:.500}")
