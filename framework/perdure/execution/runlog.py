"""`ctx.log`."""

from __future__ import annotations

import sys
from typing import Any

from perdure.execution.desk import Desk
from perdure.execution.failures import failure_of

__all__ = ["RunLog"]


class RunLog:
    """The log of a run. Lines appear once what the code did in that turn is recorded, and only once."""

    __slots__ = ("_desk",)

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def debug(self, message: str, /, **fields: Any) -> None:
        """A line for whoever debugs this function."""
        self._desk.say("debug", message, fields)

    def info(self, message: str, /, **fields: Any) -> None:
        """A line that says what happens."""
        self._desk.say("info", message, fields)

    def warning(self, message: str, /, **fields: Any) -> None:
        """A line that somebody should look at one day."""
        self._desk.say("warning", message, fields)

    def error(self, message: str, /, **fields: Any) -> None:
        """A line that somebody should look at now."""
        self._desk.say("error", message, fields)

    def exception(self, message: str, /, **fields: Any) -> None:
        """Like `error`, with the traceback of the exception that is being handled."""
        error = sys.exception()
        if error is not None:
            fields = {**fields, "error": failure_of(error)}
        self._desk.say("error", message, fields)
