"""Which kind of execution drives a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from perdure.authoring.functions import Function
from perdure.core.limits import Limits
from perdure.execution.execution import Execution
from perdure.execution.model import RunStart
from perdure.execution.sync_execution import SyncExecution

AnyExecution = Execution | SyncExecution


def execution_for(
    function: Function[Any, Any],
    start: RunStart,
    *,
    limits: Limits,
    functions: Mapping[str, Function[Any, Any]],
    child_run_id: Callable[[str], str],
    strict: bool,
) -> AnyExecution:
    """An execution of a run, not yet begun."""
    kind = Execution if function.is_async else SyncExecution
    return kind(
        function,
        start,
        code=function.code,
        limits=limits,
        functions=functions,
        child_run_id=child_run_id,
        strict=strict,
    )
