"""What was written by a schema of a registry: read, or refused with a reason, whatever it is."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import fastavro
import pytest

from perdure.authoring.written import WriterSchema, reader_of
from perdure.errors import InvalidEvent

ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "cents", "type": ["null", "long"], "default": None},
    ],
}


def avro(schema: Any, *references: Any) -> WriterSchema:
    return WriterSchema("AVRO", json.dumps(schema), tuple(map(json.dumps, references)))


def written(schema: Any, value: Any) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def test_a_record_is_read_and_named() -> None:
    value = {"id": "o1", "cents": 120}
    assert reader_of(avro(ORDER))(written(ORDER, value)) == ("shop.Order", value)


def test_a_schema_may_refer_to_others() -> None:
    placed = {"type": "record", "name": "shop.Placed", "fields": [{"name": "order", "type": "shop.Order"}]}
    body = written(ORDER, {"id": "o1", "cents": None})
    assert reader_of(avro(placed, ORDER))(body) == ("shop.Placed", {"order": {"id": "o1", "cents": None}})
    with pytest.raises(InvalidEvent, match="not Avro that can be read"):
        reader_of(avro(placed))


def test_json_by_a_json_schema_is_named_by_its_title() -> None:
    assert reader_of(WriterSchema("JSON", '{"title": "order/placed"}'))(b'{"n": 1}') == (
        "order/placed",
        {"n": 1},
    )
    assert reader_of(WriterSchema("JSON", "true"))(b"1") == (None, 1)
    with pytest.raises(InvalidEvent, match="this is not JSON"):
        reader_of(WriterSchema("JSON", "{}"))(b"{")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (WriterSchema("PROTOBUF", "message A {}"), "of the kind PROTOBUF"),
        (WriterSchema("AVRO", "{"), "not Avro that can be read"),
        (WriterSchema("AVRO", '{"type": "recor"}'), "not Avro that can be read"),
        (WriterSchema("JSON", "{"), "not JSON"),
        (avro({"type": "array", "items": "null"}), "take no bytes"),
        (
            avro({"type": "array", "items": {"type": "record", "name": "E", "fields": []}}),
            "take no bytes",
        ),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: WriterSchema, words: str) -> None:
    with pytest.raises(InvalidEvent, match=words):
        reader_of(schema)


@pytest.mark.parametrize(
    "body",
    [b"", b"\x04", written(ORDER, {"id": "o1", "cents": 1})[:-1], written(ORDER, {"id": "o1"}) + b"more"],
)
def test_bytes_that_do_not_fit_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidEvent, match=r"does not fit its schema shop\.Order"):
        reader_of(avro(ORDER))(body)


def test_depth_without_end_is_refused_and_ends_no_process() -> None:
    """In fastavro's C part the same bytes overflow the stack, and every owner in turn would die of them."""
    tree = {"type": "record", "name": "Tree", "fields": [{"name": "next", "type": ["null", "Tree"]}]}
    read = reader_of(avro(tree))
    assert read(b"\x02\x02\x00") == ("Tree", {"next": {"next": {"next": None}}})
    with pytest.raises(InvalidEvent, match="does not fit its schema Tree: RecursionError"):
        read(b"\x02" * 200_000 + b"\x00")


def test_a_schema_of_many_shared_parts_is_looked_at_once() -> None:
    schema: Any = {"type": "record", "name": "R0", "fields": [{"name": "a", "type": "long"}]}
    for n in range(1, 60):
        fields = [{"name": "a", "type": schema}, {"name": "b", "type": f"R{n - 1}"}]
        schema = {"type": "record", "name": f"R{n}", "fields": fields}
    with pytest.raises(InvalidEvent, match="does not fit its schema R59"):
        reader_of(avro(schema))(b"")
