"""The functions of an app, by id."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, TypedDict

from perdure.authoring.functions import Function, check_function
from perdure.authoring.limits import Concurrency, LimitSpec
from perdure.errors import UsageError

__all__ = ["Definition", "Registry"]


class Asked(TypedDict):
    """What a trigger asks of an event (`perdure.Condition`)."""

    trigger: int
    cel: str


class Planned(TypedDict):
    """When the clock starts a function (`perdure.Schedule`)."""

    id: str
    cron: str
    tz: str
    jitter: int
    catch_up: str
    overlap: str


class Cancelling(TypedDict):
    """Which events cancel the runs of a function (`perdure.CancelOn`)."""

    event: str
    path: str
    own: str
    timeout: int
    cel: str


class Definition(TypedDict):
    """A function as the log knows it (`perdure.Definition`)."""

    id: str
    triggers: list[str]
    code: str
    handler: str | None
    conditions: list[Asked]
    schedules: list[Planned]
    cancels: list[Cancelling]
    start_within: int
    finish_within: int
    flow: list[LimitSpec]


class Registry:
    """Which functions there are; failure handlers are among them, under ids of their own."""

    __slots__ = ("_functions",)

    def __init__(self) -> None:
        self._functions: dict[str, Function[Any, Any]] = {}

    def add(self, function: Function[Any, Any]) -> None:
        """Takes a function and its failure handler. Raises UsageError, with both places, for an id that is taken."""
        if (other := self._functions.get(function.id)) is not None:
            raise UsageError(
                f"two functions have the id {function.id!r}: at {other.where} and at {function.where}; "
                "rename one, or give it id="
            )
        self._functions[function.id] = function
        if function.on_failure is not None:
            self._functions[function.on_failure.id] = function.on_failure

    def get(self, function_id: str) -> Function[Any, Any] | None:
        """The function of that id, or None."""
        return self._functions.get(function_id)

    def resolve(self, function: str | Function[Any, Any]) -> Function[Any, Any]:
        """The function of an id, or the one given if it is of this registry. Raises UsageError for any other."""
        # Type checkers know better; callers without one do not.
        if not isinstance(function, str | Function):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"{function!r:.80} is not a function of this app; give what @app.function made of it, or its id"
            )
        function_id = function if isinstance(function, str) else function.id
        found = self._functions.get(function_id)
        if found is not None and (isinstance(function, str) or found is function):
            return found
        if found is not None:
            raise UsageError(f"{function!r} belongs to another app; this one has {found!r} under that id")
        near = difflib.get_close_matches(function_id, self._functions, n=1)
        hint = (
            f'; did you mean "{near[0]}"?'
            if near
            else f"; there are {', '.join(sorted(self._functions)) or 'none'}"
        )
        raise UsageError(f'no function has the id "{function_id[:80]}"{hint[:300]}')

    def check(self) -> None:
        """Looks at each function before anything runs. Raises UsageError, with its place, for one that cannot work."""
        for function in self:
            check_function(function)
        self._check_shared()

    def _check_shared(self) -> None:
        """A limit that several functions share is one."""
        known: dict[str, tuple[int, Function[Any, Any]]] = {}
        for function in self:
            for limit in function.flow:
                if not isinstance(limit, Concurrency) or limit.scope != "app":
                    continue
                shared, other = known.setdefault(limit.spec(function.id)["id"], (limit.limit, function))
                if shared != limit.limit:
                    key = f"key {limit.key!r}" if limit.key else "no key"
                    raise UsageError(
                        f"function {function.id!r} at {function.where}: Concurrency(limit={limit.limit}, scope='app')"
                        f" of {limit.unit}s with {key}, and {other.id!r} at {other.where} has {shared} there; the app"
                        " has one such limit: give both the same"
                    )

    def triggered_by(self, event_name: str) -> list[Function[Any, Any]]:
        """The functions that an event of that name starts, each once, in the order of their definition."""
        return [function for function in self if function.trigger_for(event_name) is not None]

    def definitions(self) -> list[Definition]:
        """All functions as the log knows them, in the order of their ids."""
        return [
            {
                "id": function.id,
                "triggers": [trigger.name for trigger in function.triggers],
                "code": function.code,
                "handler": None if function.on_failure is None else function.on_failure.id,
                "conditions": [
                    {"trigger": number, "cel": text}
                    for number, trigger in enumerate(function.triggers)
                    for text in dict.fromkeys(
                        if_ if isinstance(if_, str) else "" for if_ in trigger.conditions
                    )
                ],
                "schedules": [
                    {
                        "id": cron.id_of(function.id),
                        "cron": cron.expression,
                        "tz": cron.tz,
                        "jitter": cron.jitter_us,
                        "catch_up": cron.catch_up,
                        "overlap": cron.overlap,
                    }
                    for cron in function.crons
                ],
                "cancels": [
                    {
                        "event": cancel.event,
                        "path": cancel.path,
                        "own": cancel.own,
                        "timeout": cancel.timeout_us,
                        "cel": cancel.cel,
                    }
                    for cancel in function.cancel_on
                ],
                "start_within": function.timeouts.start_us,
                "finish_within": function.timeouts.finish_us,
                "flow": [limit.spec(function.id) for limit in function.flow],
            }
            for function in sorted(self, key=lambda function: function.id)
        ]

    def __iter__(self) -> Iterator[Function[Any, Any]]:
        return iter(self._functions.values())

    def __len__(self) -> int:
        return len(self._functions)

    def __contains__(self, function_id: object) -> bool:
        return function_id in self._functions
