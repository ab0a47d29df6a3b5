"""Retries through the whole engine: which errors are tried again, until when, and what is remembered."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from perdure import Context, FailureContext, NonRetriableError, Retry, StepError, current_step
from perdure.testing import environment
from tests.engine.going_on import app

pytestmark = pytest.mark.asyncio


class Raises:
    """A step that always fails, and is counted."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize(
    ("policy", "error", "calls"),
    [
        (Retry(limit=3), OSError("away"), 4),
        (Retry(limit=3, on=(ConnectionError,)), OSError("away"), 1),
        (Retry(limit=3, on=(OSError,)), ConnectionResetError("away"), 4),
        (Retry(limit=3, retry_if=lambda error: "away" not in str(error)), OSError("away"), 1),
        (Retry(limit=9, initial="4s", backoff="constant", jitter=0, max_elapsed="10s"), OSError("away"), 3),
        (Retry(limit=3), NonRetriableError("no"), 1),
    ],
)
async def test_a_step_is_tried_as_often_as_its_policy_says(
    policy: Retry, error: Exception, calls: int
) -> None:
    a = app()
    step = Raises(error)

    @a.function(retry=policy)
    async def work(ctx: Context) -> int:
        try:
            await ctx.step.run("call", step)
        except StepError as failed:
            return failed.attempts
        return 0

    async with environment(a) as env:
        run = await env.start(work)
        await env.advance("1d")
        assert (run.result, step.calls) == (calls, calls)


async def test_each_step_has_all_its_attempts() -> None:
    a = app()
    tries: list[str] = []

    def twice(name: str) -> str:
        tries.append(name)
        if tries.count(name) < 3:
            raise OSError("away")
        return name

    @a.function(retries=2)
    async def work(ctx: Context) -> list[str]:
        return [await ctx.step.run(name, twice, name) for name in ("a", "b", "c")]

    async with environment(a) as env:
        run = await env.start(work)
        await env.advance("1d")
        assert run.result == ["a", "b", "c"]
        assert [step.attempts for step in run.steps] == [3, 3, 3]


async def test_all_attempts_have_one_key_and_the_details_of_the_one_before() -> None:
    a = app()
    seen: list[Any] = []

    def work() -> None:
        step = current_step()
        seen.append((step.idempotency_key, step.attempt, step.max_attempts, step.details))
        step.heartbeat({"page": step.attempt})
        if step.attempt < 3:
            raise OSError("away")

    @a.function(retries=4)
    async def pages(ctx: Context) -> None:
        await ctx.step.run("work", work)

    async with environment(a) as env:
        run = await env.start(pages)
        await env.advance("1d")
        assert run.status == "completed"
    assert len({key for key, *_ in seen}) == 1
    assert [rest for _, *rest in seen] == [[1, 5, None], [2, 5, {"page": 1}], [3, 5, {"page": 2}]]


async def test_a_failure_is_remembered_like_a_result() -> None:
    a = app()
    step = Raises(NonRetriableError("card declined"))

    @a.function
    async def pay(ctx: Context) -> str:
        try:
            await ctx.step.run("charge", step)
        except StepError as error:
            told = f"{error.message} {type(error.cause).__name__}"
        else:
            told = "paid"
        await ctx.step.sleep("nap", "1h")
        return told

    async with environment(a) as env:
        run = await env.start(pay)
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1h")
        assert (run.result, step.calls) == ("card declined NonRetriableError", 1)


async def test_a_failure_handler_runs_for_failed_runs_alone() -> None:
    a = app()
    handled: list[str] = []

    def note(what: str) -> None:
        handled.append(what)

    async def failed(ctx: FailureContext) -> None:
        await ctx.step.run("note", note, ctx.event.data["name"])

    @a.function(on="go", on_failure=failed, retries=0)
    async def work(ctx: Context) -> None:
        await ctx.step.sleep("nap", "1h")
        if ctx.event.data["name"] == "fails":
            raise ValueError("no")

    async with environment(a) as env:
        runs = [(await env.send("go", {"name": name}))[0] for name in ("fails", "cancelled", "completes")]
        await runs[1].cancel()
        await env.advance(timedelta(hours=1))
        assert [run.status for run in runs] == ["failed", "cancelled", "completed"]
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1d")
        assert handled == ["fails"]
