"""Functions of which nothing is started for a while, whatever is deployed meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perdure.client.client import Client
from perdure.core import codec
from perdure.core.deploys import NOTE, PAUSE, Deploys, pause_key
from perdure.core.facts import APP
from perdure.errors import EncodingError
from perdure.logs.contract import Log, Topic

__all__ = ["app_of", "deployed", "set_paused"]

READ_ENTRIES = 500


async def set_paused(client: Client, app: str, function: str, reason: str | None) -> None:
    """Pauses a function with a reason, or lets it go on; durable when this returns. Raises LogError."""
    body: Mapping[str, Any] = {
        "function": function,
        "paused": reason is not None,
        "reason": reason or "",
    }
    await client.append(
        Topic.REGISTRY,
        0,
        codec.encode("FunctionPaused", body),
        key=pause_key(function),
        headers={APP: app.encode(), NOTE: PAUSE.encode()},
    )


async def app_of(log: Log) -> str:
    """The app whose journal it is; "" while no worker was there. Raises LogError."""
    first, end = await log.bounds(Topic.REGISTRY, 0)
    for entry in await log.read(Topic.REGISTRY, 0, first, READ_ENTRIES) if first < end else ():
        if APP in entry.headers:
            return entry.headers[APP].decode()
    return ""


async def deployed(log: Log) -> Deploys:
    """What the registry says now: which functions are in force, and which of them are paused. Raises LogError."""
    found = Deploys()
    first, end = await log.bounds(Topic.REGISTRY, 0)
    while first < end and (batch := await log.read(Topic.REGISTRY, 0, first, READ_ENTRIES)):
        for entry in batch:
            try:
                found.take(entry.offset, entry.value, entry.headers)
            except EncodingError:  # of another version of perdure: its workers know
                continue
        first = batch[-1].offset + 1
    return found
