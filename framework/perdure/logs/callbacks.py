"""Calling out of a log: what the callback raises is the loop's, and the log goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["guarded", "report"]


def guarded(loop: asyncio.AbstractEventLoop | None, callback: Callable[..., Any], *args: Any) -> None:
    """Calls out; an error there goes to the loop's exception handler, if there is a loop."""
    try:
        callback(*args)
    except Exception as error:  # noqa: BLE001 - whatever user code raises is the loop's
        if loop is not None:
            report(loop, f"a callback of the log: {callback!r}", error)


def report(loop: asyncio.AbstractEventLoop, where: str, error: BaseException) -> None:
    """Tells the loop's exception handler of an error in what was called."""
    loop.call_exception_handler({"message": f"an error in {where}", "exception": error})
