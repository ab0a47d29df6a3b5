"""Finding a run, and what it was like after any of its ops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from perdure.cli.wording import DIGEST, SHORT_ID, counted, tail
from perdure.core import ops, payload
from perdure.core.ids import placement
from perdure.core.ops import Op
from perdure.core.state import Run
from perdure.errors import RunNotFound, UsageError
from perdure.index.reader import JournalReader
from perdure.index.views import RunView, step_views

SHOWN_MAX = 5


def find_run(reader: JournalReader, text: str) -> Run:
    """The run that an id, or the beginning of one, means. `1p` and `function/` in front may be left out."""
    runs = reader.runs()
    found = [run for run in runs if run.id == text] or [run for run in runs if _begins(run.id, text)]
    if not found:
        raise RunNotFound(
            f"no run {text!r} is in this log: it never started, or ended longer ago than ended runs are kept; "
            "`perdure runs list` shows those that are"
        )
    if len(found) > 1:
        some = ", ".join(run.id for run in found[:SHOWN_MAX])
        more = f" and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
        raise UsageError(
            f"{text!r} begins the ids of {counted(len(found), 'run')}: {some}{more}; write one more letter"
        )
    return found[0]


def _begins(run_id: str, text: str) -> bool:
    return run_id.startswith(text) or tail(run_id).startswith(text)


def short_ids(run_ids: Sequence[str]) -> dict[str, str]:
    """The shortest names by which each of these can be found among them."""
    placed = {run_id for run_id in run_ids if placement(run_id) is not None}
    cut = DIGEST - SHORT_ID
    while cut and len({tail(run_id)[:-cut] for run_id in placed}) < len(placed):
        cut -= 1
    return {run_id: tail(run_id)[: -cut or None] if run_id in placed else run_id for run_id in run_ids}


def at(view: RunView, count: int) -> RunView:
    """The run as it was after the first `count` of its ops. Commands that needed no op, such as pause, do not show."""
    accepted = view.ops[:count]
    past = replace(
        view, status="queued", started=0, ended=0, result=None, error=None, reason="", values={}, ops=accepted
    )
    past.steps = step_views(accepted)
    for name, body in accepted:
        changed = _CHANGES.get(name)
        if changed is not None:
            changed(past, body)
    return past


Body = dict[str, Any]


def _started(view: RunView, body: Body) -> None:
    view.status, view.started = "running", body["time"]


def _parked(view: RunView, body: Body) -> None:
    view.status, view.reason = "parked", f"{body['reason']}: {body['detail']}"


def _resumed(view: RunView, _body: Body) -> None:
    view.status, view.reason = "running", ""


def _value_set(view: RunView, body: Body) -> None:
    view.values[body["name"]] = payload.loads(body["value"])


def _done(view: RunView, body: Body) -> None:
    view.status, view.ended, view.result = "completed", body["time"], payload.loads(body["result"])


def _failed(view: RunView, body: Body) -> None:
    view.status, view.ended, view.error = "failed", body["time"], body["error"]


def _cancelled(view: RunView, body: Body) -> None:
    view.status, view.ended, view.reason = "cancelled", body["time"], body["reason"]


_CHANGES = {
    ops.STARTED: _started,
    ops.PARKED: _parked,
    ops.RESUMED_BY_USER: _resumed,
    ops.VALUE_SET: _value_set,
    ops.RUN_DONE: _done,
    ops.RUN_FAILED: _failed,
    ops.RUN_CANCELLED: _cancelled,
}


def last_op(accepted: Iterable[Op]) -> str:
    """The last op in words."""
    name, body = list(accepted)[-1]
    key = body.get("key", "")
    return f"{name.partition('.')[2]} {key.partition('/')[2]}".rstrip()
