"""Values that fit a record's schema, and need make no sense: what a confused or hostile owner could append."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from perdure.core import codec

NAMES = [
    "r",
    "s",
    "f",
    "/a",
    "/b",
    "/w",
    "user/created",
    "payment/done",
    "data.id",
    "1p0",
    "1p1",
    "j0",
    "j1",
    "e1",
    "",
]
"""A small world, so that what is drawn meets what is there."""

SMALL = st.integers(-1, 12)
EDGES = st.sampled_from([-(2**63), -1, 2**31, 2**62, 2**63 - 1])


def bodies(record: str) -> st.SearchStrategy[dict[str, Any]]:
    """Any body of a record that the log can hold."""
    named: dict[str, Any] = {}
    parsed = codec.schema(record).parsed
    _name_all(parsed, named)
    return _values(parsed, named, {})


def _name_all(schema: Any, named: dict[str, Any]) -> None:
    if isinstance(schema, list):
        for member in schema:
            _name_all(member, named)
    elif isinstance(schema, dict):
        if "name" in schema and schema["type"] in ("record", "enum"):
            named[schema["name"]] = schema
        for part in (*schema.get("fields", ()), schema):
            for inner in ("type", "items", "values"):
                if isinstance(part.get(inner), dict | list):
                    _name_all(part[inner], named)


_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-1, 3),
    "long": st.one_of(SMALL, SMALL, SMALL, EDGES),
    "string": st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), st.text(max_size=5)),
    "bytes": st.sampled_from([b"", b"{}", b"1", b'"7"', b"\xff", b'{"id":"7"}']),
}


def _values(schema: Any, named: dict[str, Any], made: dict[str, Any]) -> st.SearchStrategy[Any]:
    if isinstance(schema, list):
        return _union(schema, named, made)
    if isinstance(schema, str):
        return _PLAIN[schema] if schema in _PLAIN else _values(named[schema], named, made)
    kind = schema["type"]
    if kind == "array":
        return st.lists(_values(schema["items"], named, made), max_size=3)
    if kind == "map":
        return st.dictionaries(_PLAIN["string"], _values(schema["values"], named, made), max_size=2)
    if kind == "enum":
        return st.sampled_from(schema["symbols"])
    if kind != "record":
        return _values(kind, named, made)
    name = schema["name"]
    if name not in made:
        fields = {field["name"]: _values(field["type"], named, made) for field in schema["fields"]}
        made[name] = st.fixed_dictionaries(fields)
    return made[name]


def _union(members: list[Any], named: dict[str, Any], made: dict[str, Any]) -> st.SearchStrategy[Any]:
    """A member of several records travels with its name; the one besides null does not need to."""
    records = [m for m in members if m != "null"]
    if len(records) == 1:
        return st.one_of(*(_values(m, named, made) for m in members))
    nothing = [st.none()] if len(records) < len(members) else []
    names = [m if isinstance(m, str) else m["name"] for m in records]
    return st.one_of(
        *nothing,
        *(st.tuples(st.just(n), _values(m, named, made)) for n, m in zip(names, records, strict=True)),
    )
