"""What the tests of bad input and of bounds share: an app that shows that the engine goes on, and foreign records."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from perdure import App, Context
from perdure.core import codec
from perdure.core.limits import DEFAULT_LIMITS, Limits
from perdure.core.ops import EventData
from perdure.logs.contract import Topic
from perdure.testing import Environment, TestRun, environment


def nested(depth: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


def double(n: int) -> int:
    return 2 * n


def app(**options: Any) -> App:
    """An app whose function `fine` tells whether the engine goes on."""
    a = App("test", **options)

    @a.function(on="fine")
    async def fine(ctx: Context) -> int:
        return await ctx.step.run("double", double, 4)

    return a


async def goes_on(env: Environment) -> None:
    """Every partition still takes an event to its end."""
    for n in range(env.log.partitions * 2):
        (run,) = await env.send("fine", {}, key=f"k{n}")
        assert run.result == 8


def failed_with(run: TestRun[Any], kind: type[BaseException] | str, words: str) -> None:
    """The run failed by such an error, whose message has these words."""
    assert run.status == "failed", run.view
    assert run.error is not None
    name = (
        kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    )
    assert run.error["type"] == name, run.error
    assert words in run.error["message"], run.error


async def run_body(
    body: Callable[[Context], Awaitable[Any]], limits: Limits = DEFAULT_LIMITS
) -> TestRun[Any]:
    """A run of this body alone; the engine is seen to go on behind it."""
    a = app(limits=limits)
    function: Any = a.function(retries=0)(body)
    async with environment(a, partitions=1) as env:
        run: TestRun[Any] = await env.start(function, {"n": 1})
        await goes_on(env)
        return Kept(run)


class Kept(TestRun[Any]):
    """What a run looked like when its environment was left."""

    def __init__(self, run: TestRun[Any]) -> None:
        self._view = run.view

    @property
    def view(self) -> Any:
        return self._view


def foreign_event(env: Environment, name: str, data: bytes, **more: Any) -> bytes:
    event = EventData(name=name, id="foreign", ts=env.clock.now(), key="k", v=None, data=data, trace=None)
    return codec.encode("Event", {**event, **more})


async def append(env: Environment, topic: Topic, partition: int, value: bytes, **headers: bytes) -> int:
    client = await env._connections.client()
    offset = await client.append(topic, partition, value, headers=headers)
    await env.settle()
    return offset


async def dead_letters(env: Environment) -> list[dict[str, Any]]:
    first, end = await env.log.bounds(Topic.DEAD_LETTERS, 0)
    entries = await env.log.read(Topic.DEAD_LETTERS, 0, first, max(end - first, 1))
    return [codec.decode(entry.value)[1] for entry in entries]


@contextmanager
def collecting_troubles() -> Iterator[list[tuple[str, BaseException | None]]]:
    """What the engine tells to the event loop, since nobody else listens."""
    told: list[tuple[str, BaseException | None]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, said: told.append((said["message"], said.get("exception"))))
    yield told
    loop.set_exception_handler(None)
