"""Paths into events: what is found, and when two values are the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.ops import EventData
from perdure.core.paths import (
    MATCH_BYTES_MAX,
    event_value,
    event_view,
    match_value,
    parse_path,
    path_value,
)
from perdure.core.payload import dumps, loads
from perdure.errors import UsageError


def event(data: object = None) -> EventData:
    encoded = data if isinstance(data, bytes) else dumps(data or {})
    return {"name": "a/b", "id": "i1", "ts": 5, "key": "k", "v": None, "trace": None, "data": encoded}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.payment_id", b'"p1"'),
        ("event.data.payment_id", b'"p1"'),
        ("data.items.1.sku", b'"y"'),
        ("data.user", b'{"a":1,"b":2}'),
        ("data.nothing", b"null"),
        ("data.größe", b"3"),
        ("data.0", b'"zero"'),
        ("name", b'"a/b"'),
        ("id", b'"i1"'),
        ("key", b'"k"'),
        ("ts", b"5"),
        ("v", b"null"),
    ],
)
def test_what_a_path_finds(path: str, value: bytes) -> None:
    given_event = event(
        {
            "payment_id": "p1",
            "items": [{"sku": "x"}, {"sku": "y"}],
            "user": {"b": 2, "a": 1},
            "nothing": None,
            "größe": 3,
            "0": "zero",
        }
    )
    assert path_value(event_view(given_event), path) == (True, value)
    assert event_value(given_event, path) == (True, value)


@pytest.mark.parametrize(
    "path", ["data.b", "data.a.b", "data.list.2", "data.list.-1", "data.list.x", "data.a.b.c", "id.x"]
)
def test_what_is_missing_is_not_found(path: str) -> None:
    given_event = event({"a": 1, "list": [1, 2]})
    assert path_value(event_view(given_event), path) == (False, b"")
    assert event_value(given_event, path) == (False, b"")


def test_four_values() -> None:
    values = [event_value(event({"x": value}), "data.x") for value in (1, 1.0, "1", True)]
    assert values == [(True, b"1"), (True, b"1.0"), (True, b'"1"'), (True, b"true")]


def test_equal_values_written_otherwise_are_the_same() -> None:
    assert event_value(event(data=b'{"x": 1.50}'), "data.x") == event_value(event({"x": 1.5}), "data.x")
    assert event_value(event(data=b'{"x": "\\u00e9"}'), "data.x") == event_value(event({"x": "é"}), "data.x")
    assert event_value(event(data=b'{"x": {"a":1, "b":2}}'), "data.x") == event_value(
        event({"x": {"b": 2, "a": 1}}), "data.x"
    )


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"x":1e999}', b"[" * 10_000, b"[]", b"1"])
def test_what_any_client_may_append_is_not_found_and_never_raises(data: bytes) -> None:
    assert event_value(event(data=data), "data.x") == (False, b"")


def test_a_path_that_is_none_matches_nothing() -> None:
    assert event_value(event({"x": 1}), "x.y") == (False, b"")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "does not start at data, name, id, key, ts, v; write it like"),
        ("payment_id", "does not start at data"),
        ("event", "does not start at data"),
        ("async.data.x", "does not start at data"),
        ("data.", "cannot be read"),
        ("data..x", "cannot be read"),
        ("data.a b", "cannot be read"),
        ("data.items[0]", "cannot be read"),
        ("data." + "x" * 300, "longer than 256 bytes"),
    ],
)
def test_what_is_no_path_says_what_to_write(path: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_path(path)
    with pytest.raises(UsageError, match=says):
        path_value(event_view(event()), path)


values = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@given(values, values)
def test_two_events_match_exactly_when_value_and_type_are_the_same(left: Any, right: Any) -> None:
    same = type(left) is type(right) and repr(left) == repr(right)
    mine, other = event_value(event({"x": left}), "data.x"), event_value(event({"x": right}), "data.x")
    assert (mine == other) is same
    assert loads(mine[1]) == left


def test_A7_what_waits_match_by_is_bounded_and_differs_where_the_values_do():
    large = [match_value(event_view(event({"x": "y" * 300_000 + end})), "data.x") for end in ("a", "a", "b")]
    assert large[0] == large[1] != large[2]
    assert all(found and len(value) <= MATCH_BYTES_MAX for found, value in large)
    assert match_value(event_view(event({"x": 7})), "data.x") == (True, b"7")
    assert match_value(event_view(event({"x": 7})), "data.y") == (False, b"")
