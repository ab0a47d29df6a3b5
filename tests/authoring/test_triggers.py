"""Which events start a function."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from perdure.authoring import cel
from perdure.authoring.events import Event, Received
from perdure.authoring.triggers import Trigger, event_types, triggers_of
from perdure.core.routing import matches
from perdure.errors import UsageError


class OrderPlaced(Event, name="order/placed"):
    id: str


class Nameless(Event): ...


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("order/placed", "order/placed", True),
        ("order/placed", "order/placed.again", False),
        ("order/*", "order/placed", True),
        ("order/*", "order/item/added", True),
        ("order/*", "order/", False),
        ("order/*", "order", False),
        ("order/*", "orders/placed", False),
        ("order/item.*", "order/item.added", True),
        ("order/item.*", "order/itemised", False),
        ("perdure/*", "perdure/function.failed", True),
    ],
)
def test_matching(pattern: str, name: str, fits: bool) -> None:
    assert matches(Trigger(pattern).name, name) is fits


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "the trigger '' is empty"),
        ("*", "has a \\* that is not a segment of its own; write it like 'order/\\*'"),
        ("/*", "not a segment of its own"),
        ("order*", "not a segment of its own"),
        ("*/placed", "has a \\* before its end"),
        ("order/*/placed", "has a \\* before its end"),
        ("order/**", "has a \\* before its end"),
        ("a\tb", "control character"),
        (" order/*", "begins or ends with white space"),
        ("x" * 300 + "/*", "more than 256"),
        (3, "is of type int"),
        (dict, "Trigger\\(dict\\): the class is no Event; write class dict\\(Event"),
        (Nameless, "Nameless has no name of its own"),
    ],
)
def test_a_bad_trigger_says_why(pattern: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Trigger(pattern)


def test_a_trigger_takes_a_class() -> None:
    trigger = Trigger(OrderPlaced)
    assert (trigger.name, trigger.model) == ("order/placed", OrderPlaced)
    assert trigger == Trigger(OrderPlaced)
    assert trigger != Trigger("order/placed")


def small(event: Received[Any]) -> bool:
    return event.data["cents"] < 100


async def later(event: Received[Any]) -> bool:
    return True


def test_a_trigger_has_conditions() -> None:
    assert Trigger("a").conditions == ()
    assert Trigger("a", if_="event.data.x == 1").conditions == ("event.data.x == 1",)
    assert Trigger(OrderPlaced, if_=small).asking("event.v == '2'").conditions == (small, "event.v == '2'")
    assert triggers_of(["a", Trigger("b", if_=small)], "f", if_="event.v == '2'") == (
        Trigger("a", if_="event.v == '2'"),
        Trigger("b", if_=small).asking("event.v == '2'"),
    )
    several = (Trigger("a", if_="event.data.x == 1"), Trigger("a", if_="event.data.x == 2"))
    assert triggers_of(several, "f") == several


@pytest.mark.parametrize(
    ("if_", "says"),
    [
        ("event.data.x >", r"Syntax error: .*\(at column 15\)\n    event.data.x >\n +\^"),
        (
            "event.data.x == 1 &&\n evnt.data.y > 2",
            r"undeclared reference to 'evnt.data.y' \(at line 2, column 11\)",
        ),
        ("event.name > 3", r"no matching overload for '_>_' applied to '\(string, int\)' \(at column 12\)"),
        ("event.data.x + 1", "it is an int, and has to be true or false"),
        ("size(event.data.x) == 1 ? 'a' : 'b'", "it is a string, and has to be true or false"),
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("true || " * 600 + "true", "4096 at most may be"),
        ("(" * 50 + "true" + ")" * 50, "recursion limit exceeded"),
        (1, "use CEL as text, or a function"),
        (later, "a predicate is a plain def"),
    ],
)
def test_a_bad_condition_is_refused_with_its_place(if_: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        Trigger("a", if_=if_)
    assert str(caught.value).startswith("the trigger 'a': if_=")


@pytest.mark.parametrize(
    "if_", ["event.data.sum > 3", 'event.data.sum == "x"', "has(event.data.sum) && event.data.sum.a"]
)
def test_a_condition_on_a_field_that_the_class_does_not_have_is_refused(if_: str) -> None:
    with pytest.raises(UsageError, match="OrderPlaced has no field 'sum'; it has"):
        Trigger(OrderPlaced, if_=if_)
    Trigger("order/placed", if_=if_)


def test_conditions_without_cel_are_of_equalities_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cel._library.cache_clear()
    cel._environment.cache_clear()
    cel._expression.cache_clear()
    monkeypatch.setitem(sys.modules, "cel_expr_python.cel", None)
    try:
        Trigger("a", if_='event.data.plan == "pro" && event.data.n == 1')
        with pytest.raises(UsageError, match=r"needs CEL: pip install \"perdure\[cel\]\""):
            Trigger("a", if_="event.data.n > 1")
    finally:
        cel._library.cache_clear()


@pytest.mark.parametrize(
    ("on", "if_", "says"),
    [
        ([Trigger("a", if_="event.v == '1'"), Trigger("a", if_="event.v == '1'")], None, "names 'a' twice"),
        ([Trigger("a", if_="event.v == '1'"), "a"], None, "names 'a' twice"),
        (
            [Trigger(OrderPlaced, if_="event.v == '1'"), Trigger("order/placed", if_="event.v == '2'")],
            None,
            "give both the class",
        ),
        (None, "event.v == '1'", "if_= is asked of the events that start it; name them with on="),
        ("a", "event.v ==", "f: the trigger 'a': if_='event.v ==': Syntax error"),
        (
            "perdure/function.completed",
            None,
            r"is none that the engine sends; these are perdure/function\.finished",
        ),
        ("perdure/queue.*", None, "is none that the engine sends"),
    ],
)
def test_triggers_that_make_no_sense_are_refused(on: Any, if_: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        triggers_of(on, "f", if_=if_)


def test_ways_to_write_on() -> None:
    assert triggers_of("a", "f") == (Trigger("a"),)
    assert triggers_of(OrderPlaced, "f") == (Trigger(OrderPlaced),)
    assert triggers_of(["a", OrderPlaced, Trigger("b/*")], "f") == (
        Trigger("a"),
        Trigger(OrderPlaced),
        Trigger("b/*"),
    )
    assert triggers_of(None, "f") == ()
    assert event_types(triggers_of(["a", OrderPlaced], "f")) == {"a": None, "order/placed": OrderPlaced}


@pytest.mark.parametrize(
    ("on", "says"),
    [
        (["a", "a"], "f: on= names 'a' twice; an event starts a function once"),
        (["order/placed", OrderPlaced], "names 'order/placed' twice"),
        (3, "f: on= has 3; use an event name, an Event class, a Trigger, a Cron, or a list of these"),
        ([OrderPlaced(id="1")], "on= has a OrderPlaced"),
        ([""], "f: the trigger '' is empty"),
        ({"a"}, "on= has a set"),
    ],
)
def test_what_on_cannot_be(on: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        triggers_of(on, "f")
