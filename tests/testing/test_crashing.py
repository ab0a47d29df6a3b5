"""`crash_everywhere`: what it must not call durable, what a script brings about, and how it says what went wrong."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from perdure import App, Context, Event, UsageError
from perdure.core.ids import idempotency_key
from perdure.testing import Environment, crash_everywhere, crashing, environment
from tests.engine.going_on import collecting_troubles


class Ordered(Event, name="order/placed"):
    n: int


class Imported(Event, name="order/imported"):
    n: int


def pay(n: int) -> str:
    raise AssertionError(f"the real payment of {n}")


def shop() -> App:
    a = App("shop")

    @a.function(on=[Ordered, Imported])
    async def order(ctx: Context[Ordered | Imported]) -> str:
        charge = await ctx.step.run("charge", pay, ctx.event.data.n)
        await ctx.step.sleep("cool-down", "7d")
        paid = await ctx.step.wait_for_event("paid", "bank/paid", match="data.n", timeout="3d")
        if paid is None:
            return await ctx.step.run("remind", pay, 0)
        return await ctx.step.run("ship", pay, paid.data["n"]) + charge

    return a


def patient() -> App:
    a = App("patient")

    @a.function(on="go")
    async def go(ctx: Context) -> str:
        await ctx.step.wait_for_event("answer", "bank/answered")
        return "answered"

    return a


async def paid(env: Environment) -> None:
    env.mock_step("charge", returns="ch-1 ")
    env.mock_step("ship", call=lambda n: f"parcel {n} ")
    (run,) = await env.send(Ordered(n=7))
    await env.advance("7d")
    await env.send("bank/paid", {"n": 7})
    assert run.result == "parcel 7 ch-1 "


# --- A4 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("event", ["order/plaeed", {"name": "order/plaeed", "data": {"n": 1}}])
async def test_an_event_that_starts_no_run_proves_nothing(event: Any) -> None:
    with pytest.raises(UsageError) as caught:
        await crash_everywhere(shop(), event)
    said = str(caught.value)
    assert "'order/plaeed' started no run" in said
    assert "'order/imported', 'order/placed'" in said
    assert "did you mean 'order/placed'?" in said


@pytest.mark.asyncio
async def test_an_app_without_triggers_says_how_to_start_a_run() -> None:
    a = App("called")

    @a.function
    async def called(ctx: Context) -> int:
        return 1

    with pytest.raises(UsageError, match=r"none of its functions has a trigger.*env\.start"):
        await crash_everywhere(a, "order/placed")

    async def start(env: Environment) -> None:
        await env.start(called)

    assert (await crash_everywhere(a, start)).runs == 1


@pytest.mark.asyncio
async def test_a_script_that_starts_no_run_proves_nothing() -> None:
    async def idle(env: Environment) -> None:
        await env.advance("1d")

    with pytest.raises(UsageError, match="the script 'idle' started no run"):
        await crash_everywhere(shop(), idle)


@pytest.mark.asyncio
async def test_a_run_that_waits_for_ever_is_named_with_what_it_waits_for() -> None:
    with pytest.raises(AssertionError) as caught:
        await crash_everywhere(patient(), "go")
    said = str(caught.value)
    assert "of go is still running: it waits for event 'bank/answered' in 'answer'" in said
    assert "may_wait=True" in said


@pytest.mark.asyncio
async def test_a_run_may_wait_when_told_so_and_is_reported() -> None:
    report = await crash_everywhere(patient(), "go", may_wait=True)
    assert report.runs == 1
    (waiting,) = report.waiting
    assert "it waits for event 'bank/answered' in 'answer'" in waiting
    assert report.crashes == 2 * report.records


@pytest.mark.asyncio
async def test_a_run_that_never_ends_is_stopped_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crashing, "ROUNDS_MAX", 20)
    a = App("ticks")

    @a.function(on="go")
    async def tick(ctx: Context) -> None:
        while True:
            await ctx.step.sleep("an-hour", "1h")

    with pytest.raises(
        AssertionError, match=r"(?s)moved 20 times.* of tick is still running: it waits for a time"
    ):
        await crash_everywhere(a, "go")


@pytest.mark.asyncio
async def test_a_run_that_is_parked_undisturbed_says_why() -> None:
    a = App("parks")

    @a.function(on="go", on_error="pause")
    async def go(ctx: Context) -> None:
        raise LookupError("no such shelf")

    with pytest.raises(AssertionError, match=r"(?s)is still parked.*no such shelf"):
        await crash_everywhere(a, "go")


# --- A5 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_script_mocks_steps_sends_what_is_waited_for_and_is_crashed_past_it() -> None:
    async with environment(shop()) as env:
        await paid(env)  # the same script is a plain test
    report = await crash_everywhere(shop(), paid)
    assert (report.runs, report.waiting) == (1, ())
    assert report.reruns > 0


@pytest.mark.asyncio
async def test_it_is_crashed_in_the_wait_and_after_it() -> None:
    seen: set[tuple[bool, bool]] = set()

    async def looked_at(env: Environment) -> None:
        env.mock_step("charge", returns="ch-1")
        ship = env.mock_step("ship", call=lambda n: "parcel")
        (run,) = await env.send(Ordered(n=7))
        await env.advance("7d")
        began = env._workers
        await env.send("bank/paid", {"n": 7})
        seen.add((env._workers > began, ship.calls > 1))
        assert run.status == "completed"

    await crash_everywhere(shop(), looked_at)
    assert (True, True) in seen, "a life was crashed after the wait, and its step ran again"
    assert (False, False) in seen, "another one before"


@pytest.mark.asyncio
async def test_time_passes_by_itself_when_the_script_is_over() -> None:
    began: list[Any] = []

    async def forgotten(env: Environment) -> None:
        env.mock_step("charge", returns="")
        env.mock_step("remind", call=lambda _n: began.append(env.now()) or "reminded")
        start = env.now()
        await env.send(Ordered(n=7))
        began[:] = [start]

    report = await crash_everywhere(shop(), forgotten)
    assert report.waiting == ()
    assert began[1] - began[0] == timedelta(days=10)


@pytest.mark.asyncio
async def test_a_script_cancels_and_restarts_the_worker_in_good_order() -> None:
    async def cancelled(env: Environment) -> None:
        (run,) = await env.send("go")
        await env.stop_worker()
        await env.start_worker()
        await run.cancel(reason="enough")
        assert run.status == "cancelled"

    report = await crash_everywhere(patient(), cancelled)
    assert report.crashes == 2 * report.records


@pytest.mark.asyncio
async def test_a_script_starts_and_signals() -> None:
    a = App("approvals")

    @a.function
    async def approve(ctx: Context) -> str:
        said = await ctx.step.wait_for_signal("decision", "decided", timeout="1d")
        return "nothing" if said is None else said.data

    async def decided(env: Environment) -> None:
        run = await env.start(approve)
        await run.signal("decided", "yes")
        assert run.result == "yes"

    report = await crash_everywhere(a, decided)
    assert report.crashes == 2 * report.records


@pytest.mark.asyncio
async def test_what_a_script_raises_in_a_crashed_life_names_the_record() -> None:
    async def picky(env: Environment) -> None:
        env.mock_step("charge", returns="")
        env.mock_step("remind", returns="")
        await env.send(Ordered(n=7))
        assert env._workers == 1, "no crash, please"

    with pytest.raises(AssertionError, match="no crash, please") as caught:
        await crash_everywhere(shop(), picky)
    (note,) = caught.value.__notes__
    assert note.startswith("killed before record 1 of ")


@pytest.mark.asyncio
async def test_a_completed_step_that_runs_again_is_found() -> None:
    async def meddling(env: Environment) -> None:
        env.mock_step("charge", returns="")
        env.mock_step("remind", returns="")
        (run,) = await env.send(Ordered(n=7))
        assert env.on_attempt is not None
        key = idempotency_key(run.id, "/charge", env.app.name)
        again: Any = SimpleNamespace(run_id=run.id, key="/charge", step_id="charge", idempotency_key=key)
        env.on_attempt(again)

    with pytest.raises(AssertionError, match=r"step 'charge' of run .* was completed and ran again"):
        await crash_everywhere(shop(), meddling)


@pytest.mark.asyncio
async def test_what_is_no_script_is_refused() -> None:
    async def script(env: Environment) -> None:
        await env.send("go")

    def sync(env: Environment) -> None: ...

    with pytest.raises(UsageError, match="takes its data itself"):
        await crash_everywhere(shop(), script, {"n": 1})
    with pytest.raises(UsageError, match=r"async def sync\(env\)"):
        await crash_everywhere(shop(), sync)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="send an instance of it"):
        await crash_everywhere(shop(), Ordered)  # pyright: ignore[reportArgumentType]


# --- B5 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_difference_shows_both_ends_the_park_reason_and_the_record() -> None:
    a = App("forgetful")
    asked = itertools.count()

    @a.function(on="go")
    async def go(ctx: Context) -> str:
        await ctx.step.run("price" if next(asked) % 2 == 0 else "cost", str, 1)
        await ctx.step.run("pack", str, 1)
        return "gone"

    with pytest.raises(AssertionError) as caught:
        await crash_everywhere(a, "go")
    told, which, crashed, undisturbed = str(caught.value).splitlines()
    assert re.match(
        r"killed (before|after) record \d+ of \d+ \(Commit: .*step '(price|cost)'.* of run 1p\d-", told
    )
    assert which.endswith("of go ended otherwise:")
    assert crashed.startswith("    with the crash: parked: non-determinism: ")
    assert "the record has step 'cost', but the code now has step 'price'" in crashed
    assert undisturbed == '    undisturbed: completed with "gone"'


# --- several runs -----------------------------------------------------------------------------------------------------


def relay() -> App:
    """An event begins a run that sends the next one, all of one key, so that they share a partition."""
    a = App("relay")

    @a.function(on="first")
    async def first(ctx: Context) -> None:
        await ctx.step.send_event("pass", {"name": "second", "data": {}, "key": "k"})

    @a.function(on="second")
    async def second(ctx: Context) -> None:
        await ctx.step.sleep("rest", "1d")
        await ctx.step.send_event("pass", {"name": "third", "data": {"n": 1}, "key": "k"})

    @a.function(on="third")
    async def third(ctx: Context) -> str:
        await ctx.step.sleep("rest", "1h")
        return "arrived"

    return a


async def run_relay(env: Environment) -> None:
    await env.send({"name": "first", "data": {}, "key": "k"})
    await env.advance("2d")


@pytest.mark.asyncio
async def test_a_run_is_known_again_although_an_event_before_its_own_was_sent_twice() -> None:
    report = await crash_everywhere(relay(), run_relay)
    assert report.runs == 3
    assert report.crashes == 2 * report.records


@pytest.mark.asyncio
async def test_a_worker_that_died_has_no_trouble_to_tell_of() -> None:
    with collecting_troubles() as troubles:
        await crash_everywhere(relay(), run_relay)
    assert troubles == []


@pytest.mark.asyncio
async def test_a_run_of_another_event_is_not_taken_for_one_that_is_missing() -> None:
    a = App("double")
    lives = itertools.count()

    @a.function(on="go")
    async def go(ctx: Context) -> str:
        return "gone"

    async def sends(env: Environment) -> None:
        await env.send("go", {"n": 0 if next(lives) == 0 else 1}, id=f"go-{next(lives)}")

    with pytest.raises(AssertionError, match=r"(?s)it is not there.*it is not there"):
        await crash_everywhere(a, sends)
