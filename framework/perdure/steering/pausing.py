"""Functions of which nothing is started for a while, whatever is deployed meanwhile."""

from __future__ import annotations

from perdure.client.client import Client
from perdure.client.deployed import note
from perdure.core.deploys import PAUSE, pause_key

__all__ = ["set_paused"]


async def set_paused(client: Client, app: str, function: str, reason: str | None) -> None:
    """Pauses a function with a reason, or lets it go on; durable when this returns. Raises LogError."""
    body = {"function": function, "paused": reason is not None, "reason": reason or ""}
    await note(client, app, PAUSE, pause_key(function), "FunctionPaused", body)
