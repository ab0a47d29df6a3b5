"""Records and bytes: Avro single-object encoding of the schemas in `schemas/`.

A value is `C3 01`, the schema's CRC-64-AVRO fingerprint (little endian), and the body
(Avro specification, "Single-object encoding"). Members of a union are `(name, fields)` on both sides: writing with the
name spares the search for the member that fits, reading with it spares us the guess. fastavro reads the schemas; what
reads and writes by them is made in `avro`.

A record that got another form is still read: what it was lies in `schemas/superseded`, each whole in one file, and is
resolved to what it is now (Avro specification, "Schema Resolution").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import fastavro
import fastavro.schema

from perdure.core import avro
from perdure.errors import EncodingError

NAMESPACE = "perdure"
RECORDS = (
    "Event", "Claim", "Commit", "Ingest", "Due", "Config", "Level", "Snapshotted", "Released", "Resumed", "Scanned",
    "Message", "Messages", "Command", "Ticked", "Reply", "DeadLetter", "Snapshot", "PackedState", "Fired", "Admitted",
    "GatesDue", "FunctionPaused", "LimitChanged",
)  # fmt: skip
"""The records that stand alone in the log; every other schema is a part of one of these."""

_MISFITS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError)
"""What writing raises for a body that does not fit its schema."""
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
    return Schema(name, parsed, MARKER + _fingerprint(parsed))


@cache
def _by_prefix() -> Mapping[bytes, Schema]:
    return {s.prefix: s for s in map(schema, RECORDS)}


@cache
def _superseded() -> Mapping[bytes, Schema]:
    """What records were before, by the prefix of their values."""
    found: dict[bytes, Schema] = {}
    for path in sorted(schema_folder().glob(f"superseded/{NAMESPACE}.*.avsc")):
        parsed: Any = fastavro.schema.load_schema(str(path))
        prefix = MARKER + _fingerprint(parsed)
        found[prefix] = Schema(parsed["name"].removeprefix(f"{NAMESPACE}."), parsed, prefix)
    return found


def _fingerprint(parsed: Any) -> bytes:
    canonical = fastavro.schema.to_parsing_canonical_form(parsed)
    return bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


@cache
def _writer(name: str) -> avro.Write:
    parsed = schema(name).parsed
    return avro.writer(parsed, parsed["__named_schemas"])


@cache
def _reader(name: str) -> avro.Read:
    parsed = schema(name).parsed
    return avro.reader(parsed, parsed["__named_schemas"])


def encode(name: str, body: Mapping[str, Any]) -> bytes:
    """The value of a record. Raises EncodingError when the body does not fit its schema: a bug, not bad input."""
    parts = [schema(name).prefix]
    try:
        _writer(name)(parts, body)
        return b"".join(parts)
    except _MISFITS as error:
        raise EncodingError(f"a {name} record does not fit its schema: {_said(error)}") from error


def _said(error: Exception) -> str:
    return f"there is no {error}" if isinstance(error, KeyError) else str(error)


def encode_commit(body: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
    """The value of a `Commit`, and the bytes of each of its changes in it: a run's history keeps only its own."""
    write, write_ack = _writer("Change"), _writer("Ack")
    value, parts = [schema("Commit").prefix], list[bytes]()
    try:
        # An array is blocks of a count and that many items, ended by a count of zero (Avro, "Complex Types").
        if body["changes"]:
            for change in body["changes"]:
                part: list[bytes] = []
                write(part, change)
                parts.append(b"".join(part))
            value += (avro.long(len(parts)), *parts)
        value.append(b"\0")
        if body["acks"]:
            value.append(avro.long(len(body["acks"])))
            for ack in body["acks"]:
                write_ack(value, ack)
        value.append(b"\0")
        return b"".join(value), parts
    except _MISFITS as error:
        raise EncodingError(f"a Commit record does not fit its schema: {_said(error)}") from error


def decode_parted(value: bytes) -> tuple[str, dict[str, Any], list[bytes] | None]:
    """`decode`, and of a `Commit` the bytes of each of its changes as they lie in the value: whoever keeps a history
    need not write again what it has read."""
    commit = schema("Commit")
    if value[:_PREFIX_BYTES] != commit.prefix:
        return (*decode(value), None)
    changes: list[dict[str, Any]] = []
    parts: list[bytes] = []
    try:
        end = avro.items(_reader("Change"), value, _PREFIX_BYTES, changes, parts)
        acks: list[dict[str, Any]] = []
        _whole(value, avro.items(_reader("Ack"), value, end, acks))
    except Exception as error:
        raise EncodingError(f"a Commit record is corrupt: {type(error).__name__}: {error}") from error
    return commit.name, {"changes": changes, "acks": acks}, parts


def parts_of(commit: Mapping[str, Any]) -> list[bytes]:
    """The bytes of each change of a commit that somebody else encoded."""
    return encode_commit({"changes": commit["changes"], "acks": ()})[1]


def ops_of(part: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The ops of one entry of a run's history."""
    try:
        change, end = _reader("Change")(part, 0)
        _whole(part, end)
    except Exception as error:
        raise EncodingError(f"a run's history is corrupt: {type(error).__name__}: {error}") from error
    return change["ops"]


def pack(name: str, body: Mapping[str, Any]) -> bytes:
    """The bytes of a part of a record, without saying of what it is one. Raises EncodingError."""
    parts: list[bytes] = []
    try:
        _writer(name)(parts, body)
    except _MISFITS as error:
        raise EncodingError(f"a {name} does not fit its schema: {_said(error)}") from error
    return b"".join(parts)


def unpack(name: str, data: bytes) -> dict[str, Any]:
    """What `pack` has packed. Raises EncodingError."""
    try:
        body, end = _reader(name)(data, 0)
        _whole(data, end)
    except Exception as error:
        raise EncodingError(f"a packed {name} is corrupt: {type(error).__name__}: {error}") from error
    return body


def repack(name: str, form: bytes, data: bytes) -> bytes:
    """What `pack` has packed by a form of the schema that is superseded, as it would be packed now. Raises LookupError
    for a form that is not known here, and EncodingError."""
    return pack(name, _resolved(_superseded()[MARKER + form], MARKER + form + data))


def form(name: str) -> bytes:
    """What tells the schema of a part from its other versions: its fingerprint."""
    return schema(name).prefix[len(MARKER) :]


def _resolved(was: Schema, value: bytes) -> dict[str, Any]:
    """The body of a record of a form that is superseded, as it would be written now."""
    source = BytesIO(value)
    source.seek(_PREFIX_BYTES)
    read = cast("Any", fastavro).schemaless_reader  # its stream has no type
    try:
        body: Any = read(
            source,
            was.parsed,
            schema(was.name).parsed,
            return_record_name=True,
            return_record_name_override=True,
        )
        _whole(value, source.tell())
    except Exception as error:
        raise EncodingError(f"a {was.name} record is corrupt: {type(error).__name__}: {error}") from error
    return body


def _whole(value: bytes, end: int) -> None:
    if end > len(value):
        raise ValueError("it ends too early")
    if end < len(value):
        raise ValueError(f"{len(value) - end} bytes too many")


def decode(value: bytes) -> tuple[str, dict[str, Any]]:
    """The record's short name and its body. Raises EncodingError for anything that is not a whole, known record."""
    found = _by_prefix().get(value[:_PREFIX_BYTES])
    if found is None:
        found = _superseded().get(value[:_PREFIX_BYTES])
        if found is not None:
            return found.name, _resolved(found, value)
        what = "of an unknown type or version" if value[:2] == MARKER else "not in single-object encoding"
        raise EncodingError(f"the value is {what}: {value[:_PREFIX_BYTES].hex()}")
    try:
        body, end = _reader(found.name)(value, _PREFIX_BYTES)
        _whole(value, end)
    except Exception as error:
        raise EncodingError(f"a {found.name} record is corrupt: {type(error).__name__}: {error}") from error
    return found.name, body
