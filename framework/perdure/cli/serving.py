"""A worker of an app in this process, with its lines on the terminal: what `dev` and `worker` have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from perdure.app import App
from perdure.authoring.functions import Function
from perdure.cli.live import LiveLog
from perdure.cli.printing import Printer, stamp
from perdure.cli.wording import counted, duration, error_line
from perdure.engine.engine import Engine
from perdure.index.opening import Reading
from perdure.observability.exporting import SeldomEach, exporting
from perdure.observability.names import RUN_LOGGER

READY_S = 5.0
TICK_S = 0.25
SETTLED_TICKS = 3
"""A share of the partitions that has not changed for so long is told: what moves does so in bursts."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How a worker is to be run."""

    log: str | None
    """None: the app's own."""
    slots: int
    drain_s: float
    brief: bool = False
    strict: bool = False
    blocked_s: float = 5.0
    exits_held: bool = False
    """Whether it ends when its event loop does not come back; one under a debugger should not."""


@asynccontextmanager
async def serving(
    app: App, how: Serving, printer: Printer, ready: Callable[[], None]
) -> AsyncGenerator[Engine]:
    """A worker that says what it does; `ready` is called when it leads what it is given."""
    now = app.clock.now
    live = LiveLog(printer, (function.id for function in app.functions), now, brief=how.brief)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: _trouble(printer, now(), context))
    async with AsyncExitStack() as stack:
        stack.enter_context(_warnings(printer))
        await stack.enter_async_context(exporting(app.name))
        if how.log is not None:
            stack.enter_context(app.borrowed(app.connections(how.log), app.clock))
        live.reading = Reading(app.connections(app.log).vault)
        app.observers.append(live)
        stack.callback(app.observers.remove, live)
        tasks: list[asyncio.Task[None]] = []
        try:
            async with app.worker(
                slots=how.slots,
                drain_timeout=how.drain_s,
                strict=how.strict,
                blocked_after=how.blocked_s,
                exit_when_held=how.exits_held,
            ) as engine:
                sharing = loop.create_task(_tell_share(engine, printer, now, ready))
                tasks = [sharing, loop.create_task(_tick(live))]
                yield engine
                sharing.cancel()
                if waits := live.running():
                    drain = duration(round(how.drain_s * 1_000_000))
                    told = printer.style("draining", "yellow")
                    printer.say(f"{stamp(printer, now())}  {told}: waits up to {drain} for {waits}")
        finally:
            for task in tasks:
                task.cancel()
            await app.close()


@contextmanager
def _warnings(printer: Printer) -> Generator[None]:
    """Prints what perdure logs, and what sends its spans, unless the app's code has set up logging: then that is where
    it goes."""
    handler, sending = _Warnings(printer), _Warnings(printer)
    handler.addFilter(lambda record: record.name != RUN_LOGGER)  # the live log prints those
    sending.addFilter(SeldomEach())
    added: list[tuple[logging.Logger, logging.Handler]] = []
    for name, each in (("perdure", handler), ("opentelemetry", sending)):
        logger = logging.getLogger(name)
        if not logger.hasHandlers():
            logger.addHandler(each)
            added.append((logger, each))
    try:
        yield
    finally:
        for logger, each in added:
            logger.removeHandler(each)


class _Warnings(logging.Handler):
    def __init__(self, printer: Printer) -> None:
        super().__init__(logging.WARNING)
        self._printer = printer

    def emit(self, record: logging.LogRecord) -> None:
        level = self._printer.style(record.levelname.lower(), "yellow")
        self._printer.say(
            f"{stamp(self._printer, int(record.created * 1_000_000))}  {level}: {record.getMessage()}"
        )


async def _tell_share(
    engine: Engine, printer: Printer, now: Callable[[], int], ready: Callable[[], None]
) -> None:
    """Says how many partitions are led here: once they are, and when that has changed."""
    await engine.ready(READY_S)
    count = engine.services.log.partitions
    told = seen = _led(engine)
    leads = f"leads {_share(told, count)}"
    printer.say(f"{stamp(printer, now())}  {printer.style('ready', 'green')}: {leads}")
    ready()
    settled = 0
    while True:
        await asyncio.sleep(TICK_S)
        before, seen = seen, _led(engine)
        settled = settled + 1 if seen == before else 0
        if seen != told and settled >= SETTLED_TICKS:
            change = f"{_share(seen, count)} now, {told} before"
            printer.say(f"{stamp(printer, now())}  {printer.style('leads', 'green')}: {change}")
            told = seen


def _led(engine: Engine) -> int:
    return sum(1 for partition in engine.partitions.values() if partition.lead is not None)


def _share(mine: int, count: int) -> str:
    return f"all {counted(count, 'partition')}" if mine == count else f"{mine} of {count} partitions"


async def _tick(live: LiveLog) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        live.tick()


def _trouble(printer: Printer, now: int, context: dict[str, Any]) -> None:
    """Something failed that nobody waits for."""
    error: BaseException | None = context.get("exception")
    what = str(context.get("message", "")).removeprefix("perdure: ")
    shown = f": {error_line(type(error).__name__, str(error), 400)}" if error is not None else ""
    printer.say(f"{stamp(printer, now)}  {printer.style('trouble', 'red')}: {what}{shown}")


def functions_of(app: App) -> list[str]:
    """One line for each function: what starts it."""
    shown = [function for function in app.functions if function.kind == "run"]
    width = max([len(function.id) for function in shown], default=0)
    return [
        f"{function.id:<{width}}  ← {', '.join(_starts(function)) or 'started by name'}" for function in shown
    ]


def _starts(function: Function[Any, Any]) -> list[str]:
    return [*(trigger.name for trigger in function.triggers), *map(str, function.crons)]
