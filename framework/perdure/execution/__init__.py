"""How the code of one run is driven: its event loop, its context and steps, the replay of its record. No I/O."""

from perdure.execution.conditions import BodyExited, BodyRaised
from perdure.execution.context import BaseContext, Context, FailureContext
from perdure.execution.current import StepInfo, current_step, running_step
from perdure.execution.execution import Execution
from perdure.execution.model import LogLine, RunStart, StepAsk, Turn
from perdure.execution.ports import Attempt, Outcome, Steps
from perdure.execution.step import Step, StepRunner
from perdure.execution.sync_context import SyncContext, SyncFailureContext
from perdure.execution.sync_execution import SyncExecution
from perdure.execution.sync_step import SyncStep, SyncStepRunner
from perdure.execution.waits import Signal

__all__ = [
    "Attempt",
    "BaseContext",
    "BodyExited",
    "BodyRaised",
    "Context",
    "Execution",
    "FailureContext",
    "LogLine",
    "Outcome",
    "RunStart",
    "Signal",
    "Step",
    "StepAsk",
    "StepInfo",
    "StepRunner",
    "Steps",
    "SyncContext",
    "SyncExecution",
    "SyncFailureContext",
    "SyncStep",
    "SyncStepRunner",
    "Turn",
    "current_step",
    "running_step",
]
