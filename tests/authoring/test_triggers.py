"""Which events start a function."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.authoring.events import Event
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


def test_filters_are_not_taken_as_long_as_nothing_evaluates_them() -> None:
    anything: Any = Trigger
    with pytest.raises(TypeError, match="if_"):
        anything("a", if_="event.data.x == 1")


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
        (3, "f: on= has 3; use an event name, an Event class, a Trigger, or a list of these"),
        ([OrderPlaced(id="1")], "on= has a OrderPlaced"),
        ([""], "f: the trigger '' is empty"),
        ({"a"}, "on= has a set"),
    ],
)
def test_what_on_cannot_be(on: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        triggers_of(on, "f")
