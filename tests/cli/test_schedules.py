"""`perdure schedules …`: with a worker, and without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from perdure import App, Context, Cron, Tick
from perdure.cli.root import app as commands
from perdure.steering import schedules as steering

DECLARED = "tidy 30 3 * * * Europe/Berlin"


def perdure(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["schedules", *arguments])


def parsed(*arguments: str) -> Any:
    done = perdure(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    url = f"sqlite:///{tmp_path}/log.db"
    monkeypatch.setenv("PERDURE_LOG", url)
    shop = App("shop", log=url)

    @shop.function
    async def remind(ctx: Context[Tick]) -> str:
        return ctx.event.data.schedule

    @shop.function(on=Cron("30 3 * * *", tz="Europe/Berlin"))
    async def tidy(ctx: Context[Tick]) -> None: ...

    return shop


def while_working(shop: App, work: Callable[[], Any]) -> Any:
    """What commands say while a worker runs."""

    async def both() -> Any:
        async with shop.worker():
            async with asyncio.timeout(10):
                while not await shop.schedules.list():
                    await asyncio.sleep(0.01)
            said = await asyncio.to_thread(work)
        await shop.close()
        return said

    return asyncio.run(both())


def test_one_is_made_listed_paused_resumed_and_deleted(shop: App) -> None:
    def all_of_it() -> None:
        made = perdure("create", "user-7", "remind", "0 9 * * *", "--tz", "Europe/Berlin", "--jitter", "5m")
        assert (made.exit_code, made.stdout.startswith("schedule user-7 starts remind next at ")) == (0, True)
        (one,) = parsed("list", "--function", "remind")
        assert one["next"].endswith("Z")
        known = {
            "id": "user-7",
            "function": "remind",
            "cron": "0 9 * * *",
            "tz": "Europe/Berlin",
            "jitter_s": 300.0,
            "catch_up": "last",
            "overlap": "allow",
            "declared": False,
            "paused": False,
            "next": one["next"],
            "run": None,
            "waiting": 0,
            "reason": None,
        }
        assert one == known
        paused = parsed("pause", "user-7", "--reason", "on holiday")
        assert paused == known | {"paused": True, "next": None, "reason": "on holiday", "taken_up": True}
        assert "paused: on holiday" in perdure("list").stdout
        assert perdure("resume", "user-7").stdout.startswith("schedule user-7 ticks again, next at ")
        assert perdure("delete", "usr-7").stdout == "there was no schedule usr-7; did you mean 'user-7'?\n"
        assert perdure("delete", "user-7").stdout == "schedule user-7 is deleted\n"
        assert parsed("delete", "user-7") == {"id": "user-7", "taken_up": True}
        (declared,) = parsed("list")
        assert (declared["id"], declared["declared"]) == (DECLARED, True)

    while_working(shop, all_of_it)


def test_one_is_triggered_and_its_run_is_named(shop: App) -> None:
    def trigger() -> str:
        parsed("create", "yearly", "remind", "0 0 1 1 *")
        done = parsed("trigger", "yearly")
        assert done == {"id": "yearly", "run": done["run"]}
        return done["run"]

    run_id = while_working(shop, trigger)

    async def result() -> Any:
        async with shop.worker():
            found = await shop.handle(shop.functions.resolve("remind"), run_id).result("10s")
        await shop.close()
        return found

    assert asyncio.run(result()) == "yearly"


def test_without_a_worker_it_holds_all_the_same(shop: App, monkeypatch: pytest.MonkeyPatch) -> None:
    while_working(shop, lambda: None)
    monkeypatch.setattr(steering, "ANSWERED_S", 0.05)
    done = perdure("create", "user-7", "remind", "0 9 * * *")
    assert done.stdout.startswith("schedule user-7 starts remind next at ")
    assert parsed("pause", DECLARED)["taken_up"] is True
    run = parsed("trigger", "user-7")
    refused = perdure("create", DECLARED, "tidy", "0 9 * * *")
    assert (
        refused.stdout
        == f"schedule {DECLARED} is otherwise: code declares it, or somebody has changed it since\n"
    )
    for wish in ("pause", "resume", "trigger"):
        unknown = perdure(wish, "usr-7")
        assert (unknown.exit_code, "did you mean 'user-7'?" in unknown.output) == (2, True)

    async def acted() -> None:
        async with shop.worker(), asyncio.timeout(10):
            found = {view.id: view.paused for view in await shop.schedules.list()}
            assert found == {"user-7": False, DECLARED: True}
            assert await shop.handle(shop.functions.resolve("remind"), run["run"]).result("10s") == "user-7"
        await shop.close()

    asyncio.run(acted())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", "s", "remnd", "0 9 * * *"], "no function 'remnd' is deployed; did you mean remind?"),
        (["create", "s", "remind", "often"], "Cron('often')"),
        (["create", "s", "remind", "0 9 * * *", "--tz", "Europe/Berln"], "Europe/Berln"),
        (["create", "s", "remind", "0 9 * * *", "--jitter", "soon"], "--jitter soon: that is no duration"),
        (["create", "s", "remind", "0 9 * * *", "--overlap", "maybe"], "overlap='maybe'"),
        (["create", "", "remind", "0 9 * * *"], "is empty"),
        (["create", DECLARED, "tidy", "0 9 * * *"], "code declares the schedule"),
        (["delete", DECLARED], "code declares the schedule"),
        (["pause", "usr-7"], "there is no schedule 'usr-7'; did you mean 'user-7'?"),
        (["trigger", "nobody"], "there is no schedule 'nobody'; perdure schedules list shows"),
        (["resume", "nobody"], "there is no schedule 'nobody'"),
    ],
)
def test_what_cannot_be_says_what_can(shop: App, words: list[str], said: str) -> None:
    def refused() -> Result:
        parsed("create", "user-7", "remind", "0 9 * * *")
        return perdure(*words)

    done = while_working(shop, refused)
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_where_nothing_is(shop: App, tmp_path: Path) -> None:
    missing = perdure("list")
    assert (missing.exit_code, "there is no log at" in missing.output) == (1, True)
    while_working(shop, lambda: None)
    assert perdure("list", "--function", "remind").stdout == (
        "no schedule of remind; perdure schedules list shows all\n"
    )
