"""A11: a mock whose step never ran is misspelt, until its maker says otherwise."""

from __future__ import annotations

import pytest

from perdure import App, Context, UsageError
from perdure.testing import Environment, crash_everywhere, environment


def create_account(email: str) -> str:
    return f"real account of {email}"


def shop() -> App:
    a = App("shop")

    @a.function(on="user/created")
    async def onboard(ctx: Context) -> str:
        account = await ctx.step.run("create-account", create_account, ctx.event.data["email"])
        return await ctx.step.run("welcome", str.upper, account)

    return a


async def created(env: Environment) -> None:
    await env.send("user/created", {"email": "ada"})


async def mocking(*step_ids: str, function: str | None = None) -> None:
    async with environment(shop()) as env:
        for step_id in step_ids:
            env.mock_step(step_id, returns="x", function=function)
        await created(env)


@pytest.mark.asyncio
async def test_a_misspelt_mock_fails_with_the_steps_that_ran() -> None:
    with pytest.raises(UsageError) as caught:
        await mocking("create-acount")
    said = str(caught.value)
    assert "mock_step('create-acount') was never used; steps that ran: create-account, welcome;" in said
    assert "did you mean 'create-account'?" in said
    assert "required=False" in said


@pytest.mark.asyncio
async def test_a_mock_in_a_function_that_is_misspelt_or_another_fails_too() -> None:
    with pytest.raises(UsageError, match=r"function='onbord'\) was never .*: create-account \(of onboard\)"):
        await mocking("create-account", function="onbord")


@pytest.mark.asyncio
async def test_several_mocks_are_named_at_once() -> None:
    with pytest.raises(UsageError, match=r"mock_step\('a'\), mock_step\('b'\) were never used"):
        await mocking("create-account", "a", "b")


@pytest.mark.asyncio
async def test_where_no_step_ran_it_says_so() -> None:
    async def nothing() -> None:
        async with environment(shop()) as env:
            env.mock_step("create-account", returns="x")

    with pytest.raises(UsageError, match="steps that ran: none"):
        await nothing()


@pytest.mark.asyncio
async def test_a_mock_that_need_not_be_used_says_so() -> None:
    async with environment(shop()) as env:
        mock = env.mock_step("refund", returns=1, required=False)
        await created(env)
        assert mock.calls == 0


@pytest.mark.asyncio
async def test_a_mock_that_a_later_one_replaces_is_not_misspelt() -> None:
    async with environment(shop()) as env:
        usual = env.mock_step("create-account", returns="usual")
        special = env.mock_step("create-account", returns="special")
        (run,) = await env.send("user/created", {"email": "ada"})
        assert (run.result, usual.calls, special.calls) == ("SPECIAL", 0, 1)


@pytest.mark.asyncio
async def test_another_error_is_not_covered_up() -> None:
    async def broken() -> None:
        async with environment(shop()) as env:
            env.mock_step("create-acount", returns="x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await broken()


@pytest.mark.asyncio
async def test_mocks_outlive_the_worker() -> None:
    async with environment(shop()) as env:
        mock = env.mock_step("create-account", returns="x")
        await created(env)
        await env.crash_worker()
        await env.start_worker()
        await created(env)
        assert mock.calls == 2


@pytest.mark.asyncio
async def test_a_misspelt_mock_in_a_script_fails_before_anything_is_crashed() -> None:
    async def script(env: Environment) -> None:
        env.mock_step("create-acount", returns="x")
        await created(env)

    with pytest.raises(UsageError, match="was never used") as caught:
        await crash_everywhere(shop(), script)
    assert not hasattr(caught.value, "__notes__")
