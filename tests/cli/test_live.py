"""The live log: one line for each fact, and nothing that does not count."""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import perdure.cli
from perdure.app import App
from perdure.authoring.cron import Cron
from perdure.authoring.limits import Concurrency, RateLimit
from perdure.cli.live import LiveLog
from perdure.cli.printing import Printer
from perdure.cli.wording import duration, error_line, failing_line
from perdure.execution.context import Context
from perdure.testing.environment import Environment, environment

Ctx = Context[dict[str, Any]]


def lines_of(
    app: App, drive: Callable[[Environment], Awaitable[None]], *, colours: bool = False, brief: bool = False
) -> list[str]:
    """What is printed while `drive` works, without times and ids of runs."""
    stream = io.StringIO()
    printer = Printer(stream, colours=colours)
    live = LiveLog(printer, [f.id for f in app.functions], lambda: app.clock.now(), brief=brief)
    app.observers.append(live)

    async def watch() -> None:
        async with environment(app) as env:
            await drive(env)

    asyncio.run(watch())
    printer.close()
    return [
        re.sub(r"\d-[a-z2-7]{6}\b", "RUN", line).split("  ", 1)[1] for line in stream.getvalue().splitlines()
    ]


def charge(order: str) -> str:
    return f"paid {order}"


flaky_calls: list[int] = []


def flaky() -> None:
    flaky_calls.append(1)
    if len(flaky_calls) == 1:
        raise ConnectionError("the bank\nis away")


def shop() -> App:
    app = App("shop")

    @app.function(on="shop/ordered", retries=1)
    async def sell(ctx: Ctx) -> str:
        await ctx.step.run("charge", charge, ctx.event.data["order"])
        ctx.log.warning("charged", order=ctx.event.data["order"])
        ctx.set_value("stage", "paid")
        await ctx.step.run("flaky", flaky)
        await ctx.step.sleep("rest", "2h")
        answer = await ctx.step.wait_for_event("answer", "shop/answered", match="data.order", timeout="1d")
        await ctx.step.send_event("tell", {"name": "shop/told", "data": {}})
        return "yes" if answer is not None else "no"

    @app.function(on="shop/broken", retries=0)
    async def broken(ctx: Ctx) -> None:
        await ctx.step.run("charge", int, "x")

    return app


def test_a_life_of_a_run() -> None:
    flaky_calls.clear()

    async def drive(env: Environment) -> None:
        await env.send("shop/ordered", {"order": "7"})
        await env.advance("2m")
        await env.advance("2h")
        await env.send("shop/answered", {"order": "7"})

    lines = lines_of(shop(), drive)
    patterns = [
        r'sell    RUN  started by shop/ordered {"order":"7"}',
        r'sell    RUN  charge  done in \S+ \S+ → "paid 7"',
        r"sell    RUN  │ stage = \"paid\"",
        r'sell    RUN  │ warning: charged  order="7"',
        r"sell    RUN  flaky  retrying after attempt 1 \(.*\): ConnectionError: the bank is away · .+py:\d+ · again .*",
        r"sell    RUN  flaky  done in \S+ \S+, attempt 2",
        r"sell    RUN  rest  sleeping until .* \(2h\)",
        r"sell    RUN  rest  time is up",
        r'sell    RUN  answer  waiting for shop/answered with data.order = "7" until .* \(1d\)',
        r'sell    RUN  answer  received shop/answered {"order":"7"}',
        r"sell    RUN  tell  sent shop/told",
        r'sell    RUN  completed in 2h.* → "yes"',
    ]
    assert len(lines) == len(patterns), "\n".join(lines)
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), f"{line!r} is not like {pattern!r}"


def test_a_failure_in_brief() -> None:
    async def drive(env: Environment) -> None:
        await env.send("shop/ordered", {"order": "7"})
        await env.send("shop/broken", {})

    flaky_calls[:] = [1]
    lines = lines_of(shop(), drive, brief=True)
    assert lines[0] == 'sell    RUN  │ warning: charged  order="7"'
    assert re.fullmatch(r"broken  RUN  charge  failed in \S+ \S+: ValueError: invalid literal .*", lines[1])
    assert re.fullmatch(r"broken  RUN  failed after .*ValueError: .* · perdure runs show RUN", lines[2])
    assert len(lines) == 3


def test_a_start_that_flow_control_drops() -> None:
    app = App("shop")

    @app.function(on="shop/*", rate_limit=RateLimit(1, "1m"))
    async def hear(ctx: Ctx) -> str:
        return ctx.event.name

    async def drive(env: Environment) -> None:
        await env.send("shop/opened", {})
        await env.send("shop/closed", {"by": "ann"})

    assert lines_of(app, drive)[2:] == [
        'hear  RUN  skipped a run has started within 60 s (rate_limit) · by shop/closed {"by":"ann"}'
    ]
    assert lines_of(app, drive, brief=True) == []


def test_a_start_without_the_key_of_its_limit() -> None:
    app = App("shop")

    @app.function(on="job", concurrency=Concurrency(1, key="event.data.tenant"))
    async def job(ctx: Ctx) -> None: ...

    async def drive(env: Environment) -> None:
        await env.send("job", {})

    for brief in (False, True):
        (line,) = lines_of(app, drive, brief=brief)
        assert line.startswith("job  RUN  failed before it began: function 'job': Concurrency(key=")
        assert line.endswith(" · by job")


def test_an_event_that_starts_nothing_although_it_should() -> None:
    app = App("shop")

    @app.function(on="shop/opened", if_=lambda event: event.data["cents"] > 3)
    async def hear(ctx: Ctx) -> str:
        return ctx.event.name

    @app.function(on=Cron("0 * * * *", overlap="skip"))
    async def tidy(ctx: Context[Any]) -> None:
        await ctx.step.sleep("work", "90m")

    async def drive(env: Environment) -> None:
        await env.send("shop/opened", {}, id="odd")
        await env.send("shop/opened", {"cents": 1}, id="cheap")
        await env.advance("2h")

    lines = lines_of(app, drive)
    assert lines[0].startswith("hear  odd  skipped if_ failed: ")
    assert lines[0].endswith(" raised KeyError: 'cents'")
    assert [line for line in lines[1:] if "skipped" in line] == [
        "tidy  tidy 0 * * * *@2026-01-01T02:00:00Z  skipped the run of the tick before goes on"
    ]
    assert lines_of(app, drive, brief=True) == []


def test_a_run_that_goes_on_in_another_process() -> None:
    app = shop()

    async def first(env: Environment) -> None:
        await env.send("shop/ordered", {"order": "7"})
        await env.crash_worker()
        app.observers[:] = [live]
        await env.start_worker()
        await env.advance("2h")

    flaky_calls[:] = [1]
    stream = io.StringIO()
    printer = Printer(stream, colours=False)
    live = LiveLog(printer, ["sell"], lambda: app.clock.now())
    lines_of(app, first)
    printer.close()
    lines = stream.getvalue().splitlines()
    assert re.search(r"sell  \S+  goes on after \d+ ops in the log$", lines[0])
    assert re.search(r"sell  \S+  rest  time is up$", lines[1])


def test_what_an_error_says_to_do_is_kept_and_its_line_is_named() -> None:
    long = ValueError(f"what is wrong {'and why ' * 100}write this instead")
    told = error_line("ValueError", str(long), 100)
    assert len(told) <= 100
    assert told.startswith("ValueError: what is wrong")
    assert told.endswith("write this instead")
    own = Path(perdure.cli.__file__).parents[1]
    traceback = (
        f'Traceback (most recent call last):\n  File "{Path.cwd()}/shop.py", line 12, in sell\n    charge()\n'
        f'  File "{own}/execution/step.py", line 9, in run\n    raise\n'
        f'  File "{json.__file__}", line 3, in loads\n    raise\nValueError: x\n'
    )
    assert failing_line(traceback) == "shop.py:12"
    assert failing_line("ValueError: no traceback") == ""


def test_colours() -> None:
    async def drive(env: Environment) -> None:
        await env.send("shop/broken", {})

    assert "\x1b[31mfailed\x1b[0m" in lines_of(shop(), drive, colours=True)[-1]


def test_lines_for_a_slow_terminal_are_left_out_and_counted() -> None:
    gate, stream = threading.Event(), io.StringIO()

    class Slow(io.StringIO):
        def write(self, text: str, /) -> int:
            gate.wait(10)
            return stream.write(text)

    printer = Printer(Slow(), colours=False, lines_max=3)
    for number in range(20):
        printer.say(f"line {number}")
    gate.set()
    printer.close(10)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "line 0"
    assert len(lines) <= 8
    assert re.search(r"… \d+ lines were left out: the terminal was too slow for them", stream.getvalue())


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (7, "7 µs"),
        (12_340, "12.3 ms"),
        (999_400, "999 ms"),
        (999_600, "1 s"),
        (2_314_000, "2.31 s"),
        (59_960_000, "1m"),
        (245_000_000, "4m 5s"),
        (3_599_700_000, "1h"),
        (10_921_000_000, "3h 2m"),
        (86_399_900_000, "1d"),
        (604_800_000_000, "7d"),
        (-5, "0 µs"),
    ],
)
def test_durations(us: int, text: str) -> None:
    assert duration(us) == text
