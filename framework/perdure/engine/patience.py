"""Work with a store that may be out of reach: in a thread, and again after a pause, up to a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from perdure.engine.pauses import growing
from perdure.engine.resident import Resident
from perdure.engine.services import Services
from perdure.errors import PayloadStoreError, PerdureError

__all__ = ["with_store"]

T = TypeVar("T")


def with_store(
    services: Services,
    run_id: str,
    resident: Resident | None,
    work: Callable[[], T],
    then: Callable[[T | PerdureError], None],
    cares: Callable[[], bool],
) -> None:
    """Does what blocks in a thread, and calls `then` on the event loop with its result or its error.

    While the store cannot be reached it is tried again, for as long as `payload_store_time_max`. Nothing is called
    once `cares` says that nobody listens.
    """
    since = services.clock.now()

    def again(failures: int) -> None:
        if resident is not None:
            resident.paused = False
        if cares():
            services.spawn(attempt(failures), f"payloads of run {run_id}")

    async def attempt(failures: int) -> None:
        try:
            found: T | PerdureError = await asyncio.to_thread(_done, work)
        except PayloadStoreError as error:
            at = services.clock.now() + growing(failures)
            if at - since <= services.limits.payload_store_time_max and cares():
                if not failures:
                    services.trouble(f"run {run_id} waits for the store of payloads", error)
                if resident is not None:
                    resident.paused = True
                services.clock.call_at(at, lambda: again(failures + 1))
                return
            found = error
        except PerdureError as error:
            found = error
        if cares():
            then(found)

    again(0)


def _done(work: Callable[[], T]) -> T:
    try:
        return work()
    except PerdureError:
        raise
    except Exception as error:  # a store of the user's own may raise anything, and so may a lack of memory
        raise PayloadStoreError(f"the store of payloads failed: {type(error).__name__}: {error}") from error
