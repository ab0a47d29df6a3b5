"""Answers to clients, after acceptance (A13), and the dead letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from perdure.core import codec
from perdure.core.effects import Answer
from perdure.core.facts import EVENTS_ROUTED, KIND, REDRIVEN, SIZE, Redriven, unpack_redriven
from perdure.core.limits import KB
from perdure.core.routing import client_partition
from perdure.core.state import STILL, PartitionState, Run
from perdure.engine.services import Services
from perdure.errors import EntryTooLarge, LogError
from perdure.logs.contract import NO_HEADERS, REPLIES_PARTITIONS, Entry, LogFull, Producer, Topic

REASON_MAX = 1_024
HEADERS_BYTES_MAX = 16 * KB
"""Headers of an entry that are kept with its dead letter."""
UNFIT = "the code that is deployed now still does not fit its record: "
"""Begins the reason of a run that stands still although a resume asks for it."""


def reply_body(run_id: str, run: Run | None, command: str, value: str | None = None) -> dict[str, Any]:
    """What a client is told of a run; status "" when no such run is known. Of its values, the one that was asked for:
    all of them might not fit an entry."""
    published = run.values.get(value) if run is not None and value is not None else None
    request = None if run is None else run.requests.get(command)
    return {
        "command": command,
        "run": run_id,
        "status": run.status if run else "",
        "function": run.function if run else "",
        "result": run.result if run else None,
        "error": run.error if run else None,
        "reason": run.reason if run else "",
        "values": {} if value is None or published is None else {value: published},
        "answer": None if request is None else request.answer,
        "refused": None if request is None else request.refused,
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
        self.unfit: dict[str, str] = {}
        """Why the code that is deployed now cannot take up runs that stand still, though a resume asks for it. Of live
        runs only."""

    def ended(self, run_id: str) -> None:
        """Tells everyone who waits for a run's end."""
        self.unfit.pop(run_id, None)
        run = self._state.runs.get(run_id)
        if run is not None:
            for client, command in run.watchers.items():
                self._send(client, reply_body(run_id, run, command))

    def answer(self, asked: Answer) -> None:
        """Tells a client of a run, or why its command was not taken."""
        run = self._state.runs.get(asked.run)
        body = reply_body(asked.run, run, asked.command, asked.value)
        if run is not None and run.status in STILL and asked.run in self.unfit:
            body["reason"] = UNFIT + self.unfit[asked.run]
        if asked.value == EVENTS_ROUTED:
            body["values"] = {asked.value: str(self._state.next).encode()}
        if asked.refused is not None:
            body["refused"] = asked.refused
        self._send(asked.client, body)

    def _send(self, client: str, body: dict[str, Any]) -> None:
        near = self._services.clients.get(client)
        if near is not None:  # a client in this process needs no log
            near(body)
            return
        value = codec.encode("Reply", body)
        self._append(Topic.REPLIES, client_partition(client, REPLIES_PARTITIONS), value, key=client.encode())

    def bury(
        self, topic: Topic, offset: int, reason: str, *, ts: int = 0, entry: Entry | None = None
    ) -> None:
        """Appends a dead letter. Of a large value it holds the beginning; the whole lies where the letter says.

        Beside it is what is needed to send it again: the entry's key and headers, its size, and its first place.
        """
        value = b"" if entry is None else entry.value
        kept = value[: self._services.limits.dead_letter_bytes_max]
        if len(kept) < len(value):
            reason = f"{reason[: REASON_MAX // 2]} (this is the beginning of its {len(value):,} bytes)"
        partition = self._state.number
        letter = {"topic": topic.value, "partition": partition, "offset": offset, "value": kept}
        first = Redriven(self._services.app, partition, offset, ts)
        headers: dict[str, bytes] = {}
        key = b""
        if entry is not None:
            first = unpack_redriven(entry.headers.get(REDRIVEN)) or first
            headers = _fitting(entry.headers)
            key = entry.key
        headers |= {KIND: b"DeadLetter", REDRIVEN: first.pack(), SIZE: str(len(value)).encode()}
        self._append(
            Topic.DEAD_LETTERS,
            0,
            codec.encode("DeadLetter", letter | {"reason": reason[:REASON_MAX]}),
            key=key,
            headers=headers,
        )

    def _append(
        self,
        topic: Topic,
        partition: int,
        value: bytes,
        *,
        key: bytes = b"",
        headers: Mapping[str, bytes] = NO_HEADERS,
    ) -> None:
        try:
            self._producer.append(topic, partition, value, key=key, headers=headers, done=self._done)
        except (LogFull, EntryTooLarge) as error:  # a client asks again
            self._services.trouble(f"nothing could be appended to {topic}", error)

    def _done(self, result: int | LogError) -> None:
        if isinstance(result, LogError):
            self._fail(result)


def _fitting(headers: Mapping[str, bytes]) -> dict[str, bytes]:
    """The headers of an entry, in their order, as far as they are kept."""
    kept: dict[str, bytes] = {}
    size = 0
    for name, value in headers.items():
        size += len(name) + len(value)
        if size > HEADERS_BYTES_MAX:
            break
        kept[name] = value
    return kept
