"""What a body is annotated with, held against what starts it: where it is declared, and before a worker starts."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import pytest
from pydantic import BaseModel

from perdure.authoring.events import Event
from perdure.authoring.functions import check_function, event_model, make_function
from perdure.authoring.names import INVOKED
from perdure.authoring.registry import Registry
from perdure.authoring.triggers import Trigger
from perdure.core.payload import dumps
from perdure.errors import UsageError
from perdure.execution import Context, FailureContext, SyncContext, SyncFailureContext
from perdure.execution.context import BaseContext

T = TypeVar("T")


class Base(Event):
    id: str


class U(Base, name="ctx/u"):
    a: int


class V(Base, name="ctx/v"):
    b: int


class Changed(Event, Generic[T], name="ctx/changed"):
    value: T


class Plain(BaseModel):
    a: int


class Asks(Protocol):
    step: Any


class Own(Context[U]):
    """A context of the user's."""


async def of_u(ctx: Context[U]) -> None: ...
async def of_v(ctx: Context[V]) -> None: ...
async def of_either(ctx: Context[U | V]) -> None: ...
async def of_two_contexts(ctx: Context[U] | Context[V]) -> None: ...
async def of_base(ctx: Context[Base]) -> None: ...
async def of_a_dict(ctx: Context[dict[str, Any]]) -> None: ...
async def of_u_or_a_dict(ctx: Context[U | dict[str, Any]]) -> None: ...
async def of_anything(ctx: Context) -> None: ...
async def of_any(ctx: Any) -> None: ...
async def of_a_protocol(ctx: Asks) -> None: ...
async def of_its_own(ctx: Own) -> None: ...
async def of_what_is_generic(ctx: Context[T]) -> None: ...
async def of_changed(ctx: Context[Changed]) -> None: ...
async def of_changed_int(ctx: Context[Changed[int]]) -> None: ...
async def of_plain(ctx: Context[Plain]) -> None: ...
async def of_what_is_unknown(ctx: Context[Nowhere]) -> None: ...  # type: ignore[name-defined] # noqa: F821
async def of_both_kinds(ctx: Context[U] | SyncContext[U]) -> None: ...
async def of_the_base_context(ctx: BaseContext[U]) -> None: ...
async def sync_in_async(ctx: SyncContext[U]) -> None: ...
async def blocking_handler(ctx: SyncFailureContext[U]) -> None: ...
def blocking(ctx: SyncContext[U]) -> None: ...
def async_in_sync(ctx: Context[U]) -> None: ...
def plain_async_in_sync(ctx: Context) -> None: ...
def handler(ctx: FailureContext[U]) -> None: ...
def with_more(n: int, ctx: Context[V]) -> Any: ...


class Service:
    async def on_v(self, ctx: Context[V]) -> None: ...


def logged(fn: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    @functools.wraps(fn)
    def wrapper(ctx: Any) -> Awaitable[Any]:
        return fn(ctx)

    return wrapper


# --- A9 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "on"),
    [
        (of_u, U),
        (of_u, Trigger(U)),
        (of_u, "ctx/u"),
        (of_u, "ctx/*"),
        (of_u, None),
        (of_either, U),
        (of_either, [U, V]),
        (of_either, ["ctx/u", V]),
        (of_two_contexts, [U, V]),
        (of_base, [U, V]),
        (of_a_dict, U),
        (of_a_dict, [U, "x/y"]),
        (of_u_or_a_dict, [U, "x/y"]),
        (of_anything, U),
        (of_anything, [U, V, "x/y"]),
        (of_any, U),
        (of_a_protocol, U),
        (of_its_own, U),
        (of_what_is_generic, U),
        (of_changed, Changed[int]),
        (of_changed_int, Changed[int]),
        (of_changed_int, Changed),
        (of_what_is_unknown, U),
        (of_both_kinds, U),
        (of_the_base_context, U),
        (blocking, U),
        (logged(of_u), U),
        (functools.partial(of_u), U),
        (Service().on_v, V),
    ],
)
def test_A9_an_annotation_that_fits_what_starts_the_body_is_taken(body: Any, on: Any) -> None:
    function = make_function(body, on=on)
    check_function(function)


@pytest.mark.parametrize(
    ("body", "on", "says"),
    [
        (
            of_v,
            U,
            r"^function 'of-v' at .*test_contexts\.py:\d+: the data of the event 'ctx/u', which starts it, is a U",
        ),
        (of_v, U, r"is a U, but it takes a Context\[V\]; write ctx: Context\[U\], or change on=$"),
        (of_u, [U, V], r"'ctx/v', .* is a V, but it takes a Context\[U\]; write ctx: Context\[U \| V\]"),
        (of_u, [U, "x/y"], r"'x/y', .* is a dict, .* write ctx: Context\[U \| dict\[str, Any\]\]"),
        (of_u, "x/y", r"'x/y', .* is a dict, .* write ctx: Context\[dict\[str, Any\]\]"),
        (of_plain, "x/y", r"is a dict, but it takes a Context\[Plain\]"),
        (of_plain, U, r"is a U, but it takes a Context\[Plain\]; write ctx: Context\[U\]"),
        (of_u, Trigger("ctx/v"), r"'ctx/v', which starts it, is a dict"),
        (logged(of_v), U, r"write ctx: Context\[U\]"),
        (functools.partial(of_v), U, r"write ctx: Context\[U\]"),
        (Service().on_v, U, r"write ctx: Context\[U\]"),
        (
            sync_in_async,
            U,
            r"an async def, which gets a Context, but takes a SyncContext; write ctx: Context\[U\], or make it a def$",
        ),
        (sync_in_async, None, r"write ctx: Context\[U\]"),
        (
            async_in_sync,
            U,
            r"a SyncContext, but takes a Context; write ctx: SyncContext\[U\], or make it an async def$",
        ),
        (plain_async_in_sync, None, r"write ctx: SyncContext, or make it an async def$"),
    ],
)
def test_A9_an_annotation_that_cannot_be_says_what_to_write(body: Any, on: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_function(body, on=on)


def test_A9_handlers_too() -> None:
    make_function(of_u, on=U, on_failure=of_anything)
    with pytest.raises(UsageError, match=r"'of-u:on-failure' at .* write ctx: FailureContext\[U\]"):
        make_function(of_u, on=U, on_failure=blocking_handler)
    with pytest.raises(UsageError, match=r"write ctx: SyncFailureContext\[U\]"):
        make_function(of_u, on=U, on_failure=handler)


def test_A9_what_was_not_yet_defined_is_looked_at_before_anything_runs() -> None:
    space: dict[str, Any] = {"Context": Context, "Event": Event}
    exec("async def body(ctx: 'Context[Later]') -> None: ...", space)
    function = make_function(space["body"], on=U)
    exec("class Later(Event, name='ctx/later'):\n    n: int", space)
    with pytest.raises(UsageError, match=r"it takes a Context\[Later\]; write ctx: Context\[U\]"):
        check_function(function)


def test_an_event_is_typed_by_the_annotation_behind_a_method_too() -> None:
    function = make_function(Service().on_v)
    event: Any = {
        "name": "ctx/v",
        "id": "1",
        "ts": 0,
        "key": "1",
        "v": None,
        "data": dumps({"id": "1", "b": 2}),
    }
    assert function.receive(event).data == V(id="1", b=2)
    assert function.receive(event | {"name": INVOKED}).data == V(id="1", b=2)


def test_a_return_annotation_that_is_unknown_does_not_hide_the_event() -> None:
    async def body(ctx: Context[U]) -> Nowhere: ...  # type: ignore[name-defined] # noqa: F821

    assert event_model(make_function(body), "ctx/u") is U


# --- A1 ---------------------------------------------------------------------------------------------------------------


async def gives_what_is_nowhere(ctx: Context[U]) -> Nope: ...  # type: ignore[name-defined] # noqa: F821


async def gives_a_lock(ctx: Context[U]) -> threading.Lock: ...


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (gives_what_is_nowhere, "the return annotation 'Nope' of .*gives_what_is_nowhere cannot be resolved"),
        (gives_a_lock, "the result of .*gives_a_lock is annotated as .*ock.* cannot be recorded as JSON"),
    ],
)
def test_A1_a_result_that_cannot_be_recorded_is_refused_before_anything_runs(body: Any, says: str) -> None:
    functions = Registry()
    functions.add(make_function(of_u, on=U))
    functions.check()
    functions.add(make_function(body, on=U))  # its types may come later
    line = body.__code__.co_firstlineno
    with pytest.raises(
        UsageError, match=rf"^function '{body.__name__.replace('_', '-')}' at .*:{line}: {says}"
    ):
        functions.check()


def test_A1_the_result_of_a_handler_too() -> None:
    functions = Registry()

    async def undo(ctx: FailureContext[U]) -> Nope: ...  # type: ignore[name-defined] # noqa: F821

    functions.add(make_function(of_u, on=U, on_failure=undo))
    with pytest.raises(UsageError, match=r"function 'of-u:on-failure' at .* 'Nope'"):
        functions.check()


def test_A1_an_event_with_a_field_of_an_unknown_type_is_refused_before_anything_runs() -> None:
    class Odd(Event, name="ctx/odd"):
        n: Nope  # type: ignore[name-defined] # noqa: F821

    async def body(ctx: Context[Odd]) -> None: ...

    with pytest.raises(UsageError, match=r"function 'body' at .* the data of event 'ctx/odd' .*Nope"):
        check_function(make_function(body, on=Odd))


class Early(Event, name="ctx/early"):
    later: LaterModel


class LaterModel(BaseModel):
    n: int


def test_A1_a_type_that_was_defined_later_is_fine() -> None:
    async def body(ctx: Context[Early]) -> Early: ...

    check_function(make_function(body, on=Early))
