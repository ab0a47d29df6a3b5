"""Answers to clients, after acceptance (A13), and the dead letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure.core import codec
from perdure.core.routing import client_partition
from perdure.core.state import PartitionState, Run
from perdure.engine.services import Services
from perdure.errors import LogError
from perdure.logs.contract import REPLIES_PARTITIONS, LogFull, Producer, Topic


def reply_body(run_id: str, run: Run | None, command: str) -> dict[str, Any]:
    """What a client is told of a run; status "" when no such run is known."""
    return {
        "command": command,
        "run": run_id,
        "status": run.status if run else "",
        "function": run.function if run else "",
        "result": run.result if run else None,
        "error": run.error if run else None,
        "reason": run.reason if run else "",
        "values": run.values if run else {},
    }


class Replies:
    """The answering side of one claim's life."""

    def __init__(
        self, services: Services, state: PartitionState, producer: Producer, fail: Callable[[LogError], None]
    ) -> None:
        self._services = services
        self._state = state
        self._producer = producer
        self._fail = fail

    def ended(self, run_id: str) -> None:
        """Tells everyone who waits for a run's end."""
        run = self._state.runs.get(run_id)
        if run is not None:
            for command, client in run.watchers.items():
                self._send(client, reply_body(run_id, run, command))

    def answer(self, client: str, command: str, run_id: str) -> None:
        self._send(client, reply_body(run_id, self._state.runs.get(run_id), command))

    def _send(self, client: str, body: dict[str, Any]) -> None:
        near = self._services.clients.get(client)
        if near is not None:  # a client in this process needs no log
            near(body)
            return
        value = codec.encode("Reply", body)
        self._append(Topic.REPLIES, client_partition(client, REPLIES_PARTITIONS), value, key=client)

    def bury(self, topic: Topic, offset: int, reason: str, value: bytes = b"") -> None:
        """Appends a dead letter."""
        letter = {"topic": topic.value, "partition": self._state.number, "offset": offset, "reason": reason}
        self._append(Topic.DEAD_LETTERS, 0, codec.encode("DeadLetter", letter | {"value": value}))

    def _append(self, topic: Topic, partition: int, value: bytes, *, key: str = "") -> None:
        try:
            self._producer.append(topic, partition, value, key=key.encode(), done=self._done)
        except LogFull as error:  # a client asks again
            self._services.trouble(f"nothing could be appended to {topic}", error)

    def _done(self, result: int | LogError) -> None:
        if isinstance(result, LogError):
            self._fail(result)
