"""What the processes of these tests do, beside the lives of `tests.crash`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from perdure.errors import LogError
from tests.crash import ledger
from tests.crash.lives import all_ended, ends_of, make_app, send

POLL_S = 0.002


def persevering(folder: str, items: list[tuple[str, int]], **options: Any) -> int:
    """A service's whole life: sends until all is accepted, works until all has ended, leaves. Raises what ends it."""

    async def living() -> int:
        app = make_app(folder, **options)
        async with app.worker() as engine:
            ledger.note("started")
            failed = asyncio.ensure_future(engine.failed())
            for name, n in items:
                while not failed.done():
                    try:
                        await send(app, name, n)
                        break
                    except LogError:
                        await asyncio.sleep(POLL_S)
            wanted = ends_of(items)
            while not (failed.done() or all_ended(engine, wanted)):
                await asyncio.sleep(POLL_S)
            if failed.done():
                await failed
            failed.cancel()
        await app.close()
        return 0

    return asyncio.run(living())


LIVES: dict[str, Callable[..., int]] = {life.__name__: life for life in (persevering,)}
