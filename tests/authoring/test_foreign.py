"""Events of producers that know nothing of perdure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from perdure.authoring.foreign import foreign_event, schema_id_of
from perdure.core.ops import EventData
from perdure.errors import InvalidEvent

TS = 1_700_000_000_000_000
RECORDS: dict[int, tuple[str, object]] = {
    7: ("shop.OrderPlaced", {"order": "o1", "at": datetime(2026, 1, 2, tzinfo=UTC), "raw": b"\x00\xff"}),
    8: ("shop.Envelope", {"name": "order/placed", "data": {"order": "o2"}, "id": "e1"}),
}


def read(value: bytes | dict[str, Any], key: bytes = b"", **headers: str) -> EventData:
    def record(schema_id: int, body: bytes) -> tuple[str, object]:
        if schema_id not in RECORDS:
            raise InvalidEvent(f"there is no schema {schema_id}")
        assert body == b"body"
        return RECORDS[schema_id]

    return foreign_event(
        json.dumps(value).encode() if isinstance(value, dict) else value,
        {name: text.encode() for name, text in headers.items()},
        key,
        place="3:17",
        ts_us=TS,
        read_record=record,
        data_bytes_max=1_000,
    )


def test_json_as_a_client_sends_it() -> None:
    event = read({"name": "user/created", "data": {"n": 1}}, key=b"u1")
    assert event == {
        "name": "user/created",
        "id": "3:17",
        "ts": TS,
        "key": "u1",
        "v": None,
        "data": b'{"n":1}',
        "trace": None,
    }
    full = read(
        {"name": "x", "data": None, "id": "i", "key": "k", "v": "2", "ts": "2026-01-02T00:00:00+00:00"}
    )
    assert (full["id"], full["key"], full["v"], full["ts"]) == ("i", "k", "2", 1_767_312_000_000_000)
    assert full["data"] == b"{}"


def test_a_cloud_event() -> None:
    said = {"specversion": "1.0", "type": "user/created", "source": "/u", "id": "c1", "data": {"n": 1}}
    event = read(said | {"time": "2026-01-02T00:00:00Z", "partitionkey": "p"})
    assert (event["name"], event["id"], event["key"], event["data"]) == (
        "user/created",
        "c1",
        "p",
        b'{"n":1}',
    )
    assert event["ts"] == 1_767_312_000_000_000


def test_a_header_names_the_event_and_all_of_the_entry_is_its_data() -> None:
    event = read({"name": "bob", "data": 1}, event="user/created", id="h1", traceparent="00-ab-cd-01")
    assert (event["name"], event["id"], event["trace"]) == ("user/created", "h1", "00-ab-cd-01")
    assert json.loads(event["data"]) == {"name": "bob", "data": 1}
    binary = read({"n": 1}, ce_type="user/created", ce_id="c2", ce_time="2026-01-02T00:00:00Z")
    assert (binary["name"], binary["id"], binary["ts"]) == ("user/created", "c2", 1_767_312_000_000_000)


def test_avro_in_the_confluent_wire_format() -> None:
    assert schema_id_of(b"\x00\x00\x00\x00\x07body") == 7
    assert schema_id_of(b"{}") is None
    assert schema_id_of(b"\x00\x00") is None
    event = read(b"\x00\x00\x00\x00\x07body", key=b"o1")
    assert (event["name"], event["key"]) == ("shop.OrderPlaced", "o1")
    assert json.loads(event["data"]) == {"order": "o1", "at": "2026-01-02T00:00:00+00:00", "raw": "AP8="}
    named = read(b"\x00\x00\x00\x00\x07body", event="order/placed")
    assert named["name"] == "order/placed"
    envelope = read(b"\x00\x00\x00\x00\x08body")
    assert (envelope["name"], envelope["id"], envelope["data"]) == ("order/placed", "e1", b'{"order":"o2"}')


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "neither an event of perdure, nor JSON"),
        (b"hello", "neither an event of perdure, nor JSON"),
        (b"{", "this is not JSON"),
        (b'{"a": NaN}', "this is not JSON"),
        (b'{"a": 1}', "has no event name"),
        (b"[1]", "has no event name"),
        (b'{"name": "x", "data": 1, "colour": 2}', "has no event name"),
        (b'{"name": "x", "data": 1}', "use a dict"),
        (b'{"name": "", "data": 1}', "is empty"),
        (b'{"name": "perdure/function.failed", "data": 1}', "is for the events of the engine itself"),
        (b'{"name": "x", "data": {"y": "' + b"y" * 1_000 + b'"}}', "1,?0"),
        (b'{"name": "x", "data": {}, "ts": "tomorrow"}', "not ISO 8601"),
        (b'{"name": "x", "data": {}, "id": 5}', "the id 5"),
        (b'{"specversion": "1.0", "id": "1"}', "is empty"),
        (b"{" * 100_000, "this is not JSON"),
        (b'{"name": "x", "data": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "this is not JSON"),
        (b"\x00\x00\x00\x00\x63body", "there is no schema 99"),
    ],
)
def test_what_cannot_be_read_says_why(value: bytes, words: str) -> None:
    with pytest.raises(InvalidEvent, match=words):
        read(value)


def test_a_key_that_is_no_text_is_told() -> None:
    with pytest.raises(InvalidEvent, match="the key of the entry is not UTF-8"):
        read({"name": "x", "data": 1}, key=b"\xff")
