"""Records and bytes: Avro single-object encoding of the schemas in `schemas/`.

A value is `C3 01`, the schema's CRC-64-AVRO fingerprint (little endian), and the body
(Avro specification, "Single-object encoding"). Members of a union are `(name, fields)` on both sides: writing with the
name spares fastavro the search for the member that fits, reading with it spares us the guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import fastavro.schema

from perdure.errors import EncodingError

NAMESPACE = "perdure"
RECORDS = (
    "Event", "Claim", "Commit", "Ingest", "Due", "Config", "Level", "Snapshotted", "Released", "Resumed", "Scanned",
    "Message", "Command", "Reply", "DeadLetter", "Snapshot",
)  # fmt: skip
"""The records that stand alone in the log; every other schema is a part of one of these."""

# fastavro's types are partial; these are the two calls as they are used here.
_write: Callable[..., None] = fastavro.schemaless_writer  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_read: Callable[..., Any] = fastavro.schemaless_reader  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

MARKER = b"\xc3\x01"
"""How a value in Avro's single-object encoding begins."""
_PREFIX_BYTES = 10


@dataclass(frozen=True, slots=True)
class Schema:
    """One record's parsed schema and the prefix of its values."""

    name: str
    parsed: Any
    prefix: bytes


def schema_folder() -> Path:
    """Where the `.avsc` files are: inside the installed package, or beside the packages in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "schemas"
    return installed if installed.is_dir() else package.parent.parent / "schemas"


@cache
def schema(name: str) -> Schema:
    """The schema of a record by its short name, e.g. `Commit`."""
    parsed = fastavro.schema.load_schema(str(schema_folder() / f"{NAMESPACE}.{name}.avsc"))
    canonical = fastavro.schema.to_parsing_canonical_form(parsed)
    fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
    return Schema(name, parsed, MARKER + fingerprint)


@cache
def _by_prefix() -> Mapping[bytes, Schema]:
    return {s.prefix: s for s in map(schema, RECORDS)}


def encode(name: str, body: Mapping[str, Any]) -> bytes:
    """The value of a record. Raises EncodingError when the body does not fit its schema: a bug, not bad input."""
    found = schema(name)
    out = BytesIO()
    out.write(found.prefix)
    try:
        _write(out, found.parsed, body)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise EncodingError(f"a {name} record does not fit its schema: {error}") from error
    return out.getvalue()


def encode_commit(body: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
    """The value of a `Commit`, and the bytes of each of its changes in it: a run's history keeps only its own."""
    out = BytesIO()
    out.write(schema("Commit").prefix)
    changes = body["changes"]
    parts: list[bytes] = []
    try:
        if changes:
            # An array is blocks of a count and that many items, ended by a count of zero (Avro, "Complex Types").
            out.write(_long(len(changes)))
            parsed = schema("Change").parsed
            for change in changes:
                part = BytesIO()
                _write(part, parsed, change)
                parts.append(part.getvalue())
            out.writelines(parts)
        out.write(b"\0")
        acks = body["acks"]
        if acks:
            _write(out, _acks(), acks)
        else:
            out.write(b"\0")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise EncodingError(f"a Commit record does not fit its schema: {error}") from error
    return out.getvalue(), parts


@cache
def _acks() -> Any:
    return next(field["type"] for field in schema("Commit").parsed["fields"] if field["name"] == "acks")


def _long(number: int) -> bytes:
    """A positive Avro long."""
    number <<= 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def parts_of(commit: Mapping[str, Any]) -> list[bytes]:
    """The bytes of each change of a commit that somebody else encoded."""
    return encode_commit({"changes": commit["changes"], "acks": ()})[1]


def ops_of(part: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The ops of one entry of a run's history."""
    try:
        change = _read(
            BytesIO(part),
            schema("Change").parsed,
            None,
            return_record_name=True,
            return_record_name_override=True,
        )
    except Exception as error:
        raise EncodingError(f"a run's history is corrupt: {type(error).__name__}: {error}") from error
    return change["ops"]


def decode(value: bytes) -> tuple[str, dict[str, Any]]:
    """The record's short name and its body. Raises EncodingError for anything that is not a whole, known record."""
    found = _by_prefix().get(value[:_PREFIX_BYTES])
    if found is None:
        what = "of an unknown type or version" if value[:2] == MARKER else "not in single-object encoding"
        raise EncodingError(f"the value is {what}: {value[:_PREFIX_BYTES].hex()}")
    source = BytesIO(value)
    source.seek(_PREFIX_BYTES)
    try:
        body = _read(source, found.parsed, None, return_record_name=True, return_record_name_override=True)
    except Exception as error:
        raise EncodingError(f"a {found.name} record is corrupt: {type(error).__name__}: {error}") from error
    if source.tell() != len(value):
        raise EncodingError(f"a {found.name} record has {len(value) - source.tell()} bytes too many")
    return found.name, body
