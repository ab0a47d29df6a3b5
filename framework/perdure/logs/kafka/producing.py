"""Appending: one idempotent client for a process, and the producer instances that share it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import Producer as Client

from perdure.errors import AppendFailed, EntryTooLarge, LogError, UsageError
from perdure.logs.contract import NO_HEADERS, Done, LogFull, Topic
from perdure.logs.kafka.chatter import Ear
from perdure.logs.kafka.handover import Handover
from perdure.logs.kafka.known import KnownPartitions
from perdure.logs.kafka.topics import ENTRY_BYTES_MAX

__all__ = ["Appender", "KafkaProducer"]

_POLL_S: Final = 0.2
_HEADER_BYTES: Final = 16
"""What a header takes beside its name and value, at most."""

Report = tuple[Callable[[int | LogError], None], int | LogError]


class Appender:
    """An idempotent client with a thread that takes its delivery reports.

    One for all producer instances of a log: a client of Kafka has connections and threads of its own, and appends that
    share one share its batches. Once librdkafka calls an error fatal it takes nothing more; then `failed` says why.
    """

    def __init__(self, config: Mapping[str, Any], handover: Handover) -> None:
        self.failed: str | None = None
        self._handover = handover
        self._partitions = KnownPartitions()
        self._reports: list[Report] = []
        self._closing = threading.Event()
        self._ear = Ear()
        self._client = Client(
            {
                **config,
                "logger": self._ear,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                # Never given up by time: an append of unknown outcome costs its owner the claim. Whoever waits watches
                # the age of the oldest instead.
                "message.timeout.ms": 0,
                "request.timeout.ms": 10_000,  # then the same is asked of whoever leads by then
                "message.max.bytes": ENTRY_BYTES_MAX + 32 * 1024,
                "queue.buffering.max.messages": 100_000,
                "queue.buffering.max.kbytes": 131_072,
                "statistics.interval.ms": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, name="perdure-kafka-appends", daemon=True)
        self._thread.start()

    def append(
        self,
        topic: str,
        partition: int,
        value: bytes,
        key: bytes,
        headers: Mapping[str, bytes],
        report: Callable[[int | LogError], None],
    ) -> None:
        """Queues one entry; `report` is called on the loop. Raises LogFull, and AppendFailed when it takes no more."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            self._reports.append((report, _outcome(error, message, topic)))

        try:
            self._client.produce(
                topic,
                value=value,
                key=key,
                partition=partition,
                headers=list(headers.items()),
                on_delivery=delivered,
            )
            if self.failed is not None:  # meanwhile; the purge may have come before it
                self._client.purge()
        except BufferError as error:
            raise LogFull(f"{len(self._client)} appends wait already for Kafka") from error
        except KafkaException as error:
            self.failed = str(error)
            raise AppendFailed(f"Kafka takes no more from this client: {error}") from error

    def know(self, topic: str, partition: int) -> None:
        """Learns that a topic has grown. Blocks: not on the loop."""
        self._partitions.know(self._client, topic, partition)

    def report_later(self, report: Callable[[int | LogError], None], outcome: LogError) -> None:
        """Reports an append that was not even queued, behind what is reported already. On the loop."""
        self._handover.loop.call_soon(self._handover.guarded, report, outcome)

    def purge(self) -> None:
        """Gives up everything that is not yet acknowledged; each is reported as failed."""
        self._client.purge()

    def close(self, wait_s: float) -> None:
        """Waits until all is reported, at most so long; then gives up the rest. Blocks: not on the loop."""
        deadline = time.monotonic() + wait_s
        while len(self._client) and time.monotonic() < deadline:
            self._client.flush(0.05)
        if len(self._client):
            self._client.purge()
            self._client.flush(_POLL_S)
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        client, handover = self._client, self._handover
        while not (self._closing.is_set() and not len(client)):
            client.poll(_POLL_S)
            if self._ear.leaderless and self.failed is None:
                self.failed = "it has lost the leader of a partition, and would wait for ever"
                client.purge()
            if self._reports:
                reports, self._reports = self._reports, []
                if not handover.call(_take, handover, reports):
                    return


def _take(handover: Handover, reports: list[Report]) -> None:
    for report, outcome in reports:
        handover.guarded(report, outcome)


def _outcome(error: KafkaError | None, message: Message, topic: str) -> int | LogError:
    if error is None:
        offset = message.offset()
        assert offset is not None
        return offset
    return AppendFailed(f"an append to {topic} failed, and may be in the log all the same: {error.str()}")


class Home(Protocol):
    """The log, as its producers need it."""

    def appender(self) -> Appender: ...
    def topic_of(self, topic: Topic, partition: int) -> str: ...


class KafkaProducer:
    """See `perdure.logs.contract.Producer`.

    It stays with the client under which it has appends in flight; so the order of its appends is that of the client.
    """

    def __init__(self, log: Home) -> None:
        self._log = log
        self._appender: Appender | None = None
        self._in_flight = 0
        self._failure: AppendFailed | None = None
        self._closed = False

    def append(
        self,
        topic: Topic,
        partition: int,
        value: bytes,
        *,
        key: bytes = b"",
        headers: Mapping[str, bytes] = NO_HEADERS,
        done: Done | None = None,
    ) -> None:
        if self._closed:
            raise UsageError("the producer is closed: make a new one")
        name = self._log.topic_of(topic, partition)
        self.append_to(name, partition, value, key, headers, done)

    def append_to(
        self,
        name: str,
        partition: int,
        value: bytes,
        key: bytes,
        headers: Mapping[str, bytes],
        done: Done | None,
    ) -> None:
        size = len(value) + len(key)
        for header, content in headers.items():
            size += len(header) + len(content) + _HEADER_BYTES
        if size > ENTRY_BYTES_MAX:
            raise EntryTooLarge(f"an entry of {size} bytes is over the {ENTRY_BYTES_MAX} of a log on Kafka")
        current = self._log.appender()
        if self._failure is None and self._appender is not current:
            if self._in_flight:
                current = self._appender or current  # dead: what it still holds will fail, and this with it
            self._appender = current

        def report(outcome: int | LogError) -> None:
            self._in_flight -= 1
            if isinstance(outcome, LogError):
                self._fail(outcome)
            if done is not None:
                done(self._failure or outcome)

        self._in_flight += 1
        try:
            if self._failure is not None:
                raise self._failure
            current.append(name, partition, value, key, headers, report)
        except AppendFailed as failed:
            self._fail(failed)
            current.report_later(report, failed)
        except BaseException:
            self._in_flight -= 1
            raise

    def close(self) -> None:
        self._closed = True

    def _fail(self, error: LogError) -> None:
        if self._failure is None:
            self._failure = error if isinstance(error, AppendFailed) else AppendFailed(str(error))
