"""What the engine itself sends as events: that a run has ended or was started by name, that a schedule has ticked.

Only those that a function waits for under the config in force, so that nobody pays for what nobody hears. Of what such
an event starts, neither start nor end is told: a function that hears of every end would hear of its own for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure.core import failures, ids, payload
from perdure.core.fold import channels
from perdure.core.ops import EventData, Failure
from perdure.core.routing import CANCELLED, FAILED, FINISHED, INVOKED, TICK
from perdure.core.sealed import is_sealed, nested
from perdure.core.state import PartitionState, Run
from perdure.errors import EncodingError

_TOLD = "perdure/"
"""How the ids of these events begin: by that, what they start is known wherever it is made."""
Read = Callable[[bytes], Any]

_NAMES = {"completed": (FINISHED,), "failed": (FINISHED, FAILED), "cancelled": (CANCELLED,), "skipped": ()}


def ended(state: PartitionState, run: Run, ts: int) -> None:
    """A run has ended. `finished` is told of what completed or failed, as in other systems of this kind."""
    wanted = [name for name in _NAMES[run.status] if name in state.heard]
    event = run.event
    if not wanted or _is_told(event) or event["name"] == FAILED:  # nor of a failure's handler
        return
    whole: dict[str, Any] = {"run_id": run.id, "function_id": run.function, "status": run.status}
    if run.error is not None:
        whole["error"] = failures.told(run.error)
    if run.status == "cancelled":
        whole["reason"] = run.reason
    result = run.result

    def told(read: Read) -> dict[str, Any]:
        ending = {} if result is None else {"result": read(result)}
        return whole | ending | {"event": {**event, "data": read(event["data"])}}

    data = _written(told)
    for name in wanted:
        _tell(state, name, run.id, ts, event, data)


def started(state: PartitionState, run_id: str, function: str, event: EventData) -> None:
    """A run was started by name, or by the clock."""
    name = event["name"]
    if name not in state.heard or name not in (INVOKED, TICK) or _is_told(event):
        return
    whole = {"run_id": run_id, "function_id": function}
    data = event["data"] if name == TICK else _written(lambda read: whole | {"data": read(event["data"])})
    _tell(state, name, run_id, event["ts"], event, data)


def failure(run: Run, error: Failure, ts: int) -> EventData:
    """The event that starts a failure handler: what failed, how, and the event that began it."""
    event = run.event
    whole: dict[str, Any] = {"run_id": run.id, "function_id": run.function, "error": failures.told(error)}
    data = _written(lambda read: whole | {"event": {**event, "data": read(event["data"])}})
    return _made(FAILED, ids.digest("failed", run.id), ts, event, data)


def _written(told: Callable[[Read], dict[str, Any]]) -> bytes:
    try:
        return payload.dumps(told(_read))
    except (
        EncodingError
    ):  # any client may append events, and any bytes as their data; or it is nested too deeply now
        return payload.dumps(told(lambda data: data.decode(errors="replace")))


def _read(data: bytes) -> Any:
    """A payload as a value of JSON. What is sealed stays sealed: no reader of a log needs a key to fold it."""
    return nested(data) if is_sealed(data) else payload.loads(data)


def _is_told(event: EventData) -> bool:
    return event["id"].startswith(_TOLD)


def _tell(state: PartitionState, name: str, run_id: str, ts: int, of: EventData, data: bytes) -> None:
    channels.to_events(state, _made(name, _TOLD + ids.digest(name, run_id), ts, of, data))


def _made(name: str, event_id: str, ts: int, of: EventData, data: bytes) -> EventData:
    return EventData(name=name, id=event_id, ts=ts, key=of["key"], v=None, data=data, trace=of["trace"])
