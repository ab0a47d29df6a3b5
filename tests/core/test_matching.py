"""Conditions taken apart, and the table of triggers: together they say what CEL alone would say of the whole text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.authoring import cel
from perdure.core.conditions import Equality, parse, projected
from perdure.core.matching import Matching
from perdure.core.ops import EventData
from perdure.errors import UsageError


def event(data: object, name: str = "order/placed", **fields: Any) -> EventData:
    made: dict[str, Any] = {
        "name": name,
        "id": "e1",
        "ts": 1_700_000_000_000_000,
        "key": "k1",
        "v": None,
        "trace": None,
    }
    made["data"] = json.dumps(data).encode()
    return EventData(**(made | fields))


def matching(*asked: str | tuple[str, ...], name: str = "order/placed") -> Matching:
    """A function for each condition, called by its number."""
    functions = [
        {
            "id": str(number),
            "triggers": [name],
            "conditions": [
                {"trigger": 0, "cel": text} for text in ([each] if isinstance(each, str) else each)
            ],
        }
        for number, each in enumerate(asked)
    ]
    return Matching(functions, cel.tester)


def starts(text: str, given: EventData) -> bool:
    return matching(text).match(given).functions == ["0"]


# ------------------------------------------------------------------------------------------------ taken apart


@pytest.mark.parametrize(
    ("text", "equals", "rest"),
    [
        ('event.data.plan == "pro"', [(("data", "plan"), ("text", "pro"))], ""),
        ("'pro' == event.data.plan", [(("data", "plan"), ("text", "pro"))], ""),
        ('event.v == "2"', [(("v",), ("text", "2"))], ""),
        ("event.data.n == -1.5", [(("data", "n"), ("number", -1.5))], ""),
        ("event.data.a.b == null", [(("data", "a", "b"), ("null", None))], ""),
        (
            "(event.data.a == 1) && ((event.data.b == true))",
            [(("data", "a"), ("number", 1)), (("data", "b"), ("bool", True))],
            "",
        ),
        (
            "event.data.a == 1 // the first\n && event.data.b > 2 && size(event.data.c) == 3",
            [(("data", "a"), ("number", 1))],
            "(event . data . b > 2) && (size ( event . data . c ) == 3)",
        ),
    ],
)
def test_equalities_are_taken_out(text: str, equals: list[Any], rest: str) -> None:
    found = parse(text)
    assert (list(found.equals), found.rest) == ([Equality(*each) for each in equals], rest)


@pytest.mark.parametrize(
    "text",
    [
        "event.data.a == 1 || event.data.b == 2",
        "event.data.a == 1 && event.data.b == 2 || true",
        "event.data.a == 1 ? true : false",
        "!(event.data.a == 1)",
        "event.data.a == event.data.b",
        "event.data.a == 1 == true",
        "event.data.a != 1",
        'event["data"].a == 1',
        r'event.data.a == "\n"',
        'event.data.a == r"raw"',
        'event.data.a == b"bytes"',
        "event.data.a == 1u",
        "event.data.a == 0x10",
        "event.data.a == 9007199254740993",
        "event.ts == timestamp('2026-01-01T00:00:00Z')",
        "event.data == null",
        "event.data.a() == 1",
        "event.data.a == 1)",
        "event.data.a == ",
        '"event.data.a == 1',
        "[1].exists(event, event.data.a == 1)",
    ],
)
def test_what_is_no_plain_equality_is_left_to_cel_word_for_word(text: str) -> None:
    found = parse(text)
    assert (found.equals, found.rest) == ((), text)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("event.data.a > 1", {("data", "a")}),
        ("event.data.a > 1 && event . data . b.c < 2", {("data", "a"), ("data", "b", "c")}),
        ("event.data.a > 1 || event.data.a.b > 2", {("data", "a")}),
        ("event.data.text.startsWith('event.data.x')", {("data", "text")}),
        ("event.data.text.size /* no comment */ ()", {("data", "text", "size")}),
        ("event.data.text.size // a comment\n () > 1", {("data", "text")}),
        ('event.data.list[0].sku == "x"', {("data", "list")}),
        ('event["data"].a > 1', {()}),
        ("event.data.`a-b` > 1", {("data", "a-b")}),
        ("has(event.data.a) && my.event.data.b", {("data", "a")}),
        ("event.data.all(k, event.data[k] > 0)", {("data",)}),
        ("true", set[tuple[str, ...]]()),
    ],
)
def test_what_is_left_says_what_it_reads(text: str, reads: set[tuple[str, ...]]) -> None:
    assert set(parse(text).reads) == reads


def test_a_projection_has_what_is_read_and_leaves_out_the_rest() -> None:
    view: dict[str, Any] = {"name": "n", "data": {"a": {"b": 1, "c": 2}, "d": [1], "e": None, "f": 3}}
    assert projected(
        view, [("data", "a", "b"), ("data", "e"), ("data", "d", "x"), ("data", "missing", "x")]
    ) == {"data": {"a": {"b": 1}, "e": None, "d": [1]}}
    assert projected(view, [()]) is view
    assert projected(view, []) == {}


# ------------------------------------------------------------------------------------------------ the table


@pytest.mark.parametrize(
    ("text", "data", "does"),
    [
        ("event.data.n == 1", {"n": 1.0}, True),
        ("event.data.n == 1", {"n": True}, False),
        ("event.data.n == 1", {"n": "1"}, False),
        ("event.data.n == true", {"n": 1}, False),
        ("event.data.n == null", {"n": None}, True),
        ("event.data.n == null", {}, False),
        ("event.data.n == 1", {"n": [1]}, False),
        ("event.data.n == 1", {"n": {"m": 1}}, False),
        ("event.data.n.m == 1", {"n": {"m": 1}}, True),
        ("event.data.n.m == 1", {"n": 1}, False),
        ("event.data.n == 1", [1], False),
        ('event.name == "order/placed" && event.id == "e1" && event.key == "k1"', None, True),
        (
            "event.ts > timestamp('2023-11-14T00:00:00Z') && event.ts < timestamp('2023-11-15T00:00:00Z')",
            None,
            True,
        ),
        ("event.data.items.exists(i, i.sku == 'x' && i.n > 1)", {"items": [{"sku": "x", "n": 2}]}, True),
        ("event.data.plan in ['a', 'b']", {"plan": "b"}, True),
        ("has(event.data.plan)", {}, False),
        ("event.data.paid", {"paid": True}, True),
    ],
)
def test_conditions(text: str, data: object, does: bool) -> None:
    assert starts(text, event(data)) is does


def test_an_event_that_matches_by_several_triggers_starts_a_function_once() -> None:
    function = {
        "id": "f",
        "triggers": ["order/placed", "order/placed", "order/*", "order/placed"],
        "conditions": [
            {"trigger": 0, "cel": "event.data.n > 10"},
            {"trigger": 1, "cel": "event.data.n == 1"},
            {"trigger": 3, "cel": "event.data.missing > 1"},
        ],
    }
    found = Matching([function, {"id": "g", "triggers": ["order/*"]}], cel.tester)
    assert found.match(event({"n": 1})).functions == ["f", "g"]
    assert found.match(event({"n": 1})).failed == [], "one trigger that holds is enough"
    assert found.match(event({"n": 1}, name="order/")).functions == []
    assert found.match(event({"n": 1}, name="other")).functions == []


@pytest.mark.parametrize("pattern", ["order/*", "order/item.*"])
def test_a_wildcard_takes_all_that_follows(pattern: str) -> None:
    table = Matching([{"id": "f", "triggers": [pattern]}])
    names = [
        "order/item.a",
        "order/item.a/b.c",
        "order/item.",
        "order/",
        "order",
        "ordered",
        "other/order/item.a",
    ]
    taken = [name for name in names if table.match(event(None, name=name)).functions]
    assert taken == [name for name in names if name.startswith(pattern[:-1]) and len(name) >= len(pattern)]


def test_all_conditions_of_a_trigger_must_hold() -> None:
    table = matching(("event.data.a == 1", "event.data.b > 1"))
    assert table.match(event({"a": 1, "b": 2})).functions == ["0"]
    assert table.match(event({"a": 2, "b": 2})).functions == []
    assert table.match(event({"a": 1, "b": 1})).functions == []


@pytest.mark.parametrize(
    ("text", "data", "says"),
    [
        ("event.data.n > 1", {}, 'Key not found in map : "n" (in event.data.n > 1)'),
        ("event.data.n > 1", {"n": "one"}, "No matching overloads"),
        ("event.data.n", {"n": 1}, "it is an int, and not true or false"),
        ("event.data.n > 1", {"n": 2**70}, "out of range"),
        (
            "event.data.l.all(i, event.data.l.all(j, i + j >= 0))",
            {"l": [1] * 1_000},
            "Iteration budget exceeded",
        ),
    ],
)
def test_what_cannot_be_told_is_a_reason_and_never_a_start(text: str, data: object, says: str) -> None:
    found = matching(text, "event.data.other == 1", "true").match(event(data))
    assert found.functions == ["2"]
    ((function, reason),) = found.failed
    assert function == "0"
    assert says in reason


def test_data_that_is_no_json_fulfils_nothing() -> None:
    table = matching("event.data.n == 1", "event.data.n > 0", "true")
    found = table.match(EventData({**event(None), "data": b"\xff"}))
    assert (found.functions, [function for function, _ in found.failed]) == (["2"], ["1"])


def test_equalities_need_nobody_who_evaluates() -> None:
    function: Mapping[str, Any] = {
        "id": "f",
        "triggers": ["a"],
        "conditions": [{"trigger": 0, "cel": "event.data.n == 1"}],
    }
    assert Matching([function]).match(event({"n": 1}, name="a")).functions == ["f"]


# ------------------------------------------------------------------------------------------------ the same as CEL alone

PATHS = ["event.data.a", "event.data.b", "event.data.a.b", "event.v", "event.key", "event.data.list"]
constants = st.sampled_from(["1", "2", "1.0", "-1", '"x"', "'k1'", "true", "false", "null"])
atoms = st.one_of(
    st.builds("{} == {}".format, st.sampled_from(PATHS), constants),
    st.builds("{1} == {0}".format, st.sampled_from(PATHS), constants),
    st.builds("{} != {}".format, st.sampled_from(PATHS), constants),
    st.builds("{} > {}".format, st.sampled_from(PATHS), st.sampled_from(["0", "1.5", '"a"'])),
    st.builds("has({})".format, st.sampled_from(["event.data.a", "event.data.a.b", "event.data.list"])),
    st.builds("event.data.list.exists(i, i == {})".format, constants),
    st.sampled_from(
        [
            "true",
            "false",
            "size(event.data.list) > 1",
            "event.name.startsWith('order')",
            "event.data.list[0] == 1",
        ]
    ),
)
texts = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("{} && {}".format, inner, inner),
        st.builds("({})".format, inner),
        st.builds("{} || {}".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("({}) ? ({}) : ({})".format, inner, inner, inner),
    ),
    max_leaves=6,
)
values = st.sampled_from([0, 1, 2, 1.0, -1, "x", "k1", True, False, None, {"b": 1}, {"b": "x"}, [1, 2], []])
datas = st.fixed_dictionaries({}, optional={"a": values, "b": values, "list": st.lists(values, max_size=3)})


@settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(st.lists(texts, min_size=1, max_size=4), datas, st.sampled_from([None, "1", "x"]))
def test_the_table_starts_what_cel_alone_would_start(
    asked: list[str], data: dict[str, Any], v: str | None
) -> None:
    """And what CEL cannot tell is never started."""
    usable = list[str]()
    for text in asked:
        try:
            cel.check(text)
            usable.append(text)
        except UsageError:  # two types that never fit: refused when it is declared
            continue
    given_event = event(data, v=v)
    view = {"name": "order/placed", "id": "e1", "key": "k1", "v": v, "data": data}
    expected = [str(number) for number, text in enumerate(usable) if _alone(text, view)]
    assert matching(*usable).match(given_event).functions == expected


def _alone(text: str, view: dict[str, Any]) -> bool:
    from cel_expr_python import cel as library

    expression = library.NewEnv(variables={"event": library.Type.DYN}).compile(text)
    value = expression.eval(data={"event": view})
    return value.type() == library.Type.BOOL and value.value() is True
