"""Functions: what a user writes, and the registry of an app.

The context types live in a layer above, so `Function` is generic over what the context carries: a decorator is
typed there as two overloads, `Callable[[Context[E]], Awaitable[R]]` and `Callable[[SyncContext[E]], R]`, each giving
`Function[E, R]`. Both call `make_function`.
"""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import CodeType
from typing import Any, Final, Generic, Literal, cast

from typing_extensions import TypeVar

from perdure.authoring.annotations import target_of
from perdure.authoring.contexts import annotated_models, context_fault
from perdure.authoring.cron import Cron
from perdure.authoring.ending import NO_TIMEOUTS, CancelOn, CancelOns, Timeouts, cancels_of, timeouts_of
from perdure.authoring.events import Event, Received, Tick, event_codec
from perdure.authoring.flow import Flow, check_ends, check_flow, flow_of
from perdure.authoring.names import INVOKED, function_id_fault
from perdure.authoring.payloads import Codec, codec_for
from perdure.authoring.retry import Retry, retry_of
from perdure.authoring.triggers import If, On, Trigger, crons_of, event_types, triggers_of
from perdure.core.ops import EventData
from perdure.core.routing import matches
from perdure.errors import UsageError

__all__ = [
    "DEFAULT_RETRY",
    "FAILURE_SUFFIX",
    "Function",
    "OnError",
    "check_function",
    "event_model",
    "make_function",
]

E = TypeVar("E", default=Any)
R_co = TypeVar("R_co", covariant=True, default=Any)

OnError = Literal["fail", "pause"]

DEFAULT_RETRY: Final = Retry()
FAILURE_SUFFIX: Final = ":on-failure"
"""Ends the id of a failure handler; no id that a user gives can hold a colon."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Function(Generic[E, R_co]):
    """A durable function: its code, and what starts it. Made by `@app.function`; `E` is its event, `R` its result."""

    id: str
    name: str
    version: str | None
    body: Callable[[Any], Any]
    is_async: bool
    triggers: tuple[Trigger, ...]
    crons: tuple[Cron, ...] = ()
    retry: Retry
    on_failure: Function[Any, Any] | None = None
    on_error: OnError = "fail"
    cancel_on: tuple[CancelOn, ...] = ()
    timeouts: Timeouts = NO_TIMEOUTS
    kind: Literal["run", "failure"] = "run"
    code: str
    """The version, else a hash of the body's source: it is stamped on runs."""
    where: str
    """File and line of the body."""
    event_types: Mapping[str, type[Event] | None] = field(default_factory=dict[str, type[Event] | None])
    flow: Flow = ()
    """Its flow control, in the order in which a start passes it."""

    @property
    def codec(self) -> Codec[Any]:
        """Writes and reads the result, by the body's return annotation.

        It is looked up at the first use, when all the types that it names are defined. Raises UsageError for an
        annotation that cannot be recorded.
        """
        return codec_for(self.body)

    def receive(self, event: EventData) -> Received[E]:
        """An event as the body sees it, typed by the trigger that names it, else by the body's own annotation."""
        return Received(event, cast("type[E] | None", event_model(self, event["name"])))

    def trigger_for(self, name: str) -> Trigger | None:
        """The first trigger that fits an event's name: one with that very name before a pattern."""
        fitting = [trigger for trigger in self.triggers if matches(trigger.name, name)]
        return next((trigger for trigger in fitting if trigger.name == name), fitting[0] if fitting else None)

    def __repr__(self) -> str:
        return f"<function {self.id} at {self.where}>"


def make_function(
    body: Callable[[Any], Any],
    *,
    on: On = None,
    if_: If | None = None,
    id: str | None = None,  # noqa: A002
    name: str | None = None,
    version: str | None = None,
    retries: int | None = None,
    retry: Retry | None = None,
    on_failure: Callable[[Any], Any] | None = None,
    on_error: OnError = "fail",
    cancel_on: CancelOns = None,
    timeouts: Timeouts | None = None,
    kind: Literal["run", "failure"] = "run",
    **flow: Any,
) -> Function[Any, Any]:
    """The function that a body and its keywords declare.

    `on` is an event name, an `Event` class, a `Trigger`, a `Cron`, or a list of these; without it the function is only
    started or invoked by name. `if_` is asked of whatever event starts it (see `Trigger`); `flow` are the keywords of
    flow control (see `flow_of`). The id defaults to the
    body's name with dashes. Raises UsageError for a body that takes anything but one context, a bad id, and keywords
    that do not fit.
    """
    where = _where(body)
    if isinstance(body, Function) or not callable(body):
        raise UsageError(f"{body!r} is not a body; decorate a def or async def that takes the context")
    if id is None:
        id = _derived_id(body, where)  # noqa: A001
    elif kind == "run" and (fault := function_id_fault(id)):
        raise UsageError(f"the function id {id!r:.80} at {where} {fault}")
    what = f"function {id!r} at {where}"
    _check_signature(body, what)
    _check_keywords(what, flow)
    _check_text(what, name=name, version=version)
    if on_error not in ("fail", "pause"):
        raise UsageError(f'{what}: on_error={on_error!r}; use "fail" or "pause"')
    crons, events = crons_of(on, what)
    triggers = triggers_of(events, what, if_=if_)
    _check_context(body, _is_async(body), triggers, crons, what)
    types = event_types(_all_triggers(triggers, crons))
    ends, limits = timeouts_of(timeouts, what), flow_of(what, **flow)
    check_ends(what, limits, cancels=cancel_on is not None, start_us=ends.start_us)
    return Function(
        id=id,
        name=name or id,
        version=version,
        body=body,
        is_async=_is_async(body),
        triggers=triggers,
        crons=crons,
        retry=retry_of(retries=retries, retry=retry, default=DEFAULT_RETRY, what=what),
        on_failure=None if on_failure is None else _handler(on_failure, id, version, what),
        on_error=on_error,
        cancel_on=cancels_of(cancel_on, set(types.values()), what),
        timeouts=ends,
        kind=kind,
        code=version or _source_hash(body),
        where=where,
        event_types=types,
        flow=limits,
    )


def _check_keywords(what: str, flow: dict[str, Any]) -> None:
    """Raises UsageError for what is no keyword at all."""
    limits = list(inspect.signature(flow_of).parameters)[1:]
    for strange in flow.keys() - set(limits):
        near = get_close_matches(
            strange, [*list(inspect.signature(make_function).parameters)[1:], *limits], 1
        )
        raise UsageError(
            f"{what}: there is no keyword {strange}=" + (f"; did you mean {near[0]}=?" if near else "")
        )


def check_function(function: Function[Any, Any]) -> None:
    """Builds what a function otherwise builds at its first use; before anything runs, and all types are defined.

    Raises UsageError for a result, an event or a context that cannot be what the body is annotated with.
    """
    what = f"function {function.id!r} at {function.where}"
    _check_context(function.body, function.is_async, function.triggers, function.crons, what)
    check_flow(what, function.flow, [model for model in function.event_types.values() if model is not None])
    try:
        _ = function.codec
        for model in dict.fromkeys([*function.event_types.values(), *annotated_models(function.body)]):
            if model is not None:
                event_codec(model, model.__perdure_name__ or model.__name__)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error


def event_model(function: Function[Any, Any], name: str) -> type[Event] | None:
    """The class of an event of that name, as the body of a function sees it; None when its data is a dict."""
    types = function.event_types
    model = types.get(name)
    if model is not None or function.kind == "failure":  # a handler's own event is the engine's
        return model
    if name == INVOKED and name not in types and len(models := set(types.values())) == 1:
        (model,) = models  # what the engine made stands for the only one declared
        if model is not None:
            return model
    annotated = annotated_models(function.body)
    named = [model for model in annotated if model.__perdure_name__ == name]
    if named:
        return named[0]
    return annotated[0] if len(annotated) == 1 and name not in types else None


def _handler(
    body: Callable[[Any], Any], function_id: str, version: str | None, what: str
) -> Function[Any, Any]:
    if isinstance(body, Function):
        raise UsageError(f"{what}: on_failure={body!r}; use a plain def or async def, without @app.function")
    return make_function(
        body,
        id=function_id + FAILURE_SUFFIX,
        name=f"{function_id} on failure",
        version=version,
        kind="failure",
    )


def _is_async(body: Callable[[Any], Any]) -> bool:
    # A decorator written as a plain def around an async def still returns what must be awaited.
    target = target_of(body)
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(inspect.unwrap(target))


def _derived_id(body: Callable[[Any], Any], where: str) -> str:
    name = getattr(target_of(body), "__name__", "")
    derived = name.strip("_").replace("_", "-")
    if fault := function_id_fault(derived):
        raise UsageError(
            f"the body at {where} is called {name!r}, from which no id can be made ({fault}); give id="
        )
    return derived


def _check_signature(body: Callable[[Any], Any], what: str) -> None:
    target = target_of(body)
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise UsageError(f"{what} has a yield in its body; a durable function returns its result")
    try:
        signature = inspect.signature(body)
    except (TypeError, ValueError):  # written in C
        return
    try:
        signature.bind(object())
    except TypeError:
        raise UsageError(
            f"{what} takes {signature}; a function takes the context alone, (ctx: Context), and what else it needs "
            "comes with the event"
        ) from None


def _all_triggers(triggers: tuple[Trigger, ...], crons: tuple[Cron, ...]) -> tuple[Trigger, ...]:
    """A cron's event, too, is one that starts the function."""
    return (*triggers, Trigger(Tick)) if crons else triggers


def _check_context(
    body: Callable[[Any], Any],
    is_async: bool,
    triggers: tuple[Trigger, ...],
    crons: tuple[Cron, ...],
    what: str,
) -> None:
    if fault := context_fault(body, is_async=is_async, triggers=_all_triggers(triggers, crons)):
        raise UsageError(f"{what}: {fault}")


def _check_text(what: str, **values: object) -> None:
    for name, value in values.items():
        if value is not None and (not isinstance(value, str) or not value.strip() or len(value) > 256):
            raise UsageError(f"{what}: {name}={value!r:.80}; use a string of 1 to 256 characters")


def _where(body: object) -> str:
    if not callable(body) or isinstance(body, Function):
        return "?"
    code = getattr(inspect.unwrap(target_of(body)), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if isinstance(code, CodeType) else repr(body)


def _source_hash(body: Callable[[Any], Any]) -> str:
    """Twelve digits that change with the body's own text, not with what it calls or where it stands."""
    target = inspect.unwrap(target_of(body))
    try:
        text = textwrap.dedent(inspect.getsource(target)).encode()
    except (OSError, TypeError):  # typed at a prompt, or made by exec
        text = _code_text(getattr(target, "__code__", None)).encode()
    return hashlib.sha256(text).hexdigest()[:12]


def _code_text(code: object) -> str:
    if not isinstance(code, CodeType):
        return ""
    constants = [_code_text(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return repr((code.co_name, code.co_names, code.co_varnames, code.co_code.hex(), constants))
