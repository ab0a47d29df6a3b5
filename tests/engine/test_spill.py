"""The file that histories of resting runs lie in, and when runs rest (B11)."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from perdure import App, Context
from perdure.core.limits import DEFAULT_LIMITS
from perdure.engine.lead import Lead
from perdure.engine.spill import PAGE, Spill, SpilledHistory
from perdure.testing import Environment, environment


def test_a_history_is_what_was_put_into_it_whatever_the_sizes() -> None:
    rnd = random.Random(7)
    spill = Spill()
    kept: list[tuple[SpilledHistory, list[bytes]]] = []
    for n in range(300):
        if n % 3 == 2:
            history, _ = kept.pop(rnd.randrange(len(kept)))
            history.clear()
            assert (len(history), list(history)) == (0, [])
        items = [
            rnd.randbytes(rnd.choice((0, 1, 40, PAGE - 4, PAGE, 3 * PAGE))) for _ in range(rnd.randrange(4))
        ]
        kept.append((spill.put(items.copy()), items))
        for history, known in rnd.sample(kept, min(len(kept), 3)):
            more = rnd.randbytes(rnd.randrange(2 * PAGE))
            history.append(more)
            known.append(more)
            if rnd.random() < 0.7:
                assert spill.put(history) is history
    for history, known in kept:
        assert (len(history), list(history), history.copy()) == (len(known), known, known)
    spill.close()


def test_only_what_is_new_is_written() -> None:
    spill = Spill()
    history = spill.put([b"x" * 100])
    for _ in range(100):
        history.append(b"y" * 100)
        assert spill.put(history) is history
    assert spill.bytes <= 101 * 104 + PAGE
    spill.close()


def test_what_ended_runs_leave_is_used_again() -> None:
    spill = Spill()
    for _ in range(50):
        histories = [spill.put([b"x" * 3_000]) for _ in range(10)]
        for history in histories:
            history.clear()
    assert spill.bytes <= 10 * (3_004 + PAGE)
    assert spill.used == 0
    spill.close()


def _lead(env: Environment) -> Lead:
    assert env._engine is not None
    lead = env._engine.partitions[0].lead
    assert lead is not None
    return lead


def _waiting(**limits: Any) -> tuple[App, list[int]]:
    a = App("test", limits=replace(DEFAULT_LIMITS, **limits))
    begun: list[int] = []

    @a.function(on="work")
    async def waits(ctx: Context) -> None:
        begun.append(1)
        for n in range(20):
            await ctx.step.wait_for_signal(f"s{n}", "go")

    return a, begun


@pytest.mark.asyncio
async def test_a_run_that_waits_is_let_go_when_nothing_has_come_for_a_while_and_not_before() -> None:
    a, begun = _waiting()
    async with environment(a, partitions=1) as env:
        (run,) = await env.send("work", {})
        for _ in range(10):
            await run.signal("go")
        assert (len(begun), _lead(env).life.spill.bytes) == (1, 0)
        await env.advance("59s")
        assert list(_lead(env).residents.residents) == [run.id]
        await env.advance("2s")
        assert list(_lead(env).residents.residents) == []
        for _ in range(10):
            await run.signal("go")
        assert (run.status, len(begun)) == ("completed", 2)


@pytest.mark.asyncio
async def test_of_too_many_waiting_runs_those_that_have_waited_longest_are_let_go() -> None:
    a, _ = _waiting(resident_runs_max=5)
    async with environment(a, partitions=1) as env:
        runs = [(await env.send("work", {"n": n}))[0] for n in range(8)]
        assert set(_lead(env).residents.residents) == {run.id for run in runs[3:]}
        await runs[0].signal("go")
        assert set(_lead(env).residents.residents) == {runs[0].id, *(run.id for run in runs[4:])}
