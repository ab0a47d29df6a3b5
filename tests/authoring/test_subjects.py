"""Event classes as JSON Schemas, and what is said of their changes."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel, Field

from perdure import App, Context, Event, Tick
from perdure.authoring.subjects import changes, event_models, json_schema, subject_of


class Line(BaseModel):
    article: str
    count: int = 1


class Placed(Event, name="order/placed"):
    order: str = Field(alias="orderId")
    lines: list[Line] = Field(default_factory=list)
    at: datetime | None = None


def test_a_class_is_a_closed_schema_that_is_titled_with_the_event() -> None:
    schema = json.loads(json_schema("order/placed", Placed))
    assert (schema["title"], schema["additionalProperties"], schema["required"]) == (
        "order/placed",
        False,
        ["orderId"],
    )
    assert schema["$defs"]["Line"]["additionalProperties"] is False
    assert json_schema("order/placed", Placed) == json_schema("order/placed", Placed)


def test_a_class_that_allows_more_is_an_open_one() -> None:
    class Open(Event, name="order/open", extra="allow"):
        order: str

    assert json.loads(json_schema("order/open", Open))["additionalProperties"] is True


def test_the_classes_are_those_that_start_functions() -> None:
    app = App("test")

    @app.function(on=[Placed, "order/paid", Tick])
    async def order(ctx: Context[Any]) -> None: ...

    assert event_models(app.functions) == {"order/placed": Placed}
    assert subject_of("shop.events", "order/placed") == "shop.events-order/placed"


def schema(properties: dict[str, Any], *required: str, **more: Any) -> str:
    return json.dumps({"type": "object", "properties": properties, "required": list(required), **more})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            schema({"a": {"type": "string"}}),
            schema({"a": {"type": "string", "title": "A", "default": ""}}),
            [],
        ),
        (schema({}), schema({"a": {"type": "string"}}), []),
        (
            schema({}),
            schema({"a": {"type": "string"}}, "a"),
            ["the field a is new and has no default: events that were sent before do not have it"],
        ),
        (
            schema({"a": {"type": "string"}}),
            schema({"a": {"type": "string"}}, "a"),
            ["the field a has no default any more: events that were sent before may not have it"],
        ),
        (schema({"a": {}}), schema({}), ["the field a is gone"]),
        (
            schema({"a": {"type": "string"}}),
            schema({"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}),
            ["the field a was string, and is integer or null"],
        ),
        (
            schema(
                {"a": {"$ref": "#/$defs/A"}},
                **{"$defs": {"A": json.loads(schema({"b": {"type": "string"}}))}},
            ),
            schema(
                {"a": {"$ref": "#/$defs/X"}}, **{"$defs": {"X": json.loads(schema({"b": {"type": "null"}}))}}
            ),
            ["the field a.b was string, and is null"],
        ),
        (
            schema({"a": True}),
            schema({"a": {"maxLength": 3}}),
            ['the field a was {}, and is {"maxLength": 3}'],
        ),
    ],
)
def test_a_change_is_told_by_its_field(old: str, new: str, said: list[str]) -> None:
    assert changes(old, new) == said


def test_a_schema_that_holds_itself_is_compared_to_a_bound() -> None:
    def tree(leaf: str) -> str:
        node = json.loads(schema({"next": {"$ref": "#/$defs/N"}, "leaf": {"type": leaf}}))
        return schema({"root": {"$ref": "#/$defs/N"}}, **{"$defs": {"N": node}})

    found = changes(tree("string"), tree("integer"))
    assert found[-1] == "the field root.leaf was string, and is integer"
    assert len(found) < 40
