"""`assert_replays`: present code against a recorded run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perdure.app import App
from perdure.authoring.functions import Function
from perdure.core.ops import Op
from perdure.engine.executions import execution_for
from perdure.errors import UsageError
from perdure.execution.model import RunStart
from perdure.index.views import RunView


def assert_replays(history: RunView | Iterable[RunView], app: App) -> None:
    """Replays recorded runs with the functions of `app`.

    `history` is what `env.run(id).view` or a log's reader gives. Raises NonDeterminismError, which names both sides,
    for a run that the code of today would drive otherwise; UsageError for a run whose function is not there.
    """
    for run in [history] if isinstance(history, RunView) else history:
        _replay(run, app)


def _replay(run: RunView, app: App) -> None:
    function = app.functions.get(run.function)
    if function is None:
        raise UsageError(f"run {run.id} is of function {run.function!r}, which the app does not have")
    began = run.begun or max(run.created, run.event["ts"])
    start = RunStart(run.id, run.function, (run.event,), began, run.tags, run.seed)
    functions: Mapping[str, Function[Any, Any]] = {f.id: f for f in app.functions}
    issued = _children(run.ops)
    execution = execution_for(
        function,
        start,
        limits=app.limits,
        functions=functions,
        child_run_id=lambda key: issued.get(key, ""),
        strict=False,
    )
    try:
        execution.replay([run.ops])
    finally:
        execution.teardown()


def _children(ops: Sequence[Op]) -> dict[str, str]:
    return {body["key"]: body["run"] for name, body in ops if name == "perdure.ChildIssued"}
