"""Runs under flow control on the way to their limits: the owner reads the keys that their events have, in a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import lru_cache
from typing import Any, cast

from perdure.authoring import cel
from perdure.authoring.limits import plain_path
from perdure.core import conditions, paths, payload
from perdure.core.durations import SECOND_US
from perdure.core.facts import Fact
from perdure.core.fold.gates import JOINING
from perdure.core.ops import EventData, Failure
from perdure.core.state import STILL, Run
from perdure.engine.life import Life
from perdure.engine.patience import with_store
from perdure.errors import EncodingError, InvalidEvent, PayloadError, PerdureError, UsageError
from perdure.execution.failures import failure_of
from perdure.payloads.records import Opener

PER_RECORD = 250
UNABLE_US = 1_000_000
PRIORITY_MAX_S = 600
OF_EVENTS = JOINING | {"rate", "idempotency"}
"""Limits on what events start, not on what runs at once."""
_NAMES = {
    "idempotency": "Idempotency",
    "rate": "RateLimit",
    "debounce": "Debounce",
    "batch": "Batch",
    "singleton": "Singleton",
    "throttle": "Throttle",
    "priority": "Priority",
    "concurrency": "Concurrency",
}
View = Mapping[str, Any]


class Admissions:
    """The admitting side of one claim's life."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._wanted: dict[str, None] = {}
        self._asked: set[str] = set()
        """In a record that is not read back."""
        self._soon = False
        self._waiting = False
        """Until this process can tell the keys."""
        self._told = 0
        self._fetched: dict[str, Mapping[str, bytes] | PerdureError] = {}
        """What was fetched for a run, or why it cannot be."""

    @property
    def busy(self) -> bool:
        """Whether runs wait for the next go of the event loop."""
        return self._soon

    def want(self, run: Run) -> None:
        """A run may begin, but for its limits. One that has asked them waits for their answers."""
        if run.admission is None or run.admission.at >= 0 or run.id in self._asked:
            return
        self._wanted[run.id] = None
        self._later()

    def configured(self) -> None:
        """Another config is in force."""
        if self._wanted:
            self._later()

    def _later(self) -> None:
        if not self._soon and not self._waiting:
            self._soon = True
            self._life.services.soon(self._flush)

    def _flush(self) -> None:
        self._soon = False
        life = self._life
        if not life.acting or not self._wanted:
            return
        state = life.state
        wanted = list(self._wanted)[:PER_RECORD]
        asks: list[dict[str, Any]] = []
        for run_id in wanted:
            run = state.runs.get(run_id)
            if (
                run is None
                or not run.live
                or run.status in STILL
                or run.admission is None
                or run.admission.at >= 0
            ):
                continue
            try:
                ask = self._ask(run, state.limited.get(run.function, ()))
            except UsageError as error:
                self._unable(error)
                return
            if ask is not None:
                asks.append(ask)
        for run_id in wanted:
            del self._wanted[run_id]
        if asks:
            self._asked.update(ask["run"] for ask in asks)
            self._append(asks)
        if self._wanted:
            self._later()

    def _ask(self, run: Run, limits: Any) -> dict[str, Any] | None:
        """What a run's event says of its flow control; None when that has to be opened first."""
        if not any(limit["key"] or limit["only"] for limit in limits):
            return _ask(run, run.event, limits)
        try:
            event = self._opened(run)
        except PayloadError as error:  # another worker may have the key, or the store
            services, run_id = self._life.services, run.id
            services.trouble(f"run {run.id} waits to be told by which keys its limits count it", error)
            self._asked.add(run_id)
            services.clock.call_at(services.clock.now() + UNABLE_US, lambda: self._once_more(run_id))
            return None
        return None if event is None else _ask(run, event, limits)

    def _opened(self, run: Run) -> EventData | None:
        """The run's event, opened; None while it is fetched. Raises PayloadError."""
        vault, run_id = self._life.services.vault, run.id
        fetched = self._fetched.pop(run_id, {})
        if isinstance(fetched, PerdureError):
            raise PayloadError(str(fetched)) from fetched
        opener = Opener(vault, fetched)
        event = opener.event(run.event)
        if not opener.wanted:
            return event
        wanted = dict(opener.wanted)

        def found(objects: Mapping[str, bytes] | PerdureError) -> None:
            self._fetched[run_id] = objects
            self._once_more(run_id)

        self._asked.add(run_id)
        with_store(
            self._life.services,
            run_id,
            None,
            lambda: {name: vault.fetch(reference) for name, reference in wanted.items()},
            found,
            lambda: self._life.acting,
        )
        return None

    def _once_more(self, run_id: str) -> None:
        self._asked.discard(run_id)
        run = self._life.state.runs.get(run_id)
        if run is not None and run.live and self._life.acting:
            self.want(run)

    def _append(self, asks: list[dict[str, Any]]) -> None:
        runs = [ask["run"] for ask in asks]

        def read(_fact: Fact, void: str | None) -> None:
            self._asked.difference_update(runs)
            for run_id in runs if void is not None else ():
                self._once_more(run_id)

        body = {"config": self._life.state.config["version"], "asks": asks}
        if not self._life.append("Admitted", body, read) and len(asks) > 1:
            half = len(asks) // 2  # one alone fits: a long key is a digest
            self._append(asks[:half])
            self._append(asks[half:])

    def _unable(self, error: UsageError) -> None:
        """This process lacks what the definitions need: CEL, or a newer one. Others may have it."""
        state, services = self._life.state, self._life.services
        if self._told != state.config["version"]:
            self._told = state.config["version"]
            where = (
                f"runs of partition {state.number} wait for a worker that can tell the keys of their limits"
            )
            services.trouble(where, error)
        self._waiting = True
        services.clock.call_at(services.clock.now() + UNABLE_US, self._again)

    def _again(self) -> None:
        self._waiting = False
        if self._wanted and self._life.acting:
            self._later()


def _ask(run: Run, event: EventData, limits: Any) -> dict[str, Any]:
    """What a run's event says of its flow control (`perdure.AdmissionAsk`).

    Raises UsageError when this process cannot tell; an event that cannot be told of is a fault of the run.
    """
    values: list[bytes | None] = []
    priority = 0
    view: View | None = None
    for limit in limits:
        reader = _reader(limit["kind"], limit["key"], limit["only"])
        try:
            view = _view(event) if view is None and (limit["key"] or limit["only"]) else view
            value = reader(view or {})
        except PerdureError as error:
            return {"run": run.id, "values": [], "priority": 0, "fault": _fault(run, limit, str(error))}
        if limit["kind"] == "priority":
            priority = cast("int", value)
            values.append(None)
        elif limit["kind"] in _passed_by(run):
            values.append(None)
        else:
            values.append(cast("bytes | None", value))
    return {"run": run.id, "values": values, "priority": priority, "fault": None}


def _passed_by(run: Run) -> Set[str]:
    """The kinds of limits that do not hold for a run, since somebody waits for, or asks for, this very one."""
    if run.repeats:
        return OF_EVENTS  # its event was counted before
    return JOINING if run.parent is not None else frozenset()


def _view(event: EventData) -> View:
    try:
        return paths.event_view(event)
    except EncodingError as error:
        raise InvalidEvent(str(error)) from error


def _fault(run: Run, limit: Mapping[str, Any], why: str) -> Failure:
    field = (
        "expression"
        if limit["kind"] == "priority"
        else "if_"
        if limit["only"] and not limit["key"]
        else "key"
    )
    text = limit[{"if_": "only"}.get(field, "key")]
    error = InvalidEvent(
        f"function {run.function!r}: {_NAMES.get(limit['kind'], limit['kind'])}({field}={text!r:.200}): {why}. Send"
        f" events of {run.event['name']!r} with it, or write the {field} as CEL that says what else it is:"
        ' has(event.data.x) ? event.data.x : ""'
    )
    return failure_of(error)


@lru_cache(maxsize=4_096)
def _reader(kind: str, key: str, only: str) -> Callable[[View], bytes | int | None]:
    """What tells a limit's key of an event: canonical JSON, a priority in microseconds, or None for an event that it
    does not concern. That raises PerdureError for an event without one. Raises UsageError where CEL is missing."""
    if kind == "priority":
        of = _value_reader(key)
        return lambda view: _priority(of(view))
    wanted = _condition_reader(only) if only else None
    path = plain_path(key) if key else ""
    if path is not None:
        value: Callable[[View], bytes] = (lambda view: _at(view, path)) if path else lambda _view: b""
    else:
        of = _value_reader(key)
        value = lambda view: paths.digested(payload.canonical(of(view)))  # noqa: E731
    if wanted is None:
        return value
    return lambda view: value(view) if wanted(view) else None


def _value_reader(text: str) -> Callable[[View], object]:
    path = plain_path(text)
    if path is not None:
        return lambda view: payload.loads(_at(view, path))
    return cel.valuer(text)


def _condition_reader(text: str) -> Callable[[View], bool]:
    condition = conditions.parse(text)
    test = cel.tester(condition) if condition.rest else None

    def holds(view: View) -> bool:
        if any(conditions.value_at(view, path) != value for path, value in condition.equals):
            return False
        return test is None or test(conditions.projected(view, condition.reads))

    return holds


def _at(view: View, path: str) -> bytes:
    found, value = paths.path_value(view, path)
    if not found:
        raise InvalidEvent("the event has nothing there")
    if value[:1] in b"{[":
        raise InvalidEvent("the event has no text, number, true, false or null there")
    return paths.digested(value)


def _priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # NaN
        raise InvalidEvent(f"it says {value!r:.80}, and has to say a number of seconds")
    return int(max(-PRIORITY_MAX_S, min(value, PRIORITY_MAX_S)) * SECOND_US)
