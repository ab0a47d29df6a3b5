"""What `app.start` returns: a handle on a run, typed by its function."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from perdure.authoring.names import text_fault
from perdure.authoring.payloads import Codec
from perdure.client.client import Client
from perdure.client.deployed import may_send
from perdure.client.ends import End, Reply
from perdure.client.wire import opened
from perdure.core import payload
from perdure.core.durations import Duration, to_us
from perdure.core.limits import Limits
from perdure.core.state import ENDED
from perdure.errors import (
    PayloadTooLarge,
    RequestRefused,
    RunCancelled,
    RunEnded,
    RunSkipped,
    UsageError,
)
from perdure.execution.failures import run_failed

REASON_BYTES_MAX = 1_024
R = TypeVar("R")
Connect = Callable[[], Awaitable[Client]]


class Handle(Generic[R]):
    """A run, seen from outside. Made by `app.start` or `app.handle`; costs nothing to keep."""

    def __init__(
        self,
        run_id: str,
        connect: Connect,
        codec: Codec[R],
        limits: Limits,
        started: End | None = None,
    ) -> None:
        self.run_id = run_id
        self._connect = connect
        self._codec = codec
        self._limits = limits
        self._started = started

    def __repr__(self) -> str:
        return f"<Handle of run {self.run_id}>"

    async def result(self, timeout: Duration | None = None) -> R:
        """Waits for the run's end and returns what its function returned.

        `timeout` is in seconds, or a string such as "30s"; the run goes on when it passes, and TimeoutError is raised.
        Raises RunFailed, RunCancelled and RunSkipped for runs that ended so, RunNotFound when no such run is known.
        """
        reply = await (self._end() if timeout is None else self._end_within(timeout))
        if reply["status"] == "failed":
            error = reply["error"]
            raise run_failed(self.run_id, error)
        if reply["status"] == "cancelled":
            raise RunCancelled(self.run_id, reply["reason"])
        if reply["status"] == "skipped":
            raise RunSkipped(self.run_id, reply["reason"])
        return self._codec.decode(reply["result"])

    async def _end(self) -> Reply:
        return await (await self._connect()).end_of(self.run_id, self._started)

    async def _end_within(self, timeout: Duration) -> Reply:
        try:
            async with asyncio.timeout(to_us(timeout) / 1e6):
                return await self._end()
        except TimeoutError:
            raise TimeoutError(
                f"run {self.run_id} has not ended within {timeout}; it goes on, and result() can be awaited again"
            ) from None

    async def status(self) -> str:
        """ "queued", "scheduled", "running", "paused", "parked", "completed", "failed", "cancelled" or "skipped"."""
        return (await self._ask())["status"]

    async def value(self, name: str) -> Any:
        """What the run last published with `ctx.set_value(name, …)`; None when it has not."""
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"the name of a value is a string, not {name!r:.80}")
        values: Mapping[str, bytes] = (await self._ask(name))["values"]
        return payload.loads(values[name]) if name in values else None

    async def _ask(self, value: str | None = None) -> Reply:
        return await (await self._connect()).ask(self.run_id, value=value)

    async def cancel(self, *, reason: str = "", force: bool = False) -> None:
        """Asks the run to stop; returns when the wish is durable, not when the run has ended.

        The body sees `asyncio.CancelledError` and may clean up with further steps; `force=True`, or a second
        call, skips that. Nothing happens to a run that has ended.
        """
        body = {"reason": checked_reason(reason), "force": force}
        await (await self._connect()).command(self.run_id, "CancelAsk", body)

    async def signal(
        self,
        name: str,
        data: object = None,
        *,
        id: str | None = None,  # noqa: A002
        timeout: Duration = "1s",
    ) -> None:
        """Sends a signal to the run, also before it waits for one. `id` deduplicates re-sends.

        Returns when the run has it. While no worker is there, it returns when the signal is durable and `timeout` has
        passed: the run gets it as soon as there is one. Raises RunEnded for a run that has ended, RunNotFound for one
        that is not known, RequestRefused when it has too many commands to take yet.
        """
        body = self._signal(name, data, id)
        client = await may_send(await self._connect())
        try:
            reply = await client.answer_to(
                self.run_id, "SignalSend", body, id or client.make_id(), to_us(timeout) / 1e6
            )
        except TimeoutError:
            return  # it is in the log, and nobody is there who could say more
        self._taken(name, await opened(client.vault, reply))

    async def request(
        self,
        name: str,
        data: object = None,
        *,
        id: str | None = None,  # noqa: A002
        timeout: Duration | None = None,
    ) -> Any:
        """Sends a signal that the run answers, and returns the answer: what it gives to `Signal.reply`, as JSON.

        Sent again under the same `id`, it counts once and is answered alike. Raises RequestRefused when the run refuses
        it or ends without an answer, RunEnded for one that has ended, TimeoutError when no answer comes in time; the
        run may take it up all the same then.
        """
        body = self._signal(name, data, id) | {"request": True}
        client = await may_send(await self._connect())
        try:
            reply = await client.answer_to(
                self.run_id,
                "SignalSend",
                body,
                id or client.make_id(),
                None if timeout is None else to_us(timeout) / 1e6,
            )
        except TimeoutError:
            raise TimeoutError(
                f"run {self.run_id} has not answered {name!r} within {timeout}; sent again under the same id, it is "
                "answered once"
            ) from None
        reply = self._taken(name, await opened(client.vault, reply))
        return None if reply["answer"] is None else payload.loads(reply["answer"])

    def _taken(self, name: str, reply: Reply) -> Reply:
        if reply["refused"] is not None:
            raise RequestRefused(self.run_id, name, reply["refused"])
        if reply["status"] in ENDED and reply["answer"] is None:
            raise RunEnded(self.run_id, reply["status"])
        return reply

    def _signal(self, name: str, data: object, id: str | None) -> dict[str, Any]:  # noqa: A002
        for what, text in (("name", name), ("id", id)):
            if (what == "name" or text is not None) and (fault := text_fault(text)):
                raise UsageError(f"the {what} {text!r:.80} of a signal {fault}")
        encoded = payload.dumps(data, what=f"the data of signal {name!r}")
        if len(encoded) > self._limits.payload_bytes_max:
            raise PayloadTooLarge(
                f"the data of signal {name!r} has {len(encoded)} bytes, more than Limits.payload_bytes_max = "
                f"{self._limits.payload_bytes_max};"
                " send a reference to it instead"
            )
        return {"name": name, "data": encoded, "request": False}

    async def pause(self, *, reason: str = "") -> None:
        """Starts no more steps until `resume`; attempts in flight are recorded."""
        await (await self._connect()).command(self.run_id, "PauseAsk", {"reason": checked_reason(reason)})

    async def resume(self) -> None:
        """Lets a paused or parked run go on, over its recorded steps, with the code that is deployed now."""
        await (await self._connect()).command(self.run_id, "ResumeAsk", {"reason": ""})


def checked_reason(reason: object) -> str:
    """A reason as it is kept. Raises UsageError for what is none, or too long."""
    if isinstance(reason, str) and len(reason.encode(errors="surrogatepass")) <= REASON_BYTES_MAX:
        return reason.encode(errors="backslashreplace").decode()
    raise UsageError(f"the reason {reason!r:.80} must be a string of at most {REASON_BYTES_MAX} bytes")
