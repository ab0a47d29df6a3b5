"""The numbers of limits, changed while they are in force."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import Batch, Concurrency, RateLimit, Singleton, Throttle, UsageError
from perdure.testing import environment
from tests.engine.flow import counted, go, sleeping, sound

pytestmark = pytest.mark.asyncio


async def test_a_larger_limit_holds_at_once_for_those_who_wait_and_a_smaller_one_takes_nobodys_place() -> (
    None
):
    a = sleeping(lasts="1h", concurrency=Concurrency(1, unit="run"))
    async with environment(a) as env:
        await go(env, 6)
        assert counted(env) == {"running": 1, "queued": 5}
        await a.flow.set("f", Concurrency(4, unit="run"))
        await env.settle()
        assert counted(env) == {"running": 4, "queued": 2}
        (view,) = await a.flow.list()
        assert (view.functions, view.changed) == (("f",), True)
        assert (view.limit, view.declared) == (Concurrency(4, unit="run"), Concurrency(1, unit="run"))
        await a.flow.set("f", Concurrency(2, unit="run"))
        await env.settle()
        assert counted(env) == {"running": 4, "queued": 2}
        await env.advance("1h")
        assert counted(env) == {"completed": 4, "running": 2}
        sound(env)


async def test_a_change_outlives_crashes_and_deploys_until_it_is_reset() -> None:
    def shop(limit: int, **more: Any) -> Any:
        return sleeping(lasts="1h", concurrency=Concurrency(limit, unit="run"), **more)

    a = shop(1)
    async with environment(a) as env:
        await a.flow.set("f", Concurrency(3, unit="run"))
        await env.settle()
        await env.crash_worker()
        await env.start_worker()
        await go(env, 6)
        assert counted(env) == {"running": 3, "queued": 3}
        await env.stop_worker()
        env.app = shop(2)
        await env.start_worker()
        await env.settle()
        await env.advance("1h")
        assert counted(env) == {"completed": 3, "running": 3}
        await a.flow.reset("f")
        await env.settle()
        assert [view.limit for view in await a.flow.list()] == [Concurrency(2, unit="run")]
        await env.advance("1h")
        await a.send([{"name": "go", "data": {"n": n}} for n in range(4)])
        await env.settle()
        assert counted(env) == {"completed": 6, "running": 2, "queued": 2}
        sound(env)


async def test_pace_and_rate_are_changed_too() -> None:
    a = sleeping(lasts="1s", throttle=Throttle(1, "1h"), rate_limit=RateLimit(2, "1h"))
    async with environment(a) as env:
        await go(env, 3)
        assert counted(env) == {"running": 1, "queued": 1, "skipped": 1}
        await a.flow.set("f", RateLimit(5, "1h"))
        await a.flow.set("f", Throttle(60, "1h"))
        await env.settle()
        await go(env, 2)
        await env.advance("5m")
        assert counted(env) == {"completed": 4, "skipped": 1}
        assert {view.limit for view in await a.flow.list()} == {RateLimit(5, "1h"), Throttle(60, "1h")}


async def test_what_is_not_there_or_is_no_number_is_not_changed() -> None:
    a = sleeping(concurrency=[Concurrency(3), Concurrency(1, key="event.data.who")], singleton=Singleton())
    async with environment(a) as env:
        await env.settle()
        with pytest.raises(
            UsageError, match=r"no Concurrency\(unit='run'\) in force; there is Concurrency\("
        ):
            await a.flow.set("f", Concurrency(3, unit="run"))
        with pytest.raises(UsageError, match="no Singleton in force"):
            await a.flow.set("f", Singleton())
        with pytest.raises(UsageError, match="give a limit, such as"):
            await a.flow.set("f", 3)  # pyright: ignore[reportArgumentType]
        with pytest.raises(UsageError, match='no function has the id "g"'):
            await a.flow.set("g", Concurrency(3))
    b = sleeping(batch=Batch(10, "1m"))
    async with environment(b) as env:
        await env.settle()
        with pytest.raises(UsageError, match="only the numbers can be changed"):
            await b.flow.set("f", Batch(5, "1m", if_="event.data.n > 1"))
