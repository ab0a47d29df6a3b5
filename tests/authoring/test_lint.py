"""B3: what a body does and no hook can refuse is pointed at in its source."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
import uuid
from datetime import datetime
from typing import Any

from perdure.authoring.lint import advice_for


async def careless(ctx: Any) -> None:
    time.time()
    datetime.now()  # noqa: DTZ005
    uuid.uuid4()
    random.random()
    os.getenv("HOME")
    threading.Thread(target=print)
    time.sleep(0)


async def careful(ctx: Any) -> None:
    ctx.now()
    ctx.random.random()
    ctx.uuid4()
    await asyncio.sleep(1)
    await ctx.step.run("time", time.time)


def plain(ctx: Any) -> float:
    return time.time()


def test_B3_clocks_randomness_and_threads_are_named_with_their_line_and_a_way_out() -> None:
    found = advice_for(careless)
    calls = [advice.call for advice in found]
    assert calls == [
        "time.time()",
        "datetime.now()",
        "uuid.uuid4()",
        "random.random()",
        "os.getenv()",
        "threading.Thread()",
        "time.sleep()",
    ]
    line = careless.__code__.co_firstlineno + 1
    assert (
        str(found[0]) == f"{__file__}:{line}: time.time() in a body: another value on replay; use ctx.now()"
    )


def test_B3_what_is_derived_or_done_in_a_step_is_fine() -> None:
    assert advice_for(careful) == []
    assert advice_for(plain) == []


def test_B3_a_body_without_source_is_passed_over() -> None:
    space: dict[str, Any] = {}
    exec("async def body(ctx):\n    import time\n    time.time()\n", space)
    assert advice_for(space["body"]) == []
