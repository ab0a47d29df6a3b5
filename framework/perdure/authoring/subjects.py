"""Event classes as a Schema Registry keeps them: one subject each, with a JSON Schema. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from perdure.authoring.events import Event
from perdure.authoring.functions import Function

__all__ = ["changes", "event_models", "json_schema", "subject_of"]

Schema = Mapping[str, Any]
_REMARKS: Final = frozenset({"title", "description", "default", "examples", "deprecated"})
"""What says nothing about which data fits."""
_DEPTH_MAX: Final = 20


def subject_of(topic: str, event: str) -> str:
    """The subject of an event, as Confluent's TopicRecordNameStrategy names it."""
    return f"{topic}-{event}"


def event_models(functions: Iterable[Function[Any, Any]]) -> dict[str, type[Event]]:
    """The classes of all events that start one of the functions, by the event's name."""
    found = {
        name: model
        for function in functions
        for name, model in function.event_types.items()
        if model is not None and not name.startswith("perdure/")
    }
    return dict(sorted(found.items()))


def json_schema(event: str, model: type[Event]) -> str:
    """The JSON Schema of a class's data, titled with the event's name.

    Objects are closed unless their model has extra="allow": in an open one, a registry must take each new field for
    one that others may have used otherwise, and refuse it.
    """
    schema: dict[str, Any] = {**model.model_json_schema(by_alias=True), "title": event}
    definitions: dict[str, dict[str, Any]] = schema.get("$defs", {})
    for each in (schema, *definitions.values()):
        if "properties" in each:
            each.setdefault("additionalProperties", False)
    return json.dumps(schema, sort_keys=True)


def changes(old: str, new: str) -> list[str]:
    """What is different in a new schema that data written by the old one may not fit: a sentence each, by field."""
    before, now = cast("Schema", json.loads(old)), cast("Schema", json.loads(new))
    return list(_changes(_Side(before), _Side(now), before, now, ""))


class _Side:
    """One of the two schemas."""

    def __init__(self, root: Schema) -> None:
        self._definitions: Schema = root.get("$defs", {})

    def meant(self, schema: Any) -> Schema:
        """The schema itself, or what it refers to."""
        for _ in range(_DEPTH_MAX):
            if not isinstance(schema, dict):
                return {}
            name = str(cast("Schema", schema).get("$ref", "")).rpartition("/")[2]
            if name not in self._definitions:
                break
            schema = self._definitions[name]
        return cast("Schema", schema)


def _changes(old: _Side, new: _Side, before: Schema, now: Schema, path: str) -> Iterator[str]:
    had, has = before.get("properties", {}), now.get("properties", {})
    must, must_now = set(before.get("required", ())), set(now.get("required", ()))
    for name in has:
        field = f"{path}{name}"
        if name not in had:
            if name in must_now:
                yield f"the field {field} is new and has no default: events that were sent before do not have it"
            continue
        if name in must_now - must:
            yield f"the field {field} has no default any more: events that were sent before may not have it"
        was, is_ = old.meant(had[name]), new.meant(has[name])
        if "properties" in was and "properties" in is_ and path.count(".") < _DEPTH_MAX:
            yield from _changes(old, new, was, is_, f"{field}.")
        elif (first := _shown(was)) != (then := _shown(is_)):
            yield f"the field {field} was {first}, and is {then}"
    for name in had:
        if name not in has:
            yield f"the field {path}{name} is gone"


def _shown(schema: Any) -> str:
    """A schema without remarks, for people: only its type where that says all."""
    if not isinstance(schema, dict):
        return json.dumps(schema)
    plain = {name: value for name, value in cast("Schema", schema).items() if name not in _REMARKS}
    if plain.keys() == {"type"}:
        return str(plain["type"])
    if plain.keys() == {"anyOf"}:
        return " or ".join(map(_shown, plain["anyOf"]))
    return json.dumps(plain, sort_keys=True)
