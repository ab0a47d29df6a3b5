"""What librdkafka says of its connections, once and not twenty times a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Chatter", "Ear", "client_log"]

_AGAIN_S: Final = 30.0
_PASSING: Final = "GETPID"
"""A young broker, or one that has just become a coordinator, has no ids for producers yet; librdkafka asks again."""
_LEADERLESS: Final = "new leader-1 not found"


class Chatter(logging.Filter):
    """Lets one line of each kind through, then none of that kind for a while.

    The kind is the word that librdkafka begins a line with: FAIL, ERROR, GETPID. While a broker is away each client of
    a process says the same at each try to connect. What passes by itself is said only if it has not passed by then.
    """

    def __init__(self, again_s: float = _AGAIN_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._again_s = again_s
        self._clock = clock
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = record.getMessage().partition(" ")[0], self._clock()
        never = now if kind == _PASSING else now - self._again_s
        if now - self._said.setdefault(kind, never) < self._again_s:
            return False
        self._said[kind] = now
        return True


class Ear:
    """The logger of one client, which also hears when librdkafka has lost a partition.

    A response that names -1 as the leader leaves librdkafka 2.5 to 2.16 without any leader for it, whoever leads later
    (its issue 5430): nothing is sent or read there any more, and no error ever comes. All that it says of it is a line.
    Only a new client helps.
    """

    def __init__(self) -> None:
        self.leaderless = False
        self._logger = client_log()

    def log(self, level: int, text: str, *args: object) -> None:
        said = text % args if args else text
        if _LEADERLESS in said:
            self.leaderless = True
        self._logger.log(level, "%s", said)


def client_log() -> logging.Logger:
    """Where all clients of this process write."""
    logger = logging.getLogger("perdure.kafka.client")
    if not any(isinstance(each, Chatter) for each in logger.filters):
        logger.addFilter(Chatter())
    return logger
