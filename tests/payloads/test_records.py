"""Every payload of every op is sealed and opened: by the schemas, so that an op that comes tomorrow is thought of."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.core import codec
from perdure.core.ops import Op
from perdure.payloads.aesgcm import AesGcm
from perdure.payloads.chain import Chain
from perdure.payloads.records import Opener, Sealer
from perdure.payloads.vault import Vault

SECRET = b'"secret"'
IN_THE_CLEAR = {"perdure.WaitOpened": {"value"}}
"""Fields that are no payloads: what waits match by."""


def op_names() -> list[str]:
    (field,) = [field for field in codec.schema("Change").parsed["fields"] if field["name"] == "ops"]
    kinds = field["type"]["items"]
    return [kind if isinstance(kind, str) else kind["name"] for kind in kinds]


def sample(schema: Any, named: dict[str, Any], record: str = "", field: str = "") -> Any:
    """A value in which every payload says "secret"."""
    if isinstance(schema, str):
        schema = named.get(schema, schema)
    if isinstance(schema, list):
        kinds = [kind for kind in schema if kind != "null"]
        made = sample(kinds[0], named, record, field)
        kind: Any = named.get(kinds[0]) if isinstance(kinds[0], str) else kinds[0]
        is_record = isinstance(kind, dict) and kind["type"] == "record"
        return (kind["name"], made) if is_record and len(kinds) > 1 else made
    if isinstance(schema, dict):
        match schema["type"]:
            case "record":
                name = schema["name"]
                return {f["name"]: sample(f["type"], named, name, f["name"]) for f in schema["fields"]}
            case "array":
                return [sample(schema["items"], named, record, field)]
            case "map":
                return {"a": sample(schema["values"], named, record, field)}
            case "enum":
                return schema["symbols"][0]
            case inner:
                return sample(inner, named, record, field)
    if schema == "bytes":
        return b"clear" if field in IN_THE_CLEAR.get(record, ()) else SECRET
    if schema == "string":
        return "secret" if record == "perdure.Failure" and field != "type" else "/text"
    return {"long": 1, "int": 1, "boolean": False, "double": 1.0}[schema]


@pytest.mark.parametrize("name", op_names())
def test_nothing_of_an_op_is_left_in_the_clear(name: str) -> None:
    parsed = codec.schema("Change").parsed
    named = dict(parsed["__named_schemas"])
    op: Op = (name, sample(named[name], named))
    vault = Vault(Chain([AesGcm({"k": bytes(32)})]))
    made = Sealer(vault).op(op)
    assert "secret" not in repr(made), f"payloads/records.py leaves something of {name} in the clear"
    assert Opener(vault).op(made) == op
    assert Sealer(Vault()).op(op) == op


def test_there_are_ops_with_payloads() -> None:
    parsed = codec.schema("Change").parsed
    named = dict(parsed["__named_schemas"])
    assert sum("secret" in repr(sample(named[name], named)) for name in op_names()) > 8
