"""Functions of which nothing is started for a while, whatever is deployed meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perdure.client.client import Client
from perdure.core import codec
from perdure.core.deploys import NOTE, PAUSE, pause_key
from perdure.core.facts import APP
from perdure.logs.contract import Topic

__all__ = ["set_paused"]


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
