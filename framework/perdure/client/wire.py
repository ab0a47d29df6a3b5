"""What a client sends as a record holds it, and what it is answered as its caller sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from perdure.core.facts import KIND, TRACE
from perdure.core.ops import EventData, Failure
from perdure.core.sealed import is_sealed
from perdure.errors import RunNotFound
from perdure.payloads.records import Opener, seal_event
from perdure.payloads.vault import Vault

__all__ = ["headers_of", "opened", "sealed_command"]

Reply = Mapping[str, Any]


def headers_of(kind: str, event: EventData) -> Mapping[str, bytes]:
    """The headers of an entry that brings an event."""
    headers = {KIND: kind.encode()}
    if event["trace"] is not None:
        headers[TRACE] = event["trace"].encode()
    return headers


def sealed_command(vault: Vault, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body of a command with its payloads sealed."""
    if not vault.seals:
        return body
    if "event" in body:
        return {**body, "event": seal_event(vault, cast("EventData", body["event"]))}
    return {**body, "data": vault.seal(body["data"])} if "data" in body else body


async def opened(vault: Vault, reply: Reply) -> Reply:
    """An answer with its payloads opened, fetched from the store if need be.

    Raises RunNotFound when nobody knows the run, and any PayloadError.
    """
    if not reply["status"]:
        raise RunNotFound(
            f"no run {reply['run']!r} is known: it never started, or it ended and its result is not kept any more"
        )
    fields: dict[str, Any] = {}
    for name in ("result", "answer"):
        if is_sealed(reply[name] or b""):
            fields[name] = await _loaded(vault, reply[name])
    if reply["error"] is not None:
        fields["error"] = Opener(vault).failure(cast("Failure", reply["error"]))
    values: Mapping[str, bytes] = reply["values"]
    if any(map(is_sealed, values.values())):
        fields["values"] = {name: await _loaded(vault, value) for name, value in values.items()}
    return {**reply, **fields} if fields else reply


async def _loaded(vault: Vault, data: bytes) -> bytes:
    return vault.open(data) if vault.wanted(data) is None else await asyncio.to_thread(vault.load, data)
