"""`perdure runs list --tag`, `runs cancel` by filter, `runs rerun`: with a worker, and without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from perdure import App, Context
from perdure.cli import many, steering
from perdure.cli.root import app as commands

calls: list[str] = []


def perdure(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(commands, list(arguments), input=text)


def parsed(*arguments: str) -> Any:
    done = perdure(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


async def charge(order: int) -> str:
    calls.append(f"charge {order}")
    if calls.count(f"charge {order}") == 1:
        raise ValueError("no money")
    return f"paid {order}"


def shop_at(url: str) -> App:
    shop = App("shop", log=url)

    @shop.function(on="order/placed", retries=0)
    async def buy(ctx: Context) -> str:
        order = ctx.event.data["order"]
        await ctx.step.run("reserve", calls.append, f"reserve {order}")
        return await ctx.step.run("charge", charge, order)

    @shop.function
    async def wait(ctx: Context) -> None:
        try:
            await ctx.step.wait_for_signal("never", "never")
        finally:
            if ctx.event.data.get("cleans"):
                await ctx.step.sleep("a-while", "1d")

    return shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """A log with a failed run of `buy`, and three of `wait`, of which one is another tenant's."""
    url = f"sqlite:///{tmp_path}/log.db"
    monkeypatch.setenv("PERDURE_LOG", url)
    monkeypatch.setattr(steering, "TAKEN_UP_S", 0.1)
    calls.clear()
    made = shop_at(url)

    async def fill() -> None:
        async with made.worker():
            await made.start(made.functions.resolve("buy"), {"order": 7}, id="seven", tags={"tenant": "acme"})
            for n, tenant in enumerate(("acme", "acme", "other")):
                await made.start(
                    made.functions.resolve("wait"), {}, id=f"{n}", tags={"tenant": tenant, "n": str(n)}
                )
            async with asyncio.timeout(10):
                while sorted(run.status for run in await made.runs.list()) != ["failed", *["running"] * 3]:
                    await asyncio.sleep(0.01)
        await made.close()

    asyncio.run(fill())
    return made


def while_working(shop: App, work: Callable[[], Any]) -> Any:
    """What a command says while a worker runs."""

    async def both() -> Any:
        async with shop.worker():
            said = await asyncio.to_thread(work)
        await shop.close()
        return said

    return asyncio.run(both())


def after_working(shop: App, work: Callable[[], Awaitable[Any]]) -> Any:
    """What is there once a worker has come."""

    async def both() -> Any:
        async with shop.worker():
            found = await work()
        await shop.close()
        return found

    return asyncio.run(both())


def statuses() -> dict[str, str]:
    return {run["id"]: run["status"] for run in parsed("runs", "list")}


# --- lists ------------------------------------------------------------------------------------------------------------


def test_runs_are_listed_by_all_of_their_tags(shop: App) -> None:
    def ids(*tags: str) -> list[str]:
        words = [word for tag in tags for word in ("--tag", tag)]
        return sorted(run["id"] for run in parsed("runs", "list", *words))

    assert ids("tenant=acme") == ["buy/seven", "wait/0", "wait/1"]
    assert ids("tenant=acme", "n=1") == ["wait/1"]
    assert ids("tenant=nobody") == []


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        (["tenant"], "write NAME=VALUE"),
        (["=acme"], "write NAME=VALUE"),
        (["a=1", "a=2"], "no run has both"),
    ],
)
def test_a_tag_that_is_none(shop: App, tags: list[str], said: str) -> None:
    refused = perdure("runs", "list", *(word for tag in tags for word in ("--tag", tag)))
    assert (refused.exit_code, said in refused.output) == (2, True)


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_all_that_fit_are_cancelled_and_no_other(shop: App) -> None:
    cancel = (
        "runs",
        "cancel",
        "--function",
        "wait",
        "--tag",
        "tenant=acme",
        "--yes",
        "--reason",
        "they left",
    )
    steering.TAKEN_UP_S = 10.0
    done = while_working(shop, lambda: parsed(*cancel))
    assert sorted(done, key=lambda run: run["id"]) == [
        {"id": "wait/0", "status": "cancelled", "taken_up": True},
        {"id": "wait/1", "status": "cancelled", "taken_up": True},
    ]
    assert statuses()["wait/2"] == "running"
    assert {run["reason"] for run in parsed("runs", "list", "--status", "cancelled")} == {"they left"}


def test_without_a_worker_it_is_in_the_log(shop: App) -> None:
    done = perdure("runs", "cancel", "--status", "live", "--yes")
    assert done.exit_code == 0
    assert done.stdout == (
        "3 runs told to end: it is in the log; a worker acts on it, and their code may clean up first; "
        "none has ended yet\n"
    )

    async def ended() -> None:
        async with asyncio.timeout(10):
            while await shop.runs.list(status="live"):
                await asyncio.sleep(0.01)

    after_working(shop, ended)
    assert set(statuses().values()) == {"failed", "cancelled"}


def test_it_asks_before_it_cancels_several(shop: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_at_terminal", lambda: True)
    no = perdure("runs", "cancel", "--function", "wait", text="n\n")
    assert (no.exit_code, "this cancels 3 runs: 3 of wait (" in no.output) == (1, True)
    assert perdure("runs", "cancel", "--function", "wait", text="\n").exit_code == 1
    assert not after_working(shop, lambda: shop.runs.list(status="cancelled"))
    yes = perdure("runs", "cancel", "--function", "wait", text="y\n")
    assert (yes.exit_code, "3 runs told to end" in yes.output) == (0, True)


def test_all_that_fit_are_paused_and_resumed(shop: App) -> None:
    steering.TAKEN_UP_S = 10.0
    acme = ("--tag", "tenant=acme", "--yes")
    paused = while_working(shop, lambda: perdure("runs", "pause", *acme, "--reason", "the bank is away"))
    assert paused.stdout == "2 runs paused\n"
    assert statuses() == {"buy/seven": "failed", "wait/0": "paused", "wait/1": "paused", "wait/2": "running"}
    assert perdure("runs", "pause", *acme).stdout == "no live run fits\n"
    resumed = while_working(shop, lambda: parsed("runs", "resume", "--status", "paused", "--yes"))
    assert sorted(run["id"] for run in resumed) == ["wait/0", "wait/1"]
    assert statuses()["wait/0"] == "running"
    assert perdure("runs", "resume", "--function", "wait").stdout == "no paused or parked run fits\n"


def test_one_is_cancelled_without_being_asked(shop: App) -> None:
    assert [run["id"] for run in parsed("runs", "cancel", "--tag", "n=2")] == ["wait/2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--status live is all of them"),
        (["wait/0", "--function", "wait"], "not both"),
        (["--function", "wait"], "this cancels 3 runs: 3 of wait"),
        (["--function", "wait", "--json"], "say --yes"),
        (["--status", "failed", "--yes"], "what has ended cannot be cancelled"),
        (["--status", "ended", "--yes"], "what has ended cannot be cancelled"),
        (["--status", "runing", "--yes"], "use queued"),
        (["--since", "soon", "--yes"], "--since soon: that is no duration"),
    ],
)
def test_what_is_not_cancelled(shop: App, words: list[str], said: str) -> None:
    refused = perdure("runs", "cancel", *words)
    assert (refused.exit_code, said in refused.output) == (2, True), refused.output
    assert not after_working(shop, lambda: shop.runs.list(status="cancelled"))


def test_none_fits(shop: App) -> None:
    assert perdure("runs", "cancel", "--function", "wiat", "--yes").stdout == (
        "no run of wiat: there are runs of buy and wait\n"
    )
    assert perdure("runs", "cancel", "--function", "buy", "--yes").stdout == "no live run fits\n"
    assert parsed("runs", "cancel", "--function", "buy", "--yes") == []


# --- rerun ------------------------------------------------------------------------------------------------------------


def result_of(shop: App, run_id: str) -> Any:
    return after_working(shop, lambda: shop.handle(shop.functions.resolve("buy"), run_id).result("10s"))


def test_from_a_step_what_came_before_it_is_not_done_again(shop: App) -> None:
    assert calls == ["reserve 7", "charge 7"]
    done = parsed("runs", "rerun", "sev", "--from-step", "charge")
    expected = {"id": done["id"], "function": "buy", "repeats": "buy/seven", "from_step": "charge"}
    assert done == expected
    assert result_of(shop, done["id"]) == "paid 7"
    assert calls == ["reserve 7", "charge 7", "charge 7"]
    (new,) = [run for run in parsed("runs", "list") if run["id"] == done["id"]]
    assert new["tags"] == {"tenant": "acme"}


def test_from_its_beginning_all_is_done_again(shop: App) -> None:
    done = perdure("runs", "rerun", "seven", "--id", "once-more")
    assert done.stdout == (
        "started run buy/once-more of buy: buy/seven again, from its beginning; perdure runs show buy/once-more\n"
    )
    assert result_of(shop, "buy/once-more") == "paid 7"
    assert calls == ["reserve 7", "charge 7", "reserve 7", "charge 7"]


def test_what_cannot_be_rerun(shop: App) -> None:
    step = perdure("runs", "rerun", "seven", "--from-step", "chrage")
    assert (
        step.exit_code,
        "has not come to a step 'chrage'; its steps are reserve, charge" in step.output,
    ) == (
        2,
        True,
    )
    perdure("functions", "pause", "buy", "--reason", "the bank is away")
    paused = perdure("runs", "rerun", "seven")
    assert paused.exit_code == 1
    assert "buy is paused (the bank is away)" in paused.output
    assert "`perdure functions resume buy` first" in paused.output
    assert len(parsed("runs", "list", "--function", "buy")) == 1
    none = perdure("runs", "rerun", "eight")
    assert (none.exit_code, "`perdure runs list` shows" in none.output) == (1, True)


def test_a_function_that_is_gone_is_not_rerun(shop: App, monkeypatch: pytest.MonkeyPatch) -> None:
    other = App("shop", log=shop.log)

    @other.function
    async def bye(ctx: Context) -> None: ...

    after_working(other, lambda: other.runs.list())
    gone = perdure("runs", "rerun", "seven")
    assert gone.exit_code == 2
    assert "no function 'buy' is deployed; did you mean bye?" in gone.output
