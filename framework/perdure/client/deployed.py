"""What a process that is no worker can know of the workers: what they have said in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perdure.client.client import Client
from perdure.core import codec
from perdure.core.deploys import NOTE, Deploys
from perdure.core.facts import APP
from perdure.errors import EncodingError, UsageError
from perdure.logs.contract import Log, Topic
from perdure.payloads.vault import Vault

__all__ = ["app_of", "deployed", "may_send", "note", "refuse_clear_text"]

READ_ENTRIES = 500


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


async def note(client: Client, app: str, kind: str, key: str, record: str, body: Mapping[str, Any]) -> None:
    """Says something beside the deploys; durable when this returns. Raises LogError."""
    await client.append(
        Topic.REGISTRY,
        0,
        codec.encode(record, body),
        key=key,
        headers={APP: app.encode(), NOTE: kind.encode()},
    )


async def may_send(client: Client) -> Client:
    """The client, when what it sends is as the workers of the app want it. They are asked once, at the first time.

    Raises UsageError when they encrypt, and it has no keys; LogError.
    """
    if not client.vault.encrypts and not client.may_send:
        await refuse_clear_text(client.log, client.vault)
        client.may_send = True
    return client


async def refuse_clear_text(log: Log, vault: Vault) -> None:
    """Raises UsageError when the app that the log is of encrypts, and what is sent from here would not be."""
    if vault.encrypts:
        return
    current = (await deployed(log)).current
    if current is not None and current.config["encrypts"]:
        raise UsageError(
            "the app of this log encrypts its payloads, and this process has no keys: what it sends would be clear text"
            " in the log. Set PERDURE_PAYLOAD_KEYS as the workers have it, or give the App the same payloads="
        )
