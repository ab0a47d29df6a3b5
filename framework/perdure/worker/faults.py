"""How an attempt can end other than by what its function returns or raises."""

from __future__ import annotations

from perdure.errors import PerdureError

__all__ = ["StepProcessDied", "StepStopped"]


class StepProcessDied(PerdureError):
    """The process in which a step ran ended under it: killed, crashed, or by os._exit. The attempt has failed."""

    code = "step-process-died"


class StepStopped(PerdureError):
    """Nobody waits for the step any more, so it was stopped."""

    code = "step-stopped"
