"""Schemas of a Schema Registry, and what producers wrote by them. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, cast

import fastavro
import fastavro.schema
from fastavro import _read_py as in_python

from perdure.core import payload
from perdure.errors import EncodingError, InvalidEvent

__all__ = ["ReadBody", "WriterSchema", "reader_of"]

ReadBody = Callable[[bytes], tuple[str | None, object]]
"""From the bytes behind a schema's id to the name that the schema has, if it has one, and what they say."""

# fastavro's types are partial; these are the calls as they are used here.
_parse: Callable[..., Any] = fastavro.schema.parse_schema
_read: Callable[..., Any] = fastavro.schemaless_reader  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_read_in_python = cast("Callable[..., Any]", in_python.schemaless_reader)  # pyright: ignore[reportUnknownMemberType]

_NAMED: Final = ("record", "error", "enum", "fixed")


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """A schema as a registry keeps it: its kind (AVRO, JSON, PROTOBUF), its text, and the texts that it refers to,
    each behind those that it needs itself."""

    kind: str
    text: str
    references: tuple[str, ...] = ()


def reader_of(schema: WriterSchema) -> ReadBody:
    """What reads the bytes that were written by a schema. Raises InvalidEvent for a schema that cannot be used."""
    if schema.kind == "AVRO":
        return _avro(schema)
    if schema.kind == "JSON":
        return _json(schema.text)
    raise InvalidEvent(f"its schema is of the kind {schema.kind}, and events are Avro or JSON")


def _json(text: str) -> ReadBody:
    try:
        said: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f"its schema is not JSON: {error}") from error
    title: object = cast("dict[str, object]", said).get("title") if isinstance(said, dict) else None
    name = title if isinstance(title, str) else None

    def read(body: bytes) -> tuple[str | None, object]:
        try:
            return name, payload.loads(body, what="the entry")
        except EncodingError as error:
            raise InvalidEvent(f"its schema is JSON Schema, and this is not JSON: {error}") from error

    return read


def _avro(schema: WriterSchema) -> ReadBody:
    named: dict[str, Any] = {}
    try:
        for text in schema.references:
            _parse(json.loads(text), named_schemas=named)
        parsed = _parse(json.loads(schema.text), named_schemas=named)
    except Exception as error:  # fastavro raises of many kinds
        raise InvalidEvent(f"its schema is not Avro that can be read: {error!r:.300}") from error
    shape = _Shape(named)
    shape.look(parsed)
    if shape.holds_nothing:
        raise InvalidEvent(
            "its schema has an array of items that take no bytes, so its length proves nothing"
        )
    name: object = cast("dict[str, object]", parsed).get("name") if isinstance(parsed, dict) else None
    # In C, data that nests deeply enough ends the process; in Python it raises.
    take = _read_in_python if shape.recursive else _read

    def read(body: bytes) -> tuple[str | None, object]:
        source = BytesIO(body)
        try:
            said = take(source, parsed)
        except Exception as error:  # whatever others wrote
            raise InvalidEvent(f"it does not fit its schema {name or ''}: {error!r:.200}") from error
        if left := len(body) - source.tell():
            raise InvalidEvent(f"it does not fit its schema {name or ''}: {left} bytes are left over")
        return name if isinstance(name, str) else None, said

    return read


class _Shape:
    """What must be known of a schema before data of others may be read by it."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._open: list[str] = []
        self._empty: dict[str, bool] = {}
        self.recursive = False
        self.holds_nothing = False

    def look(self, schema: Any) -> bool:
        """Looks at a schema and all in it; whether its values may take no bytes."""
        if isinstance(schema, list):
            for branch in cast("list[Any]", schema):
                self.look(branch)
            return False  # the number of the branch is a byte
        if isinstance(schema, str):
            return (
                self._look_named(schema, self._named[schema]) if schema in self._named else schema == "null"
            )
        kind = schema["type"]
        if kind in _NAMED:
            return self._look_named(schema["name"], schema)
        if kind == "array":
            self.holds_nothing |= self.look(schema["items"])
            return False
        if kind == "map":
            self.look(schema["values"])
            return False
        return self.look(kind)

    def _look_named(self, name: str, schema: Any) -> bool:
        if name in self._open:
            self.recursive = True
            return False
        if schema["type"] == "fixed":
            return schema["size"] == 0
        if schema["type"] == "enum":
            return False
        if name in self._empty:
            return self._empty[name]
        self._open.append(name)
        # Each field is looked at, also behind one that takes bytes.
        empty = [self.look(field["type"]) for field in schema["fields"]]
        self._open.pop()
        self._empty[name] = all(empty)
        return self._empty[name]
