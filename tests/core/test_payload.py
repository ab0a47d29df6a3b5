"""Strict JSON: what is written reads back, and what cannot be written says where and why."""

from __future__ import annotations

import json
import math
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from datetime import UTC, datetime
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.payload import NESTING_MAX, canonical, dumps, loads
from perdure.errors import EncodingError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types: 1, 1.0 and True are three values."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@given(json_values)
def test_what_is_written_reads_back(value: Any) -> None:
    data = dumps(value)
    assert same(loads(data), value)
    assert same(json.loads(data), value)


@given(json_values)
def test_the_canonical_form_depends_on_the_value_alone(value: Any) -> None:
    form = canonical(value)
    assert canonical(loads(form)) == form
    assert canonical(loads(dumps(value))) == form
    if isinstance(value, dict):
        assert canonical(dict(reversed(value.items()))) == form


def test_four_values_that_python_takes_for_one() -> None:
    assert len({canonical(value) for value in (1, 1.0, "1", True)}) == 4


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_json_or_an_encoding_error(data: bytes) -> None:
    try:
        loads(data)
    except EncodingError:
        pass


class Level(IntEnum):
    LOW = 1


class Colour(str, Enum):  # noqa: UP042 - str() of such a member is not its value
    RED = "red"


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, b"null"),
        ("é\x00\u2028", '"é\\u0000\u2028"'.encode()),
        (("a", 1), b'["a",1]'),
        (Level.LOW, b"1"),
        (Colour.RED, b'"red"'),
        (Point(1, 2), b"[1,2]"),
        (OrderedDict(b=1, a=2), b'{"b":1,"a":2}'),
        ({"x": defaultdict(int, {"y": 1})}, b'{"x":{"y":1}}'),
        (2**70, str(2**70).encode()),
        ("NaN", b'"NaN"'),
        ({"Infinity": "9" * 5000}, b'{"Infinity":"' + b"9" * 5000 + b'"}'),
    ],
)
def test_subclasses_and_edges(value: Any, written: bytes) -> None:
    assert dumps(value) == written


cyclic: list[Any] = []
cyclic += [cyclic, cyclic]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (math.nan, r"at \$, nan is not a JSON number; use None or a string"),
        ({"a": [1, {"b c": math.inf}]}, r'at \$\.a\[1\]\["b c"\], inf is not a JSON number'),
        ("\ud800", r"at \$, a lone surrogate at index 0 is not a character; decode"),
        ({"a": ["x\udfff"]}, r"at \$\.a\[0\], a lone surrogate at index 1"),
        ({"a": {"\ud800": 1}}, r"at \$\.a, in a key, a lone surrogate"),
        ({1: 2}, r"at \$, a key is of type int; JSON has string keys only, use str\(key\)"),
        ({"a": {None: 2}}, r"at \$\.a, a key is of type NoneType"),
        ({"a": {Level.LOW: 2}}, r"at \$\.a, a key is of type Level"),
        ({"when": datetime.now(UTC)}, r"at \$\.when, a value of type datetime is not JSON; use None, str"),
        ([b"x"], r"at \$\[0\], a value of type bytes is not JSON"),
        ({1, 2}, r"at \$, a value of type set is not JSON"),
        (UserDict(a=1), "a value of type UserDict is not JSON"),
        pytest.param(10**5000, "an integer has more than 4,200 digits; use a string", id="huge"),
        ([1, -(10**5000)], r"at \$\[1\], an integer has more than 4,200 digits"),
        (nested(NESTING_MAX + 1), "at .*, nested deeper than 200 levels; flatten it"),
        (nested(10_000), "at .*, nested deeper than 200 levels; flatten it"),
        (cyclic, "nested deeper than 200 levels.* holds itself"),
    ],
)
def test_what_cannot_be_written_says_where_and_what_to_do(value: Any, says: str) -> None:
    with pytest.raises(EncodingError, match=says) as caught:
        dumps(value, what="the result of f")
    assert str(caught.value).startswith("the result of f cannot be recorded: ")
    assert len(str(caught.value)) < 300
    with pytest.raises(EncodingError, match=says):
        canonical(value)


def test_advice_is_given_for_a_type() -> None:
    with pytest.raises(EncodingError, match="a value of type object is not JSON; annotate it"):
        dumps([object()], advice="annotate it")


def test_the_deepest_that_is_written_reads_back() -> None:
    value = nested(NESTING_MAX)
    assert loads(dumps(value)) == value


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "EOF"),
        (b"NaN", "expected value"),
        (b"-Infinity", "invalid number"),
        (b"[1,]", "trailing comma"),
        (b"{1:2}", "key must be a string"),
        (b'"\xff"', "unicode"),
        (b'"\\ud800"', "half a surrogate pair"),
        (b'"\xed\xa0\x80"', "unicode"),
        (b"\xef\xbb\xbf1", "expected value"),
        (b"[" * 10_000, "nested deeper than 200 levels"),
        (b'{"a":' * 10_000, "nested deeper than 200 levels"),
        (b"1" * 5_000, "number out of range"),
        (b"1 2", "trailing characters"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, says: str) -> None:
    with pytest.raises(EncodingError, match=f"the data is not JSON that perdure reads: .*{says}"):
        loads(data, what="the data")


def test_a_number_beyond_doubles_is_read_and_not_written() -> None:
    assert loads(b"1e999") == math.inf
    with pytest.raises(EncodingError, match="inf is not a JSON number"):
        dumps(loads(b"1e999"))
