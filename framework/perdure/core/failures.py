"""What is recorded of an error beside its text: its own fields, and the errors that led to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.core import payload
from perdure.core.ops import Failure
from perdure.errors import EncodingError

__all__ = ["causes_of", "fields_of", "of_parts", "size_of", "told"]

Cause = Mapping[str, Any]
"""`type`, `message`, and `fields` when it has some."""


def of_parts(kind: str, message: str) -> Failure:
    """An error that nobody raised."""
    return {"type": kind, "message": message, "traceback": "", "data": ""}


def size_of(failure: Failure) -> int:
    """About how many bytes it takes in a record."""
    return len(failure["message"]) + len(failure["traceback"]) + len(failure["data"])


def fields_of(failure: Mapping[str, Any]) -> dict[str, Any]:
    """The error's own fields, of what is recorded or told."""
    return _details(failure).get("fields", {})


def causes_of(failure: Mapping[str, Any]) -> Sequence[Cause]:
    """The errors that led to it, the nearest first, of what is recorded or told."""
    return _details(failure).get("causes", [])


def told(failure: Failure) -> dict[str, Any]:
    """As a value of JSON: what events tell of it, and what people are shown."""
    return {name: value for name, value in failure.items() if name != "data"} | _details(failure)


def _details(failure: Mapping[str, Any]) -> dict[str, Any]:
    if "data" not in failure:
        return {name: failure[name] for name in ("fields", "causes") if name in failure}
    try:
        return payload.loads(failure["data"].encode()) if failure["data"] else {}
    except EncodingError:
        return {}
