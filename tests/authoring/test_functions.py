"""Functions: what a decorator makes of a body, and the registry of an app."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from perdure.authoring.events import Event
from perdure.authoring.functions import DEFAULT_RETRY, Function, make_function
from perdure.authoring.registry import Registry
from perdure.authoring.retry import Retry
from perdure.authoring.triggers import Trigger
from perdure.core.payload import dumps
from perdure.errors import UsageError


class OrderPlaced(Event, name="order/placed"):
    total: Decimal


async def place_order(ctx: Any) -> Decimal:
    return Decimal(1)


def sync_order(ctx: Any) -> int:
    return 1


async def cleanup(ctx: Any) -> None: ...


def wrapped(fn: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    @functools.wraps(fn)
    def wrapper(ctx: Any) -> Awaitable[Any]:
        return fn(ctx)

    return wrapper


class Handler:
    async def on_order(self, ctx: Any) -> str:
        return ""

    async def __call__(self, ctx: Any) -> str:
        return ""


def test_defaults() -> None:
    function = make_function(place_order)
    assert (function.id, function.name, function.version) == ("place-order", "place-order", None)
    assert (function.triggers, function.retry, function.on_failure) == ((), DEFAULT_RETRY, None)
    assert (function.on_error, function.kind, function.is_async) == ("fail", "run", True)
    assert function.where.endswith(f"test_functions.py:{place_order.__code__.co_firstlineno}")
    assert repr(function).startswith("<function place-order at ")


def test_everything_given() -> None:
    function = make_function(
        sync_order,
        on=[OrderPlaced, "order/*"],
        id="orders.v2",
        name="Orders",
        version="2",
        retries=3,
        on_failure=cleanup,
        on_error="pause",
    )
    assert (function.id, function.name, function.version, function.code) == ("orders.v2", "Orders", "2", "2")
    assert function.triggers == (Trigger(OrderPlaced), Trigger("order/*"))
    assert function.retry == Retry(limit=3)
    assert (function.on_error, function.is_async) == ("pause", False)
    handler = function.on_failure
    assert handler is not None
    assert (handler.id, handler.kind, handler.body, handler.code) == (
        "orders.v2:on-failure",
        "failure",
        cleanup,
        "2",
    )


@pytest.mark.parametrize(
    ("body", "is_async", "id_"),
    [
        (place_order, True, "place-order"),
        (sync_order, False, "sync-order"),
        (wrapped(place_order), True, "place-order"),
        (Handler().on_order, True, "on-order"),
        (functools.partial(place_order), True, "place-order"),
    ],
)
def test_kinds_of_bodies(body: Any, is_async: bool, id_: str) -> None:
    function = make_function(body)
    assert (function.is_async, function.id) == (is_async, id_)


def test_a_callable_object_needs_an_id() -> None:
    assert make_function(Handler(), id="h").is_async
    with pytest.raises(UsageError, match="from which no id can be made"):
        make_function(lambda ctx: None)


def test_the_codec_follows_the_body() -> None:
    codec = make_function(place_order).codec
    assert codec.decode(codec.encode(Decimal("1.50"))) == Decimal("1.50")

    async def later(ctx: Any) -> Missing: ...  # type: ignore[name-defined] # noqa: F821

    function = make_function(later)
    with pytest.raises(UsageError, match=r"'Missing' of .*later cannot be resolved"):
        _ = function.codec


def test_events_are_typed_by_trigger() -> None:
    function = make_function(place_order, on=[OrderPlaced, "order/*"])
    event: Any = {
        "name": "order/placed",
        "id": "1",
        "ts": 0,
        "key": "1",
        "v": None,
        "data": dumps({"total": "1.5"}),
    }
    assert function.receive(event).data == OrderPlaced(total=Decimal("1.5"))
    assert function.receive(event | {"name": "order/other"}).data == {"total": "1.5"}
    trigger = function.trigger_for("order/placed")
    assert trigger is not None
    assert trigger.model is OrderPlaced
    assert function.trigger_for("order/other") == Trigger("order/*")
    assert function.trigger_for("user/created") is None


def test_the_code_of_a_function_is_its_text() -> None:
    def make(indented: bool) -> Function[Any, Any]:
        if indented:

            def body(ctx: Any) -> int:
                return 1
        else:

            def body(ctx: Any) -> int:
                return 2

        return make_function(body)

    assert make(True).code == make(True).code
    assert make(True).code != make(False).code
    assert len(make(True).code) == 12


def test_the_code_of_a_function_without_source() -> None:
    def compiled(text: str) -> str:
        scope: dict[str, Any] = {}
        exec(text, scope)
        return make_function(scope["f"]).code

    one = compiled("def f(ctx):\n    return [g for g in (1, 2)]")
    assert one == compiled("def f(ctx):\n    return [g for g in (1, 2)]")
    assert one != compiled("def f(ctx):\n    return [g for g in (1, 3)]")


def no_context() -> None: ...


def two_arguments(ctx: Any, other: Any) -> None: ...


def yields(ctx: Any) -> Any:
    yield 1


@pytest.mark.parametrize(
    ("body", "keywords", "says"),
    [
        (
            no_context,
            {},
            r"function 'no-context' at .*py:\d+ takes \(\) -> 'None'; a function takes the context alone",
        ),
        (two_arguments, {}, "takes the context alone"),
        (Handler.on_order, {}, "takes the context alone"),
        (yields, {}, "has a yield in its body"),
        (3, {}, "3 is not a body; decorate a def or async def"),
        (lambda ctx: None, {}, "is called '<lambda>', from which no id can be made .* give id="),
        (place_order, {"id": ""}, "the function id '' at .* is empty"),
        (place_order, {"id": "a b"}, "is not made of ASCII letters and digits, with - _ . between them"),
        (place_order, {"id": "a:on-failure"}, "is not made of ASCII letters"),
        (place_order, {"id": "a/b"}, "is not made of ASCII letters"),
        (place_order, {"id": "x" * 257}, "more than 256"),
        (place_order, {"id": 3}, "is of type int"),
        (place_order, {"name": ""}, "name=''; use a string of 1 to 256 characters"),
        (place_order, {"version": 2}, "version=2; use a string"),
        (place_order, {"on_error": "ignore"}, 'on_error=\'ignore\'; use "fail" or "pause"'),
        (
            place_order,
            {"retries": 2, "retry": Retry()},
            "function 'place-order' at .* has both retries= and retry=",
        ),
        (place_order, {"retries": -2}, "use 0 to 10000"),
        (place_order, {"on": ["a", "a"]}, "function 'place-order' at .*: on= names 'a' twice"),
        (place_order, {"on": "order*"}, "not a segment of its own"),
        (place_order, {"on_failure": 3}, "3 is not a body"),
        (place_order, {"on_failure": no_context}, "'place-order:on-failure' at .* takes the context alone"),
        (
            place_order,
            {"on_failure": make_function(cleanup)},
            "use a plain def or async def, without @app.function",
        ),
        (make_function(cleanup), {}, "is not a body"),
    ],
)
def test_what_is_no_function_says_why(body: Any, keywords: dict[str, Any], says: str) -> None:
    with pytest.raises(
        UsageError, match=says.replace("() ->", r"\(\) ->") if "takes () ->" in says else says
    ):
        make_function(body, **keywords)


def test_keywords_that_mean_nothing_are_not_taken() -> None:
    anything: Any = make_function
    with pytest.raises(
        UsageError, match=r"'place-order' at .*: there is no keyword concurency=; did you mean concurrency=\?"
    ):
        anything(place_order, concurency=3)
    with pytest.raises(UsageError, match=r"there is no keyword colour=$"):
        anything(place_order, colour="red")


# --- the registry ------------------------------------------------------------------------------------------------


def registry() -> Registry:
    functions = Registry()
    functions.add(make_function(sync_order, on="order/*", version="7"))
    functions.add(
        make_function(place_order, on=[OrderPlaced, "user/created"], version="1", on_failure=cleanup)
    )
    return functions


def test_functions_are_found_by_id_and_by_event() -> None:
    functions = registry()
    found = functions.get("place-order")
    assert found is not None
    assert functions.resolve("place-order") is found is functions.resolve(found)
    assert functions.get("place-order:on-failure") is found.on_failure
    assert functions.get("other") is None
    assert ("place-order" in functions, "other" in functions, len(functions)) == (True, False, 3)
    assert [function.id for function in functions.triggered_by("order/placed")] == [
        "sync-order",
        "place-order",
    ]
    assert [function.id for function in functions.triggered_by("user/created")] == ["place-order"]
    assert functions.triggered_by("other") == []


def test_definitions_are_what_the_log_knows() -> None:
    lives_on: dict[str, Any] = {"cancels": [], "start_within": 0, "finish_within": 0, "flow": []}
    nothing_else: dict[str, Any] = {"conditions": [], "schedules": []} | lives_on
    assert registry().definitions() == [
        {
            "id": "place-order",
            "triggers": ["order/placed", "user/created"],
            "code": "1",
            "handler": "place-order:on-failure",
            "conditions": [],
            "schedules": [],
            **lives_on,
        },
        {"id": "place-order:on-failure", "triggers": [], "code": "1", "handler": None} | nothing_else,
        {"id": "sync-order", "triggers": ["order/*"], "code": "7", "handler": None} | nothing_else,
    ]


def test_two_functions_of_one_id_name_both_places() -> None:
    functions = registry()

    def another(ctx: Any) -> None: ...

    here, there = place_order.__code__.co_firstlineno, another.__code__.co_firstlineno
    with pytest.raises(UsageError) as caught:
        functions.add(make_function(another, id="place-order"))
    assert "two functions have the id 'place-order': at " in str(caught.value)
    assert f"test_functions.py:{here} and at " in str(caught.value)
    assert str(caught.value).endswith(f"test_functions.py:{there}; rename one, or give it id=")
    assert len(functions) == 3


def test_an_unknown_function_says_what_there_is() -> None:
    with pytest.raises(UsageError, match='no function has the id "place_order"; did you mean "place-order"'):
        registry().resolve("place_order")
    with pytest.raises(UsageError, match="there are place-order, place-order:on-failure, sync-order"):
        registry().resolve("zzz")
    with pytest.raises(UsageError, match="there are none"):
        Registry().resolve("zzz")
    with pytest.raises(UsageError, match="belongs to another app"):
        registry().resolve(make_function(place_order))
