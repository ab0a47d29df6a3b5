"""What a user sends, turned into the event that is recorded, or refused with the reason."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from perdure.authoring.events import Event, Received
from perdure.authoring.sending import to_event
from perdure.core.ops import EventData
from perdure.errors import InvalidEvent

NOW = 1_900_000_000_000_000


class UserCreated(Event, name="user/created", key="data.user_id"):
    user_id: str
    plan: str = "free"


class Moved(Event, name="moved", key="data.by"):
    by: Any = None


class Nested(Event, name="nested", key="data.user.id"):
    user: dict[str, Any]


class Nameless(Event):
    a: int = 1


class Reserved(Event, name="perdure/function.finished"): ...


class Address(BaseModel):
    city: str


@dataclass
class Place:
    city: str


def made(event: Any, data: object = None, **envelope: Any) -> EventData:
    count = itertools.count(1)
    return to_event(event, data, now_us=NOW, make_id=lambda: f"made-{next(count)}", **envelope)


def refused(event: Any, data: object = None, **envelope: Any) -> str:
    with pytest.raises(InvalidEvent) as caught:
        made(event, data, **envelope)
    assert len(str(caught.value)) < 400
    return str(caught.value)


def test_a_typed_event_fills_its_envelope_itself() -> None:
    assert made(UserCreated(user_id="u1")) == {
        "name": "user/created",
        "id": "made-1",
        "ts": NOW,
        "key": "u1",
        "v": None,
        "data": b'{"user_id":"u1","plan":"free"}',
        "trace": None,
    }


def test_what_is_given_wins() -> None:
    then = datetime(2031, 1, 1, tzinfo=UTC)
    event = made(UserCreated(user_id="u1"), id="signup-1", key="k", ts=then, v="2")
    assert (event["id"], event["key"], event["v"]) == ("signup-1", "k", "2")
    assert event["ts"] == 1_924_992_000_000_000


def test_a_name_with_data() -> None:
    event = made("reminder/send", {"user": 1})
    assert (event["name"], event["data"]) == ("reminder/send", b'{"user":1}')
    assert event["key"] == event["id"] == "made-1"
    assert made("ping")["data"] == b"{}"
    assert made("moved", MappingProxyType({"a": 1}))["data"] == b'{"a":1}'
    assert made("moved", Address(city="x"))["data"] == made("moved", Place("x"))["data"] == b'{"city":"x"}'


def test_the_dict_form() -> None:
    event = made(
        {"name": "a/b", "data": {"x": 1}, "id": "i", "key": "k", "ts": "2031-01-01T00:00:00Z", "v": "3"}
    )
    assert event == {
        "name": "a/b",
        "id": "i",
        "ts": 1_924_992_000_000_000,
        "key": "k",
        "v": "3",
        "data": b'{"x":1}',
        "trace": None,
    }
    assert made({"name": "a/b"})["data"] == b"{}"
    assert made({"name": "a/b", "id": None, "data": None})["id"] == "made-1"
    assert made({"name": "a/b"}, id="i")["id"] == "i"


def test_a_typed_event_in_the_dict_form_has_an_envelope_of_its_own() -> None:
    event = made({"data": UserCreated(user_id="u1"), "id": "i"})
    assert (event["name"], event["id"], event["key"]) == ("user/created", "i", "u1")
    assert made({"name": "user/created", "data": UserCreated(user_id="u1")})["key"] == "u1"
    assert refused({"name": "user/gone", "data": UserCreated(user_id="u1")}) == (
        "the event is named 'user/gone', but its data, a UserCreated, is 'user/created'; leave name out"
    )


def test_the_id_is_made_only_when_it_is_missing() -> None:
    def never() -> str:
        raise AssertionError

    assert to_event("a", id="i", now_us=NOW, make_id=never)["key"] == "i"


def test_a_key_path_gives_strings_and_integers() -> None:
    assert made(Moved(by=42))["key"] == "42"
    assert made(Moved(by=UUID(int=5)))["key"] == "00000000-0000-0000-0000-000000000005"
    assert made(Nested(user={"id": "u9"}))["key"] == "u9"
    assert made(Moved(by=None), key="k")["key"] == "k"


@pytest.mark.parametrize("by", [None, True, 1.5, [1], {"a": 1}])
def test_any_other_key_is_refused(by: object) -> None:
    assert "the key of event 'moved', at data.by, is " in (text := refused(Moved(by=by)))
    assert "it must be a string or an integer, or give key=" in text


def test_a_key_that_is_missing_or_bad_is_refused() -> None:
    assert "at data.user.id, is missing" in refused(Nested(user={}))
    assert "the key '' of event 'moved', at data.by, is empty" in refused(Moved(by=""))
    assert "more than 256" in refused(Moved(by="x" * 257))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "the event name '' is empty; leave it out, or use one that says something"),
        (
            "perdure/x",
            "the event name 'perdure/x' begins with perdure/, which is for the events of the engine itself",
        ),
        ("x" * 257, "has 257 bytes of UTF-8, more than 256; shorten it"),
        ("é" * 129, "has 258 bytes of UTF-8"),
        ("a\x00b", r"has the control character '\x00' at index 1; remove it"),
        ("a\u2028b", "has the control character"),
        ("\ud800", "has a lone surrogate at index 0"),
        (" a", "begins or ends with white space; strip it"),
        ("order/*", "has a *, which is for triggers"),
        (3, "the event name 3 is of type int; use a string"),
        (b"a", "is of type bytes; use a string"),
    ],
)
def test_a_bad_name_says_why(name: Any, says: str) -> None:
    assert says in refused(name)
    assert says in refused({"name": name})


def test_other_things_that_are_no_event() -> None:
    assert refused({"data": {}}) == 'the event has no name; write {"name": "user/created", "data": {...}}'
    assert refused(None) == "the event name None is None; use a string"
    assert "UserCreated is a class; send an instance of it: UserCreated(...)" in refused(UserCreated)
    assert "Nameless has no name of its own; write class Nameless(..., name=" in refused(Nameless())
    assert "begins with perdure/" in refused(Reserved())
    assert made(Reserved(), internal=True)["name"] == "perdure/function.finished"
    assert (
        "an event has no field 'payload'; it has name, data, id, key, ts, v, and your own go into data"
        in refused({"name": "a", "payload": {}})
    )


def test_what_is_given_twice() -> None:
    assert "UserCreated holds its data itself" in refused(UserCreated(user_id="1"), {"a": 1})
    assert "this event holds its data itself" in refused({"name": "a"}, {"a": 1})
    assert "id is given twice" in refused({"name": "a", "id": "x"}, id="y")


deep: Any = 0
for _ in range(10_000):
    deep = {"a": deep}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            {"at": datetime.now(UTC)},
            "the data of event 'a' cannot be recorded: at $.at, a value of type datetime is not JSON",
        ),
        ({"x": [math.nan]}, "at $.x[0], nan is not a JSON number; use None or a string"),
        ({"x": "\ud800"}, "at $.x, a lone surrogate at index 0 is not a character"),
        ({1: 2}, "at $, a key is of type int; JSON has string keys only"),
        (deep, "nested deeper than 200 levels; flatten it"),
        ([1], "the data of event 'a' is a list; use a dict"),
        ("text", "the data of event 'a' is a str; use a dict"),
        (3, "is a int; use a dict"),
        (Address, "is a ModelMetaclass; use a dict"),
        ({"x": b"bytes"}, "at $.x, a value of type bytes is not JSON"),
    ],
)
def test_bad_data_says_what_where_and_what_to_do(data: Any, says: str) -> None:
    assert says in refused("a", data)
    assert says in refused({"name": "a", "data": data})


def test_a_typed_event_that_was_changed_into_something_else_is_refused() -> None:
    event = UserCreated(user_id="u1")
    event.user_id = 3  # type: ignore[assignment]
    assert (
        "the data of event 'user/created' cannot be recorded: at $.user_id, input should be a valid string"
        in refused(event)
    )


def test_data_that_is_too_large_says_how_large() -> None:
    assert refused("a", {"x": "y" * 100}, data_bytes_max=100) == (
        "the data of event 'a' has 108 bytes of JSON, more than Limits.event_bytes_max = 100; store it elsewhere, and "
        "send where it is"
    )
    assert made("a", {"x": "y" * 92}, data_bytes_max=100)
    assert "more than Limits.event_bytes_max = 262,144" in refused("a", {"x": "y" * 300_000})


@pytest.mark.parametrize(
    ("envelope", "says"),
    [
        ({"id": ""}, "the id '' of event 'a' is empty"),
        ({"id": 3}, "the id 3 of event 'a' is of type int; use a string"),
        ({"id": "x" * 257}, "more than 256"),
        (
            {"id": "~x"},
            "the id '~x' of event 'a' begins with ~, which marks ids that were made up for a sender",
        ),
        ({"key": "a\nb"}, "has the control character"),
        ({"key": 3}, "the key 3 of event 'a' is of type int"),
        ({"v": 2}, "the v 2 of event 'a' is of type int"),
        (
            {"ts": datetime.fromisoformat("2031-01-01")},
            "the ts of event 'a', 2031-01-01T00:00:00 has no time zone",
        ),
        ({"ts": "tomorrow"}, "is not ISO 8601"),
        ({"ts": 1_900_000_000_000}, "numbers are seconds since the epoch (milliseconds / 1000)"),
        ({"ts": timedelta(1)}, "is a timedelta; use an aware datetime"),
        ({"ts": math.nan}, "is nan"),
    ],
)
def test_a_bad_envelope_says_why(envelope: dict[str, Any], says: str) -> None:
    assert says in refused("a", **envelope)
    assert says in refused({"name": "a", **envelope})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_what_is_sent_is_what_is_received(data: dict[str, Any]) -> None:
    event: Received = Received(made("a", data))
    assert event.data == data


@given(
    st.dictionaries(
        st.sampled_from(["name", "data", "id", "key", "ts", "v"]), json_values | st.binary() | st.datetimes()
    )
)
def test_any_dict_is_an_event_or_an_invalid_one(fields: Mapping[str, Any]) -> None:
    try:
        made(fields)
    except InvalidEvent:
        pass


@pytest.mark.parametrize(
    "ts",
    [datetime(1970, 1, 1, tzinfo=UTC), 0, 20_000, datetime(2300, 1, 1, tzinfo=UTC), "2200-01-01T00:00:00Z"],
)
def test_an_event_of_1970_or_2300_is_a_mistake(ts: Any) -> None:
    assert "happened after 1970 and before 2200" in refused("a", {}, ts=ts)


@pytest.mark.parametrize("ts", [datetime(1971, 1, 1, tzinfo=UTC), "2199-12-31T23:59:59Z"])
def test_an_event_may_lie_far_back_or_ahead(ts: Any) -> None:
    assert made("a", {}, ts=ts)
