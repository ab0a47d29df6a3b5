"""One connection's client: appends events and commands, and hears the answers (A13)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, repeat
from typing import Any
from weakref import WeakValueDictionary

from perdure.client.ends import ASK_AGAIN_S, End, Reply
from perdure.client.pace import Pace
from perdure.client.wire import headers_of, opened, sealed_command
from perdure.core import codec, ids, routing
from perdure.core.facts import EVENTS_ROUTED, KIND
from perdure.core.ops import EventData
from perdure.errors import AppendFailed, LogError, PerdureError, RunNotFound
from perdure.logs.contract import REPLIES_PARTITIONS, Entry, Follower, Log, LogFull, Producer, Topic
from perdure.observability.identity import traced
from perdure.payloads.records import seal_event
from perdure.payloads.vault import Vault

LOOK_EVERY_S = 0.5
"""How often a client looks whom to ask again: one timer for all who wait, since a timer for each is dear."""
FULL_PAUSE_S = 0.005
ACKNOWLEDGED_S = 30.0
"""How long an append may take before whoever sent it is told that its outcome is not known."""
COMMAND: Mapping[str, bytes] = {KIND: b"Command"}


class _Late(AppendFailed):
    """An append that nobody has acknowledged in time."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(
            f"the log has not acknowledged an append to {topic} within {ACKNOWLEDGED_S:g} s: it cannot be reached, or "
            "takes nothing now (its disk is full, or too few of its replicas are there). The append may still land. "
            "Once the log is back, send again under the same id: what has landed then counts once"
        )


class Client:
    """Made on an event loop, used on it."""

    def __init__(self, log: Log, entropy: Callable[[int], bytes], vault: Vault | None = None) -> None:
        self.log = log
        self.vault = vault or Vault()
        self.id = entropy(10).hex()
        self._made = int.from_bytes(entropy(2), "big")
        """Counts what was made here."""
        self._started = self._made
        """Counts the runs that were started here, so that they go round all partitions whatever else is made; where it
        begins spreads the first runs of many clients."""
        self._producer: Producer | None = None
        self._follower: Follower | None = None
        self._replies_end = 0
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        """Questions that are answered at once, by their command."""
        self._ends: WeakValueDictionary[str, End] = WeakValueDictionary()
        """Those that a handle has, or somebody waits for: of runs that were started and let go, nothing is kept."""
        self._awaited: dict[str, End] = {}
        """Those that somebody waits for."""
        self._sent: deque[tuple[float, Topic, asyncio.Future[int | LogError]]] = deque()
        """Appends that are perhaps not acknowledged, and until when they have to be; the oldest first."""
        self._looking: asyncio.TimerHandle | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self.may_send = False
        """Whether it is known that clear text is what the workers expect (`perdure.client.deployed`)."""
        self._pace = Pace(self._routed, self.vault.limits.events_waiting_max)

    # ------------------------------------------------------------------ appending

    def make_id(self) -> str:
        """An id for something of this client's own making."""
        self._made += 1
        return f"{ids.GENERATED}{self.id}{self._made:x}"

    async def append(
        self,
        topic: Topic,
        partition: int,
        value: bytes,
        *,
        key: str = "",
        headers: Mapping[str, bytes] | None = None,
    ) -> int:
        """Appends one entry and waits until it is durable; its offset. Raises LogError when that is not known."""
        return await self._append(topic, partition, value, key, headers or {})

    async def _append(
        self, topic: Topic, partition: int, value: bytes, key: str, headers: Mapping[str, bytes]
    ) -> int:
        deadline = asyncio.get_running_loop().time() + ACKNOWLEDGED_S
        result = await self._appended(topic, partition, value, key, headers, deadline)
        if isinstance(result, AppendFailed) and not isinstance(result, _Late):
            # A producer fails all that it has under way when one append is given up. Commands and events have ids, by
            # which a second one counts as the first, so that nobody need hear of what the next producer does.
            result = await self._appended(topic, partition, value, key, headers, deadline)
        if isinstance(result, LogError):
            raise result
        return result

    async def _appended(
        self,
        topic: Topic,
        partition: int,
        value: bytes,
        key: str,
        headers: Mapping[str, bytes],
        deadline: float,
    ) -> int | LogError:
        """The offset, or why it is not known."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int | LogError] = loop.create_future()

        def finished(result: int | LogError) -> None:
            if not done.done():
                done.set_result(result)

        while True:
            if self._producer is None:
                self._producer = self.log.producer()
            producer = self._producer
            try:
                producer.append(topic, partition, value, key=key.encode(), headers=headers, done=finished)
                break
            except LogFull as full:  # backpressure
                if loop.time() > deadline:
                    raise _Late(topic) from full
                await asyncio.sleep(FULL_PAUSE_S)
        self._sent.append((deadline, topic, done))
        self._look_later()
        result = await done
        while self._sent and self._sent[0][2].done():
            self._sent.popleft()
        if isinstance(result, LogError) and not isinstance(result, _Late) and self._producer is producer:
            self._producer = None  # it takes nothing more
        return result

    async def send(self, events: Sequence[EventData]) -> None:
        """Appends events; returns when all of them are durable. They carry the trace that is current here."""
        partitions = self.log.generations[0]
        events = [seal_event(self.vault, event) for event in traced(events)]
        appends = [self._send(event, routing.event_partition(event["key"], partitions)) for event in events]
        if len(appends) == 1:
            await appends[0]
            return
        for result in await asyncio.gather(*appends, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _send(self, event: EventData, partition: int) -> None:
        if not self._pace.enter(partition):
            await self._pace.turn(partition)
        offset = None
        try:
            value = codec.encode("Event", event)
            offset = await self._append(
                Topic.EVENTS, partition, value, event["key"], headers_of("Event", event)
            )
        finally:
            self._pace.left(partition, offset)

    async def _routed(self, partition: int) -> int:
        """The first event of a partition that its owner has not taken up. Raises PerdureError."""
        asked = ids.placed_run(1, partition, "events")
        query = {"wait": False, "value": EVENTS_ROUTED}
        reply = await self.answer_to(asked, "Query", query, self.make_id(), None)
        routed = reply["values"].get(EVENTS_ROUTED)
        if routed is None:
            raise PerdureError("an owner of an earlier version does not say how far it is")
        return int(routed)

    # ------------------------------------------------------------------ commands

    def new_run_id(self) -> str:
        """An id for a run in any partition."""
        self._made += 1
        self._started += 1
        partition = self._started % self.log.partitions
        generation = routing.generation_of(partition, self.log.generations)
        return ids.placed_run(generation, partition, self.id, self._made)

    async def command(
        self, run_id: str, name: str, body: Mapping[str, Any], *, command_id: str | None = None
    ) -> str:
        """Appends a command that nobody waits for; its id."""
        command_id = command_id or self.make_id()
        await self._command(run_id, name, body, command_id, None)
        return command_id

    async def _command(
        self,
        run_id: str,
        name: str,
        body: Mapping[str, Any],
        command_id: str,
        client: str | None,
        headers: Mapping[str, bytes] = COMMAND,
    ) -> None:
        if not run_id.isprintable():
            raise RunNotFound(f"no run can have the id {run_id!r:.80}")
        command = {
            "id": command_id,
            "run": run_id,
            "client": client,
            "body": (f"perdure.{name}", sealed_command(self.vault, body)),
        }
        partition = routing.command_partition(run_id, self.log.generations[0])
        if partition >= self.log.partitions:
            await self.log.refresh()  # it may have grown since it was opened
        if partition >= self.log.partitions:
            raise RunNotFound(f"no run {run_id!r} can be here: this log has {self.log.partitions} partitions")
        value = codec.encode("Command", command)
        await self._append(Topic.JOURNAL, partition, value, run_id, headers)

    async def start_run(
        self, run_id: str, function: str, event: EventData, tags: Mapping[str, str], **repeated: Any
    ) -> End:
        """Starts a run, durably; its end, which counts as long as the caller holds it. `repeated`: the run that it
        repeats, and what it takes over from that (`perdure.StartRun`)."""
        self._listen()
        known = self._ends.get(run_id)
        end = known or self._await_end(run_id)
        (event,) = traced((event,))
        body = {"function": function, "event": event, "tags": tags, **repeated}
        try:
            await self._command(run_id, "StartRun", body, end.command, self.id, headers_of("Command", event))
        except BaseException:
            if known is None and not end.waiters:
                self._forget_end(run_id, end)
            raise
        end.asked(asyncio.get_running_loop().time())
        return end

    async def ask(self, run_id: str, *, value: str | None = None, timeout_s: float | None = 30.0) -> Reply:
        """What a run is like now, with one of its values. Asks again while nobody answers: maybe nobody leads yet.

        Raises RunNotFound, or TimeoutError when no owner answers in time.
        """
        query = {"wait": False, "value": value}
        return await opened(
            self.vault, await self.answer_to(run_id, "Query", query, self.make_id(), timeout_s)
        )

    async def answer_to(
        self, run_id: str, name: str, body: Mapping[str, Any], command_id: str, timeout_s: float | None
    ) -> Reply:
        """Appends a command, and waits for its answer. It counts once, however often it has to be sent.

        Raises TimeoutError when no answer comes in time; the command is in the log then.
        """
        self._listen()
        answer = self._expect(command_id)
        try:
            async with asyncio.timeout(timeout_s):
                for pause in chain(ASK_AGAIN_S, repeat(ASK_AGAIN_S[-1])):
                    await self._command(run_id, name, body, command_id, self.id)
                    if (await asyncio.wait([answer], timeout=pause))[0]:
                        break
                return await answer
        finally:
            self._forget(command_id)

    async def end_of(self, run_id: str, started: End | None) -> Reply:
        """The answer at a run's end. `started` is what its start returned, when this client started it."""
        if started is not None and started.answer.done():
            return await opened(self.vault, started.answer.result())
        self._listen()
        end = self._ends.get(run_id) or self._await_end(run_id)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        end.waiters.append(waiter)
        self._awaited[run_id] = end
        self._look_later()
        try:
            if not end.ask_at:
                with suppress(_Late):  # the run goes on when the log is back, and so does this
                    await self._ask_for_end(run_id, end)
            if not end.answer.done():
                await waiter
            return await opened(self.vault, end.answer.result())
        finally:
            end.waiters.remove(waiter)
            if not end.waiters:
                if self._awaited.get(run_id) is end:
                    del self._awaited[run_id]
                if end is not started:
                    self._forget_end(run_id, end)

    async def _ask_for_end(self, run_id: str, end: End) -> None:
        end.asked(asyncio.get_running_loop().time())
        await self._command(run_id, "Query", {"wait": True, "value": None}, end.command, self.id)

    def _look_later(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        """Gives up on appends that are overdue, and asks again for ends that are."""
        loop, self._looking = asyncio.get_running_loop(), None
        now = loop.time()
        while self._sent and (self._sent[0][2].done() or now >= self._sent[0][0]):
            _, topic, done = self._sent.popleft()
            if not done.done():
                done.set_result(_Late(topic))
        for run_id, end in self._awaited.items():
            if end.ask_at and now >= end.ask_at:
                task = loop.create_task(self._ask_again(run_id, end))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
        if self._awaited or self._sent:
            self._look_later()

    async def _ask_again(self, run_id: str, end: End) -> None:
        try:
            await self._ask_for_end(run_id, end)
        except _Late:  # asked again in its time
            pass
        except (PerdureError, ValueError) as error:  # of those who wait; who comes later asks anew
            end.ask_at = 0.0
            end.wake(error)

    def _await_end(self, run_id: str) -> End:
        end = self._ends[run_id] = End(self.make_id(), asyncio.get_running_loop().create_future())
        return end

    def _forget_end(self, run_id: str, end: End) -> None:
        if self._ends.get(run_id) is end:
            del self._ends[run_id]

    # ------------------------------------------------------------------ answers

    def _listen(self) -> None:
        """Follows this client's partition of the replies, from before the first question on."""
        if self._follower is None:
            partition = routing.client_partition(self.id, REPLIES_PARTITIONS)
            self._follower = self.log.follow(Topic.REPLIES, partition, self._replies_end, self._heard)

    async def open(self) -> None:
        """Learns where the replies end now: older ones are for others."""
        partition = routing.client_partition(self.id, REPLIES_PARTITIONS)
        self._replies_end = (await self.log.bounds(Topic.REPLIES, partition))[1]

    def _heard(self, batch: Sequence[Entry]) -> None:
        mine = self.id.encode()
        for entry in batch:
            if entry.key == mine and entry.value:
                self.take(codec.decode(entry.value)[1])

    def take(self, reply: Reply) -> None:
        """An answer arrived, through the log or from an owner in this process."""
        command, run_id = reply["command"], reply["run"]
        end = self._ends.get(run_id)
        if end is not None and end.command == command:
            self._forget_end(run_id, end)
            end.answer.set_result(reply)
            end.wake()
            return
        answer = self._waiting.pop(command, None)
        if answer is not None and not answer.done():
            answer.set_result(reply)

    def _expect(self, command_id: str) -> asyncio.Future[Reply]:
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[command_id] = answer
        return answer

    def _forget(self, command_id: str) -> None:
        self._waiting.pop(command_id, None)

    def close(self) -> None:
        self._pace.close()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._follower is not None:
            self._follower.close()
            self._follower = None
        if self._producer is not None:
            self._producer.close()
            self._producer = None
        ends = list(self._ends.values())
        for answer in (*self._waiting.values(), *(end.answer for end in ends)):
            if not answer.done():
                answer.set_exception(
                    PerdureError("the connection to the log was closed while an answer was awaited")
                )
                answer.exception()  # nobody may be waiting any more
        for end in ends:
            end.wake()
        self._waiting.clear()
        self._ends.clear()
        self._awaited.clear()
