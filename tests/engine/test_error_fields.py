"""Fields and causes of errors, as data: in the body, in handlers, in events, for those who await a run; sealed, too."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import App, Context, FailureContext
from perdure.errors import RunFailed, StepError
from perdure.payloads.settings import Payloads
from perdure.testing import environment
from tests.payloads.shop import SEALED, SECRET, everything

pytestmark = pytest.mark.asyncio


class CardDeclined(Exception):
    def __init__(self, code: str, tries: int) -> None:
        super().__init__(f"declined after {tries} tries")
        self.code, self.tries = code, tries


class Misfit(ValueError):
    field: str


FIELDS = {"code": SECRET, "tries": 3}
CAUSE = {"type": f"{__name__}.Misfit", "message": "no date", "fields": {"field": SECRET}}


def charge() -> None:
    try:
        misfit = Misfit("no date")
        misfit.field = SECRET
        raise misfit
    except ValueError as error:
        raise CardDeclined(SECRET, 3) from error


async def seen_by(error: StepError) -> list[Any]:
    cause = error.cause
    assert isinstance(cause, CardDeclined)
    assert isinstance(cause.__cause__, Misfit)
    return [cause.code, cause.tries, cause.__cause__.field, dict(error.fields), list(error.causes)]


@pytest.mark.parametrize("payloads", [None, SEALED], ids=["plain", "sealed"])
async def test_fields_and_causes_come_through_a_crash_to_whoever_asks(payloads: Payloads | None) -> None:
    a = App("errors", payloads=payloads)
    handled: list[Any] = []

    @a.function(retries=0)
    async def catches(ctx: Context) -> list[Any]:
        try:
            await ctx.step.run("charge", charge)
        except StepError as error:
            found = error
        else:
            raise AssertionError("it was declined")
        await ctx.step.sleep("nap", "1h")
        return await seen_by(found)

    async def undo(ctx: FailureContext) -> None:
        handled.append([dict(ctx.error.fields), list(ctx.error.causes)])

    @a.function(on_failure=undo, retries=0)
    async def fails(ctx: Context) -> None:
        await ctx.step.run("charge", charge)

    @a.function
    async def invokes(ctx: Context) -> list[Any]:
        try:
            await ctx.step.invoke("fails", fails)
        except StepError as error:
            return await seen_by(error)
        raise AssertionError("it failed")

    @a.function(on="perdure/function.failed")
    async def hears(ctx: Context) -> Any:
        return ctx.event.data["error"]

    async with environment(a) as env:
        run = await env.start(catches)
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1h")
        assert run.result == [SECRET, 3, SECRET, FIELDS, [CAUSE]]
        invoking = await env.start(invokes)
        assert invoking.result == run.result
        failed = await env.start(fails)
        with pytest.raises(RunFailed) as raised:
            await a.handle(fails, failed.id).result()
        assert (raised.value.fields, raised.value.causes) == (FIELDS, [CAUSE])
        assert handled == [[FIELDS, [CAUSE]]] * 2
        told = [heard.result for heard in env.runs("hears")]
        assert [(error["fields"], error["causes"]) for error in told] == [(FIELDS, [CAUSE])] * 2
        assert (SECRET.encode() in await everything(env)) == (payloads is None)
