"""What is made for our schemas reads and writes what fastavro does, byte for byte, and refuses all else."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.core import avro, codec
from tests.core.schema_values import bodies

each_record = pytest.mark.parametrize("record", codec.RECORDS)
PREFIX_BYTES = 10


def by_fastavro(record: str, body: Any) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, codec.schema(record).parsed, body)
    return codec.schema(record).prefix + out.getvalue()


def made(schema: Any) -> tuple[Any, Any]:
    """Writes a field of this schema to bytes; reads it from them."""
    record = {"type": "record", "name": "R", "fields": [{"name": "f", "type": schema}]}
    write, read = avro.writer(record, {}), avro.reader(record, {})

    def to_bytes(value: Any) -> bytes:
        out: list[bytes] = []
        write(out, {"f": value})
        return b"".join(out)

    def from_bytes(data: bytes) -> Any:
        value, end = read(data, 0)
        assert end == len(data)
        return value["f"]

    return to_bytes, from_bytes


@each_record
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_same_bytes_as_fastavro_and_back(record: str, data: st.DataObject):
    body = data.draw(bodies(record))
    value = codec.encode(record, body)
    assert value == by_fastavro(record, body)
    assert codec.decode(value) == (record, body)


@settings(max_examples=15, deadline=None)
@given(body=bodies("Commit"))
def test_a_commit_in_parts_is_the_same_commit(body: Any):
    assert codec.encode_commit(body)[0] == by_fastavro("Commit", body)


@settings(max_examples=300, deadline=None)
@given(
    number=st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, -1, 63, 64, 8_191, 8_192, -8_192]))
)
def test_numbers(number: int):
    to_bytes, from_bytes = made("long")
    expected = BytesIO()
    fastavro.schemaless_writer(
        expected, {"type": "record", "name": "R", "fields": [{"name": "f", "type": "long"}]}, {"f": number}
    )
    assert to_bytes(number) == expected.getvalue()
    assert from_bytes(to_bytes(number)) == number


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_beyond_64_bits_is_not_written(number: int):
    with pytest.raises(ValueError, match="64-bit"):
        made("long")[0](number)


def test_a_field_that_is_left_out_has_its_default():
    event = {"name": "a", "id": "b", "ts": 1, "key": "c", "data": b"{}"}
    assert codec.encode("Event", event) == codec.encode("Event", event | {"v": None, "trace": None})


def test_blocks_that_say_their_size_are_read():
    # A count of -2 (zigzag 3), 4 bytes, two strings; then a block of one without a size.
    assert made({"type": "array", "items": "string"})[1](b"\x03\x08\x02a\x02b\x02\x02c\x00") == [
        "a",
        "b",
        "c",
    ]


WRONG = {
    "a negative length": ("string", b"\x01"),
    "a number that goes on for ever": ("long", b"\xff" * 12),
    "a number of which the end is missing": ("long", b"\xff"),
    "more items than bytes": ({"type": "array", "items": "long"}, b"\xfe\xff\xff\xff\x0f\x00"),
    "no such member of a union": (["null", "string"], b"\x04\x00"),
    "a negative member of a union": (["null", "string"], b"\x01\x00"),
    "no such symbol": ({"type": "enum", "name": "E", "symbols": ["a"]}, b"\x02"),
    "a negative symbol": ({"type": "enum", "name": "E", "symbols": ["a"]}, b"\x01"),
    "no text": ("string", b"\x02\xff"),
    "nothing": ("boolean", b""),
}


@pytest.mark.parametrize(("schema", "data"), WRONG.values(), ids=WRONG)
def test_bytes_that_are_no_value_are_refused(schema: Any, data: bytes):
    with pytest.raises((ValueError, IndexError)):
        made(schema)[1](data)


@each_record
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_value_that_was_cut_or_goes_on_is_refused(record: str, data: st.DataObject):
    value = codec.encode(record, data.draw(bodies(record)))
    cut = data.draw(st.integers(PREFIX_BYTES, len(value)))
    for wrong in (value[:cut], value + b"\0"):
        if wrong != value:
            with pytest.raises(codec.EncodingError):
                codec.decode(wrong)
