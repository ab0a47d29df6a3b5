"""What the engine makes of failures that no other attempt can mend: final at once, in steps and in `def` bodies."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import App, Context, Retry, SyncContext, UsageError
from perdure.testing import environment
from tests.execution.harness import work

PATIENT = Retry(limit=50, initial="10m", factor=1)


def declines() -> None:
    raise ValueError("no")


def one() -> int:
    return 1


async def one_soon() -> int:
    return 1


def nests(ctx: Any) -> None:
    ctx.step.run("inner", work, "x")


# --- A7: `def` bodies -------------------------------------------------------------------------------------------------


async def once(body: Any, *, advance: str = "1s", retry: Retry = PATIENT) -> tuple[Any, int]:
    """A run of this body, after little time, and how often the body ran."""
    app = App("test")
    passes: list[int] = []

    @app.function(on="go", retry=retry)
    def counted(ctx: SyncContext) -> Any:
        passes.append(1)
        return body(ctx)

    async with environment(app) as env:
        (run,) = await env.send("go", {})
        await env.advance(advance)
        return run.view, len(passes)


@pytest.mark.asyncio
async def test_A7_the_recorded_failure_of_a_step_is_final_for_the_body_that_it_leaves() -> None:
    def body(ctx: SyncContext) -> None:
        ctx.step.options(retries=0).run("charge", declines)

    view, passes = await once(body)
    assert (view.status, view.error["type"], passes) == ("failed", "ValueError", 2)


@pytest.mark.asyncio
async def test_A7_so_is_that_of_another_function() -> None:
    app = App("test")

    @app.function(retries=0)
    async def fails(ctx: Context) -> None:
        raise KeyError("x")

    @app.function(on="go", retry=PATIENT)
    def parent(ctx: SyncContext) -> None:
        ctx.step.invoke("call", fails)

    async with environment(app) as env:
        (run,) = await env.send("go", {})
        assert run.status == "failed"
        assert run.error is not None
        assert run.error["type"] == "KeyError"


@pytest.mark.asyncio
async def test_A7_a_step_inside_a_step_is_final() -> None:
    def body(ctx: SyncContext) -> None:
        ctx.step.run("outer", nests, ctx)

    view, passes = await once(body)
    assert (view.status, view.error["type"], passes) == ("failed", "perdure.errors.UsageError", 2)
    assert "Steps cannot nest" in view.error["message"]


@pytest.mark.asyncio
async def test_A7_a_mistake_in_the_body_itself_is_final() -> None:
    def body(ctx: SyncContext) -> None:
        ctx.step.sleep("nap", "soon")

    view, passes = await once(body)
    assert (view.status, view.error["type"], passes) == ("failed", "perdure.errors.UsageError", 1)


@pytest.mark.asyncio
async def test_A7_what_else_leaves_a_body_is_tried_again() -> None:
    def body(ctx: SyncContext) -> None:
        raise OSError("away")

    view, passes = await once(body, advance="1m", retry=Retry(limit=2, initial="1s", factor=1))
    assert (view.status, view.error["type"], passes) == ("failed", "OSError", 3)


# --- B8: steps --------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("fn", [one, one_soon])
@pytest.mark.parametrize("executor", ["thread", "process"])
async def test_B8_a_step_with_wrong_arguments_fails_at_once(fn: Any, executor: Any) -> None:
    app = App("test")

    @app.function(on="go", retries=4)
    async def body(ctx: Context) -> Any:
        step = ctx.step if executor == "thread" else ctx.step.options(executor=executor)
        return await step.run("one", fn, 5)

    async with environment(app) as env:
        (run,) = await env.send("go", {})
        assert run.status == "failed"
        assert run.error is not None
        assert run.error["type"] == f"{UsageError.__module__}.UsageError"
        assert run.error["message"] == (
            f"step 'one' was given other arguments than {__name__}.{fn.__name__}() takes: too many positional arguments"
        )
        assert "Traceback" not in run.error["traceback"]
        assert run.step("one").attempts == 1


# --- A1 ---------------------------------------------------------------------------------------------------------------


def app_without_a_result() -> App:
    app = App("test", log="memory:")

    @app.function(on="go")
    async def body(ctx: Context) -> Nope: ...  # type: ignore[name-defined] # noqa: F821

    return app


@pytest.mark.asyncio
async def test_A1_a_worker_does_not_start_with_a_function_whose_result_cannot_be_recorded() -> None:
    with pytest.raises(UsageError, match=r"function 'body' at .*test_failing_bodies\.py:\d+: .*'Nope'"):
        async with app_without_a_result().worker():
            pass


def test_A1_neither_does_one_that_runs_until_it_is_told_to_stop() -> None:
    with pytest.raises(UsageError, match=r"function 'body' at .*'Nope'"):
        app_without_a_result().run_worker()
