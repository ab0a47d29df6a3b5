"""Which log a command means, and what people call it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from perdure.errors import LogError, UsageError

if TYPE_CHECKING:
    from perdure.client.client import Client
    from perdure.client.connections import Connections
    from perdure.index.reader import JournalReader
    from perdure.logs import Log
    from perdure.payloads.vault import Vault


def url_of(given: str | None) -> str:
    """The log's URL: `--log`, else `PERDURE_LOG`, else the file of the project."""
    from perdure.config import log_url

    return log_url(given)


def file_of(url: str) -> Path | None:
    """The file of an embedded log."""
    try:
        parts = urlsplit(url)
    except ValueError:  # what opens it says what is wrong with it
        return None
    return Path(unquote(parts.path[1:])).absolute() if parts.scheme == "sqlite" and parts.path[1:] else None


def shown_log(url: str) -> str:
    """A log as people see it."""
    file = file_of(url)
    if file is not None:
        return str(file)
    return f"{url} (gone with this process)" if url.startswith("memory:") else url


def vault_at(given: str | None) -> Vault:
    """What a command does with payloads: the environment says it, since it knows no app's code."""
    from perdure.config import payload_vault

    return payload_vault(None, "", url_of(given))


def refuse_memory(url: str) -> None:
    """Raises UsageError for a log that another process cannot reach."""
    if url.startswith("memory:"):
        raise UsageError(
            f"{url} lives inside one process, and this is another one; name a log with --log or PERDURE_LOG"
        )


@asynccontextmanager
async def opened(given: str | None, *, make: bool = False) -> AsyncGenerator[Log]:
    """The log, open. Without `make`, one that is not there is an error: a reader makes no files."""
    from perdure.logs import open_log

    log = open_log(_reachable(given, make=make))
    await log.open()
    try:
        yield log
    finally:
        await log.close()


def _reachable(given: str | None, *, make: bool = False) -> str:
    """The URL of a log that this process can open. Raises UsageError or LogError."""
    url = url_of(given)
    file = file_of(url)
    refuse_memory(url)
    if not make and file is not None and not file.exists():
        raise LogError(
            f"there is no log at {file}: `perdure dev` makes one, or name yours with --log or PERDURE_LOG"
        )
    return url


@asynccontextmanager
async def connected(given: str | None) -> AsyncGenerator[Connections]:
    """What `app.runs` and `app.schedules` are made on, without the app."""
    from perdure.client.connections import Connections

    made = Connections("", _reachable(given), vault=vault_at(given))
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def read_log(given: str | None) -> AsyncGenerator[JournalReader]:
    """The journal of a log, folded up to its present end."""
    from perdure.index.opening import Reading
    from perdure.index.reader import JournalReader

    async with opened(given) as log:
        reader = JournalReader(log, reading=Reading(vault_at(given)))
        await reader.read()
        yield reader


@asynccontextmanager
async def client_of(log: Log, vault: Vault) -> AsyncGenerator[Client]:
    """A client on an open log."""
    import os

    from perdure.client.client import Client

    client = Client(log, os.urandom, vault)
    await client.open()
    try:
        yield client
    finally:
        client.close()
