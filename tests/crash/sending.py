"""The test as a client of the service: a process that is no worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from perdure import App
from tests.crash.processes import Place
from tests.crash.service import app_on

T = TypeVar("T")


def as_client(place: Place, work: Callable[[App], Awaitable[T]]) -> T:
    """Does something with an app that is connected to the log of the place."""

    async def doing() -> T:
        options = {name: place.options[name] for name in ("partitions",) if name in place.options}
        app = app_on(str(place.folder), **options)
        try:
            return await work(app)
        finally:
            await app.close()

    return asyncio.run(doing())


def send_event(place: Place, name: str, data: dict[str, Any], *, id: str) -> None:  # noqa: A002
    """Sends one event, durably."""
    as_client(place, lambda app: app.send(name, data, id=id))
