"""`perdure events list --skipped`: the starts that did not happen."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from perdure import App, Context
from perdure.cli.root import app as commands
from perdure.core.decide.ingest import CONFLICT, REPEATED


def test_starts_that_did_not_happen_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    monkeypatch.setenv("PERDURE_LOG", url)

    async def fill() -> None:
        shop = App("shop", log=url)

        @shop.function(on="order/placed", if_=lambda event: event.data["cents"] > 0)
        async def bill(ctx: Context) -> None: ...

        async with shop.worker():
            await shop.send("order/placed", {}, id="odd")
            async with asyncio.timeout(10):
                while not await shop.runs.skipped():
                    await asyncio.sleep(0.01)
        await shop.close()

    asyncio.run(fill())
    shown = CliRunner().invoke(commands, ["events", "list", "--skipped", "--json"])
    (skip,) = json.loads(shown.stdout)
    found: dict[str, Any] = {
        "event": "odd",
        "function": "bill",
        "time": skip["time"],
        "reason": skip["reason"],
    }
    assert (skip, "KeyError" in skip["reason"]) == (found, True)
    assert "KeyError" in CliRunner().invoke(commands, ["events", "list", "--skipped"]).stdout
    refused = CliRunner().invoke(commands, ["events", "list", "--skipped", "--name", "a"])
    assert (refused.exit_code, "does not go with --name" in refused.output) == (2, True)


def test_what_came_under_the_id_of_another_event_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    monkeypatch.setenv("PERDURE_LOG", url)

    def made() -> App:
        shop = App("shop", log=url)

        @shop.function(on="order/placed")
        async def bill(ctx: Context) -> int:
            return ctx.event.data["cents"]

        return shop

    async def worked(*sent: int, skips: int) -> None:
        shop = made()
        async with shop.worker():
            for cents in sent:
                await shop.send("order/placed", {"cents": cents}, id="o-1")
            async with asyncio.timeout(10):
                while len(await shop.runs.skipped()) < skips:
                    await asyncio.sleep(0.01)
        await shop.close()

    asyncio.run(worked(5, 5, 6, skips=2))
    asyncio.run(worked(5, 7, skips=4))  # the next worker has read what the first has remembered
    shown = json.loads(CliRunner().invoke(commands, ["events", "list", "--skipped", "--json"]).stdout)
    assert [skip["reason"] for skip in shown] == [CONFLICT, REPEATED, CONFLICT, REPEATED]
    assert {(skip["event"], skip["function"]) for skip in shown} == {("o-1", "bill")}
