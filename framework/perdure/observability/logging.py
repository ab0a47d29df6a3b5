"""What bodies say with `ctx.log`, handed to the logging of the standard library once it counts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from perdure.core.state import Run
from perdure.observability import names
from perdure.observability.observer import Observer

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class RunLogging(Observer):
    """Writes to the logger `perdure.run`, each line once: replayed turns say nothing, and neither do void ones.

    A record has `run_id`, `function_id` and `fields` (what `ctx.log` was given beside the message) as attributes; the
    message ends with the fields, `charged amount=5`.
    """

    def __init__(self) -> None:
        self._logger = logging.getLogger(names.RUN_LOGGER)

    def lines(self, run: Run, lines: Sequence[Any]) -> None:
        for level, message, fields in lines:
            number = _LEVELS.get(level, logging.INFO)
            if self._logger.isEnabledFor(number):
                self._logger.handle(self._record(run, number, message, fields))

    def _record(self, run: Run, level: int, message: str, fields: Mapping[str, Any]) -> logging.LogRecord:
        error = fields.get("error")
        traceback = _traceback(error)
        shown = {name: value for name, value in fields.items() if traceback is None or name != "error"}
        text = message + "".join(f" {name}={value!r}" for name, value in shown.items())
        extra = {"run_id": run.id, "function_id": run.function, "fields": dict(fields)}
        record = self._logger.makeRecord(
            self._logger.name, level, run.function, 0, text, (), None, run.function, extra
        )
        record.exc_text = traceback
        return record


def _traceback(error: Any) -> str | None:
    """The traceback that `ctx.log.exception` took along."""
    traceback = error.get("traceback") if isinstance(error, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return traceback if isinstance(traceback, str) else None
